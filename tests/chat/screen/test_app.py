"""The screen, as people use it: what they see when they press keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import zchat
import zchat.aio
from tests.chat.conftest import run
from tests.chat.screen.conftest import on_screen
from tests.conftest import BrokerProcess
from zchat.chat.core.window import MOST, STEP
from zchat.profile import ChatProfile

pytestmark = pytest.mark.slow  # a broker is a process


def test_a_talk(shared_broker: BrokerProcess, room: str, user: str) -> None:
    async def talk() -> None:
        address = shared_broker.address
        async with zchat.aio.connect(address, "ben") as ben, on_screen(address, user, room, size=(110, 30)) as screen:
            await ben.send(room, "about cats", event="topic")
            await screen.shows(f"#{room}", "about cats", f"● {user}", "Quit")
            await ben.send(room, "hello\x1b[2J\u202e there")
            await ben.send(room, "see https://example.com/x and `code`")
            await screen.shows("ben │ hello\\x1b[2J\\u202e there", "    │ see https://example.com/x and `code`")
            await screen.type("hi :tada:")
            await screen.shows(f"{user[:10]}", "hi 🎉")
            await screen.type("/me waves")
            await screen.shows(f"∗ │ {user} waves")
            await screen.type("one", "alt+enter")
            await screen.type("two", "ctrl+j")
            await screen.type("three")
            await screen.until(lambda: screen.row("three") == screen.row("two") + 1, "three lines")
            await screen.pilot.press("up")
            assert screen.app._field.text == "one\ntwo\nthree"
            await screen.pilot.press("up")
            assert screen.app._field.text == "/me waves"
            await screen.pilot.press("down", "down")
            assert screen.app._field.text == ""
            screen.app._field.set("")
            await ben.send(room, "look:\n```\ndef f():\n    pass\n```")
            await screen.shows("│  def f():", "│      pass")
            assert "```" not in screen.text()
            async with ben.listen(room):
                await screen.shows("ben joined", "● ben")
            await screen.shows("ben came and went")

    run(talk())


def test_unread_rooms_the_line_of_what_is_new_and_going_there(
    shared_broker: BrokerProcess, room: str, user: str
) -> None:
    async def talk() -> None:
        address, other = shared_broker.address, f"{room}.b"
        async with zchat.aio.connect(address, f"ben{user}") as ben, on_screen(address, user, room, other) as screen:
            app = screen.app
            await screen.until(lambda: all(each.is_live for each in app.session.conversations.all.values()), "live")
            await ben.send(other, "old")
            await screen.until(lambda: app.session.conversations.all[other].unread == 1, "it is unread")
            await screen.pilot.press("alt+down")
            await screen.shows("─ new ─", "old")
            await screen.pilot.press("alt+up")
            await ben.send(other, "two")
            await ben.send(other, f"{user}: three")
            await ben.send(f"@{user}", "psst")
            await screen.shows(f"@ben{user}"[:10], "2 for you elsewhere, Alt+A")
            await screen.type("half", "alt+a")
            await screen.shows("─ new ─", "three")
            assert screen.row(" new ─") == screen.row("two") - 1 == screen.row("old") + 1
            assert app._field.text == "", "each conversation has what is typed there"
            await screen.pilot.press("alt+a")
            await screen.shows("psst")
            await screen.until(lambda: not app.session.conversations.spoken_to(), "all is read")
            await screen.pilot.press("alt+1")
            await screen.until(lambda: app._field.text == "half", "it is still there")
            await screen.pilot.press("alt+a")
            assert app._current is not None and app._current.name == room, "nothing is unread"
            await screen.pilot.click("#rooms", offset=(3, 1))
            await screen.until(lambda: app._current is not None and app._current.name == other, "a click goes there")
            app._is_focused = False
            await ben.send(other, "while away")
            await screen.shows("while away", "─ new ─")
            assert app.session.conversations.all[other].unread == 1

    run(talk())


def test_reading_back_without_end_and_being_left_there(shared_broker: BrokerProcess, room: str, user: str) -> None:
    async def talk() -> None:
        address = shared_broker.address
        async with zchat.aio.connect(address, "ben") as ben:
            for number in range(2_500):
                ben.publish(room, f"message {number}")
            await ben.flush()
            async with on_screen(address, user, room) as screen:
                await screen.shows("message 2499")
                pane, app = screen.app._pane, screen.app
                assert app._current is not None
                await screen.pilot.press("pageup")
                await screen.shows("message 2470")
                while not re.search(r"message 0\b", screen.text()):
                    app.action_scroll_pages(-4)
                    await screen.pilot.pause(0.01)
                    assert len(app._current.window.records) <= MOST + STEP + 100
                top = next(row for row in screen.rows() if "message" in row)
                await ben.send(room, "news")
                await screen.shows("1 new below, Esc goes there")
                assert next(row for row in screen.rows() if "message" in row) == top, "nobody is moved"
                await screen.pilot.press("pagedown", "pagedown")
                assert pane.scroll_y > 0 and "news" not in screen.text().replace("1 new below", "")
                await screen.pilot.press("escape")
                await screen.shows("news", "message 2499")
                await screen.until(lambda: app._current is not None and not app._current.unread, "it is read")
                await screen.pilot.press("pageup")
                await ben.send(room, "more news")
                await screen.until(lambda: app._current is not None and app._current.unread == 1, "it is unread")
                await screen.type("I write")
                await screen.shows("more news", "I write")

    run(talk())


def test_what_is_typed_while_the_broker_is_away(
    start_broker: Callable[..., BrokerProcess], room: str, user: str
) -> None:
    broker = start_broker()

    async def talk() -> None:
        async with on_screen(broker.address, user, room, size=(100, 24)) as screen:
            await screen.type("one")
            await screen.shows("│ one")
            broker.stop()
            await screen.shows("not connected")
            await screen.type("two")
            await screen.shows(" ◌ ", "two")
            await screen.type("half a line", "left")
            broker.start()
            await screen.until(lambda: "not connected" not in screen.text(), "it is back")
            await screen.until(lambda: "◌" not in screen.text(), "it is stored")
            await screen.shows("│ one", "│ two", "half a line")
            assert screen.app._field.cursor_location == (0, 10)
            screen.app._field.set("")
            assert screen.app._current is not None
            screen.app._actor.act("x" * 1_500_000, screen.app._current)
            await screen.until(lambda: screen.app._current.typed.unsent[0].state == "failed", "refused")  # type: ignore[union-attr]
            assert screen.app._current is not None
            screen.app._current.typed.unsent[0].text = "long"
            screen.app._soon()
            await screen.shows(" ✗ ", "long", "not sent: ", "ctrl+r sends it again")
            screen.app._current.typed.unsent[0].text = "shorter"
            await screen.pilot.press("ctrl+r")
            await screen.until(lambda: "✗" not in screen.text() and "│ shorter" in screen.text(), "it is sent")

    run(talk())


def test_commands_search_and_files(shared_broker: BrokerProcess, room: str, user: str, tmp_path: Path) -> None:
    sent = tmp_path / "notes.bin"
    sent.write_bytes(b"\xff" * 3_000)

    async def talk() -> None:
        address = shared_broker.address
        async with (
            zchat.aio.connect(address, "ben") as ben,
            on_screen(address, user, room, folder=tmp_path / "down") as screen,
        ):
            for number in range(300):
                ben.publish(room, f"filler {number}")
                if number == 20:
                    ben.publish(room, "the needle is here")
            await ben.flush()
            await screen.shows("filler 299")
            await screen.type("/dance")
            await screen.shows("no command /dance")
            assert screen.app._field.text == "/dance", "what is wrong can be mended"
            screen.app._field.set("")
            await screen.pilot.press("ctrl+f", *"needle")
            await screen.pilot.press("enter")
            await screen.shows("1 found: needle", "Enter goes there")
            await screen.pilot.press("enter")
            await screen.shows("the needle is here", "filler 19", "filler 21", "Esc goes to the end")
            await screen.pilot.press("escape")
            await screen.shows("filler 299")
            await screen.type(f"/file {sent}")
            await screen.shows("▤ notes.bin, 3.0 kB")
            await screen.type("/save")
            await screen.until(lambda: (tmp_path / "down" / "notes.bin").exists(), "it is saved")
            await screen.type("/who")
            await screen.shows("live  since")
            await screen.pilot.press("escape")
            await screen.pilot.press("f1")
            await screen.shows("/search WORDS", "/quit")
            await screen.pilot.press("escape")
            await screen.type(f"/msg {user} note to myself")
            await screen.shows(f"@{user}"[:15], "note to myself")
            await screen.type("/part")
            await screen.until(lambda: screen.app._current is not None and screen.app._current.name == room, "left")

    run(talk())


def test_completion(shared_broker: BrokerProcess, room: str, user: str) -> None:
    async def talk() -> None:
        address, field = shared_broker.address, "_field"
        async with (
            zchat.aio.connect(address, "Annika") as anna,
            zchat.aio.connect(address, "anton") as anton,
            on_screen(address, user, room) as screen,
        ):
            typed = getattr(screen.app, field)
            await anton.send(room, "hi")
            await anna.send(room, "hi")
            await screen.shows("Annika", "anton")
            for line, texts in (
                ("ask an", ["ask Annika ", "ask anton ", "ask Annika "]),
                ("@ant", ["@anton "]),
                ("/jo", ["/join "]),
                (f"/join {room[:6]}", [f"/join {room} "]),
                (f"see #{room[:7]}", [f"see #{room} "]),
                ("good :tad", ["good 🎉"]),
                ("first\nsecond an", ["first\nsecond Annika "]),
                ("nobody zzz", ["nobody zzz"]),
            ):
                typed.set(line)
                for text in texts:
                    await screen.pilot.press("tab")
                    assert typed.text == text, line
                await screen.pilot.press("escape")
            typed.set("an")
            await screen.pilot.press("tab")
            await screen.shows("─Annika  anton")
            await screen.pilot.press("shift+tab", "!")
            assert typed.text == "anton: !"

    run(talk())


def test_each_size_and_theme(shared_broker: BrokerProcess, room: str, user: str) -> None:
    async def talk() -> None:
        address = shared_broker.address
        async with zchat.aio.connect(address, "ben") as ben, on_screen(address, user, room, size=(40, 20)) as screen:
            await ben.send(room, "some words that do not fit into one line of it")
            await screen.shows("\nben ", "\n  some words that do not fit into one")
            assert not screen.app.query_one("#rooms").display
            await screen.pilot.press("f2")
            assert screen.app.query_one("#rooms").display
            await screen.pilot.click("#rooms", offset=(3, 0))
            await screen.until(lambda: not screen.app.query_one("#rooms").display, "it goes away")
            await screen.pilot.press("f3")
            await screen.shows(f"● {user}"[:12])
            await screen.pilot.resize_terminal(80, 24)
            await screen.shows("ben │ some words that do not fit")
            await screen.pilot.resize_terminal(120, 40)
            await screen.shows("ben │ some words that do not fit into one line of it")
            for theme in ("light", "contrast", "dark"):
                screen.app.use_theme(theme)
                await screen.shows("ben │ some words")
            before = screen.app.export_screenshot()
            assert before == screen.app.export_screenshot(), "the same byte for byte"
            await screen.pilot.press("ctrl+p")
            await screen.pilot.press(*"theme: con")
            await screen.shows("theme: contrast")
            await screen.pilot.press("enter", "enter")
            await screen.until(lambda: screen.app.theme == "contrast", "the palette does it")
        screen.app.action_repaint()  # as a timer does that was set by the last resize: there is no screen any more

    run(talk())


def test_who_speaks_to_the_user_is_notified_of_where_it_is_wanted(
    shared_broker: BrokerProcess, room: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk() -> None:
        address = shared_broker.address
        asked = ChatProfile(notify="osc777")
        async with (
            zchat.aio.connect(address, f"ben{user}") as ben,
            on_screen(address, user, room, f"{room}.b", asked=asked) as screen,
        ):
            written: list[str] = []
            driver = screen.app._driver
            assert driver is not None
            monkeypatch.setattr(driver, "write", written.append)
            await screen.until(lambda: screen.app.session.conversations.all[f"{room}.b"].is_live, "live")
            await ben.send(f"{room}.b", "nothing special")
            await ben.send(f"{room}.b", f"@{user}; look\x07 here")
            await ben.send(room, f"@{user} in view")
            await ben.send(f"@{user}", "psst")
            await screen.until(lambda: len(written) == 2, "twice")
            assert written == [
                f"\x1b]777;notify;ben{user} in #{room}.b;@{user}, look\\x07 here\a",
                f"\x1b]777;notify;ben{user} in @ben{user};psst\a",
            ]

    run(talk())
