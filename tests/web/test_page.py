"""The page in a real browser: two people and a terminal in one room."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.web.conftest import WebProcess

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]
SCRIPT = "<img src=x onerror=alert(1)><script>alert(2)</script> & <b>bold</b>"
PICTURE = bytes.fromhex(  # one pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001"
    "a5f645400000000049454e44ae426082"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is needed (apt-get install chromium)"),
]

expect.set_options(timeout=30_000)
StartWeb = Callable[..., WebProcess]
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    os.environ.setdefault("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens the page for somebody, who comes in under a name; an error in it fails the test."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def open_it(web: WebProcess, user: str, path: str = "/", **options: Any) -> Page:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(web.url + path)
        page.fill("#who-name", user)
        page.click("#who-form button")
        expect(page.locator("#state.is-there")).to_have_text("connected")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not wrong


def say(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def texts(page: Page) -> list[str]:
    return page.locator("#messages .message .body").all_inner_texts()


def test_two_people_and_a_terminal_talk(shared_web: WebProcess, open_page: Open, room: str) -> None:
    with zchat.connect(shared_web.broker.address, "terry") as terry, terry.listen(room, presence=True) as messages:
        anna, ben = open_page(shared_web, "Anna", f"/{room}"), open_page(shared_web, "ben", f"/{room}")
        expect(ben.locator("#members-count")).to_have_text("· 3")
        say(anna, "hello https://example.com/a.")
        expect(ben.locator(".body", has_text="hello")).to_be_visible()
        link = ben.locator(".body a")
        assert (link.get_attribute("href"), link.get_attribute("rel")) == (
            "https://example.com/a",
            "noopener noreferrer nofollow",
        )
        heard = [messages.get(20) for _ in range(4)][-1]
        assert (heard.user, heard.text) == ("Anna", "hello https://example.com/a.")
        terry.send(room, SCRIPT)
        terry.send(room, SCRIPT, event=SCRIPT)
        terry.send(room, "a\u202egpj.exe\x1b[2J\u200b")
        expect(anna.locator(".body", has_text="onerror")).to_have_count(2)
        expect(anna.locator(".body", has_text="gpj.exe")).to_have_text("a\\u202egpj.exe\\u001b[2J\\u200b")
        assert SCRIPT in texts(anna) and anna.locator("#messages img, #messages script, #messages b").count() == 0
        assert texts(anna).count("hello https://example.com/a.") == 1, "its own stands there once"
        # unread counts, and another room
        ben.fill("#join-room", f"{room}.Ops")
        ben.press("#join-room", "Enter")
        expect(ben.locator("#room-name")).to_have_text(f"#{room}.ops")
        say(anna, "one")
        say(anna, "two")
        expect(ben.locator(f"#rooms button[data-room='{room}'] .badge")).to_have_text("2")
        assert ben.title().startswith("(2) ")
        ben.locator(f"#rooms button[data-room='{room}']").click()
        expect(ben.locator(".unread-line")).to_have_text("New")
        expect(ben.locator("#rooms .badge")).to_have_count(0)
        # a direct message, which the others do not see
        anna.locator("#members button", has_text="ben").click()
        say(anna, "psst")
        expect(ben.locator("#people .badge")).to_have_text("1")
        ben.locator("#people button").click()
        expect(ben.locator(".body", has_text="psst")).to_be_visible()
        say(ben, "what?")
        expect(anna.locator(".body", has_text="what?")).to_be_visible()
        # files, and somebody who goes
        anna.locator("#rooms button").first.click()
        anna.locator("#rooms button", has_text=room).first.click()
        picture = {"name": "dot.png", "mimeType": "image/png", "buffer": PICTURE}
        anna.set_input_files("#file", files=[picture])  # type: ignore[arg-type]
        expect(anna.locator("#messages img.picture")).to_have_attribute("alt", "dot.png")
        eventually(lambda: anna.evaluate("document.querySelector('img.picture').naturalWidth") == 1, "it is shown")
        page = {"name": "evil.html", "mimeType": "text/html", "buffer": b"<script>alert(3)</script>"}
        anna.set_input_files("#file", files=[page])  # type: ignore[arg-type]
        expect(anna.locator("a.file")).to_have_attribute("download", "evil.html")
        ben.close()
        expect(anna.locator(".note", has_text="ben left")).to_be_visible()
        # search
        anna.fill("#search", "HELLO")
        anna.press("#search", "Enter")
        expect(anna.locator("#found .message")).to_have_count(1)


def test_what_was_said_before_comes_on_scrolling_up(shared_web: WebProcess, open_page: Open, room: str) -> None:
    with zchat.connect(shared_web.broker.address, "terry") as terry:
        for number in range(130):
            terry.publish(room, f"line {number}")
        terry.flush(30)
        anna = open_page(shared_web, "anna", f"/{room}")
        expect(anna.locator(".body").last).to_have_text("line 129")
        for _ in range(4):
            before = len(texts(anna))
            anna.evaluate("document.getElementById('messages').scrollTop = 0")
            if before < 130:
                eventually(lambda before=before: len(texts(anna)) > before, "older ones come")  # type: ignore[misc]
        assert texts(anna) == [f"line {number}" for number in range(130)]
        expect(anna.locator(".beginning")).to_be_visible()
        anna.evaluate("document.getElementById('messages').scrollTop = 0")
        terry.send(room, "line 130")
        anna.click("#newest")
        expect(anna.locator(".body").last).to_be_in_viewport()
        assert len(texts(anna)) == 131


def test_nothing_is_lost_or_doubled_while_the_gateway_and_the_broker_are_away(
    start_broker: Callable[..., BrokerProcess], start_web: StartWeb, open_page: Open
) -> None:
    broker = start_broker()
    web = start_web(broker)
    anna = open_page(web, "anna")
    with zchat.connect(broker.address, "terry") as terry:
        say(anna, "before")
        expect(anna.locator(".message.waits")).to_have_count(0)
        web.kill()
        expect(anna.locator("#away")).to_be_visible()
        say(anna, "while it was away")
        anna.fill("#text", "a draft")
        terry.send("general", "missed one")
        expect(anna.locator(".message.waits")).to_have_count(1)
        with pytest.raises(Error):
            anna.reload()
        web.start()
        broker.kill()
        broker.start()
        terry.send("general", "missed two")
        anna.goto(web.url)
        expect(anna.locator(".message.waits")).to_have_count(0)
        expect(anna.locator(".body", has_text="missed two")).to_have_count(1)
        assert anna.input_value("#text") == "a draft"
        eventually(
            lambda: sorted(texts(anna)) == ["before", "missed one", "missed two", "while it was away"], "all of it"
        )
        stored = [message.text for message in terry.history("general") if message.user == "anna"]
        assert stored == ["before", "while it was away"]
        web.kill()
        terry.send("general", "missed three")
        web.start()
        expect(anna.locator(".body", has_text="missed three")).to_have_count(1)


@pytest.mark.parametrize(
    ("width", "height", "scheme"), [(1280, 800, "light"), (390, 844, "light"), (900, 700, "dark")], ids=str
)
def test_nothing_keeps_anybody_out(
    shared_web: WebProcess, open_page: Open, npm: Path, room: str, width: int, height: int, scheme: str
) -> None:
    with zchat.connect(shared_web.broker.address, "terry") as terry, terry.listen(room):
        terry.send(room, "hello https://example.com")
        terry.send(room, "v2", event="deploy")
        terry.send(room, b"\x00", headers={"filename": "a.bin"})
        viewport = {"width": width, "height": height}
        page = open_page(shared_web, "anna", f"/{room}", viewport=viewport, color_scheme=scheme, bypass_csp=True)
        expect(page.locator("a.file")).to_be_visible()
        page.add_script_tag(path=str(npm / "axe-core" / "axe.min.js"))
        check = "async () => (await axe.run()).violations.map((v) => [v.impact, v.id, v.nodes[0].html])"
        assert [fault for fault in page.evaluate(check) if fault[0] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width < 720:
            page.click("#open-side")
            expect(page.locator("#my-name")).to_be_visible()
            assert [fault for fault in page.evaluate(check) if fault[0] in ("serious", "critical")] == []
            page.keyboard.press("Escape")
        page.keyboard.press("Control+k")
        page.keyboard.type(f"{room}.two")
        page.keyboard.press("Enter")
        expect(page.locator("#room-name")).to_have_text(f"#{room}.two")
        page.keyboard.press("Alt+ArrowUp")
        expect(page.locator("#room-name")).not_to_have_text(f"#{room}.two")


def test_a_name_that_cannot_be_is_asked_for_again(shared_web: WebProcess, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(shared_web.url)
    page.fill("#who-name", "no name")
    page.click("#who-form button")
    expect(page.locator("#who-wrong")).to_contain_text("U+0020")
    page.fill("#who-name", "noname")
    page.click("#who-form button")
    expect(page.locator("#state.is-there")).to_have_text("connected")
    page.goto(f"{shared_web.url}/docs")
    expect(page.locator("h2", has_text="POST /{room} Publish")).to_be_visible()
    context.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_the_example_page_is_a_room_on_a_page_of_ones_own(
    start_web: StartWeb, broker: BrokerProcess, browser: Browser
) -> None:
    examples = Path(__file__).parent.parent.parent / "examples" / "web"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(examples))) as server:
        origin = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        web = start_web(broker, "--origin", origin)
        context = browser.new_context()
        page = context.new_page()
        with zchat.connect(broker.address, "terry") as terry:
            terry.send("lobby", "<b>welcome</b>")
            page.goto(f"{origin}/room.html?user=anna&room=lobby&gateway={web.url.removeprefix('http://')}")
            expect(page.locator("#messages")).to_have_text("terry: <b>welcome</b>")
            expect(page.locator("#state")).to_have_text("connected")
            page.fill("#text", "hello")
            page.press("#text", "Enter")
            expect(page.locator("#messages li")).to_have_text(["terry: <b>welcome</b>", "anna: hello"])
            web.kill()
            expect(page.locator("#state")).to_have_text("away")
            terry.send("lobby", "meanwhile")
            web.start()
            expect(page.locator("#messages li").last).to_have_text("terry: meanwhile")
            assert page.locator("#messages li").count() == 3, "nothing twice"
        context.close()
        server.shutdown()
