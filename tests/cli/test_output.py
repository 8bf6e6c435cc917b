"""One message, each format: the bytes that come out."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat import Message, Notice, UsageError
from zchat.cli import output, templates

LOG = output.KnownLog("0ca8")
NOON = 1_789_992_000_000_000 + 123_456  # 2026-09-21T12:00:00.123456Z


def message(**facts: Any) -> Message:
    whole = {
        "room": "general",
        "offset": 7,
        "user": "alice",
        "time": NOON,
        "event": "message",
        "body": b"hello",
        "headers": {},
        "session": "s1",
    }
    return Message(**{**whole, **facts})


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> output.Format:
    monkeypatch.setattr(output, "_local_second", lambda seconds: "12:00:00")
    return output.people(show_room=False, colour=False)


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "[12:00:00] alice: hello"),
        ({"body": "你好".encode(), "user": "李明"}, "[12:00:00] 李明: 你好"),
        ({"body": b""}, "[12:00:00] alice: "),
        ({"event": "deploy", "body": b"v2"}, "[12:00:00] alice [deploy]: v2"),
        ({"event": "join", "body": b""}, "[12:00:00] * alice joined"),
        ({"event": "leave", "body": b"bye"}, "[12:00:00] * alice left"),
        ({"event": "leave", "body": b"lost"}, "[12:00:00] * alice left (lost)"),
    ],
)
def test_people_get_one_line(people: output.Format, facts: dict[str, Any], line: str) -> None:
    assert people(message(**facts)).decode() == line


def test_the_room_is_named_where_there_may_be_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_local_second", lambda seconds: "12:00:00")
    several = output.people(show_room=True, colour=False)
    assert several(message()) == b"[12:00:00] #general alice: hello"


def test_colour_is_the_same_for_a_user_each_time() -> None:
    coloured = output.people(show_room=False, colour=True)

    def colour(user: str, body: bytes) -> bytes:
        found = re.search(rb"\x1b\[(\d+)m" + user.encode() + rb"\x1b\[0m", coloured(message(user=user, body=body)))
        assert found, "the name is coloured"
        return found[1]

    users = [f"user{number}" for number in range(50)]
    first = {user: colour(user, b"a") for user in users}
    assert len(set(first.values())) > len(output.NAME_COLOURS) // 2, "users differ"
    output._coloured_name.cache_clear()  # as in another process,
    assert {user: colour(user, b"b") for user in reversed(users)} == first
    assert colour("alice", b"x") == b"91", "and in one whose hashes are others"


def test_no_colour_where_it_is_not_wanted() -> None:
    assert output.coloured({"TERM": "xterm"})
    assert output.coloured({"NO_COLOR": ""})
    assert not output.coloured({"NO_COLOR": "1"})
    assert not output.coloured({"TERM": "dumb"})


def test_json_has_the_facts_in_their_order() -> None:
    line = output.json_lines(LOG)(message(headers={"k": "v"}, body="é".encode()))
    assert line.decode() == (
        '{"room":"general","offset":7,"place":"7@0ca8","user":"alice","time":"2026-09-21T12:00:00.123456Z",'
        '"event":"message","body":"é","headers":{"k":"v"}}'
    )


def test_json_of_a_body_that_is_not_utf_8_has_it_as_base64() -> None:
    found = json.loads(output.json_lines(LOG)(message(body=b"\xff\x00")))
    assert found["body_base64"] == "/wA=" and "body" not in found


def test_json_of_a_volatile_message_has_no_offset() -> None:
    shown = json.loads(output.json_lines(LOG)(message(offset=0)))
    assert (shown["offset"], shown["place"]) == (None, None)
    assert templates.by_template("{place}", LOG)(message(offset=0)) == b"-"


@given(st.text(), st.text())
def test_json_on_a_terminal_says_the_same_in_printable_characters(body: str, user: str) -> None:
    shown = output.json_lines(LOG, terminal=True)(
        message(body=body.encode("utf-8", "replace"), user=user.encode("utf-8", "replace").decode())
    )
    assert shown.decode().isprintable()
    assert json.loads(shown) == json.loads(
        output.json_lines(LOG)(
            message(body=body.encode("utf-8", "replace"), user=user.encode("utf-8", "replace").decode())
        )
    )


@given(st.binary(), st.text(st.characters(codec="utf-8")), st.sampled_from(["message", "join", "leave", "\x1b[2J"]))
def test_no_format_but_raw_and_json_lets_a_control_character_through(body: bytes, user: str, event: str) -> None:
    hostile = message(body=body, user=user, room=user, event=event)
    for shown in (
        output.people(show_room=True, colour=False)(hostile),
        templates.by_template("{room}{user}{event}{body}{headers}", LOG)(hostile),
        output.people(show_room=True, colour=False, terminal=True)(hostile),
        output.json_lines(LOG, terminal=True)(hostile),
    ):
        assert not any(
            (character < " " and character != "\t") or "\x7f" <= character <= "\x9f" for character in shown.decode()
        )


def test_a_line_on_a_terminal_has_an_end_and_elsewhere_it_is_whole() -> None:
    long = message(body=b"x" * 50_000)
    shown = output.people(show_room=False, colour=False, terminal=True)(long).decode()
    assert len(shown) < 10_200 and shown.endswith("x… (of 50,000 characters; --json has all)")
    assert output.people(show_room=False, colour=False)(long).endswith(b"x" * 50_000)


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{user}: {body}", "alice: hello"),
        (r"{offset}\t{room}\n{event}", "7\tgeneral\nmessage"),
        ("{place}", "7@0ca8"),
        ("{time}", "2026-09-21T12:00:00.123456Z"),
        ("{headers}", '{"k": "v"}'),
        ("{{{body}}}", "{hello}"),
        (r"\\n \q{body}", r"\n \qhello"),
    ],
)
def test_a_template_is_filled_in(template: str, line: str) -> None:
    assert templates.by_template(template, LOG)(message(headers={"k": "v"})).decode() == line


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        ("{body.__class__}", 'no field "{body.__class__}"'),
        ("{body!r}", 'no field "{body!r}"'),
        ("{0}", 'no field "{0}"'),
        ("{}", 'no field "{}"'),
        ("{session}", 'no field "{session}"'),
        ("{body", '"{" at 1 stands alone'),
        ("body}", '"}" at 5 stands alone'),
        ("end\\", '"\\" at 4 stands alone'),
        ("hello", '"hello" has no field; there are {room}, {offset}, '),
        ("", '"" has no field'),
        ("{{body}}", '"{{body}}" has no field'),
        (r"%t %p\n", r"; here it is '{room} {body}\n'"),
        ("100%", '"100%" has no field'),
    ],
)
def test_a_template_reaches_nothing_but_the_fields(template: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=r"^--format: ") as refused:
        templates.by_template(template, LOG)
    assert wrong in str(refused.value)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (rb"C:\new", r"C:\\new"),
        (b"C:\new", r"C:\new"),
        (rb"C:\table", r"C:\\table"),
        (b"C:\table", r"C:\table"),
        (b"\x1b", r"\x1b"),
        (rb"\x1b", r"\\x1b"),
        (b"\xc2\x85", r"\x85"),
        (b"\x85", r"\udc85"),
        (rb"\udc85", r"\\udc85"),
        ("\ufffd".encode(), "\ufffd"),
        (b"\xff", r"\udcff"),
    ],
)
def test_a_template_shows_a_body_so_that_it_can_be_told_what_it_was(body: bytes, shown: str) -> None:
    assert templates.by_template("{body}", LOG)(message(body=body)).decode() == shown


@given(st.binary())
def test_what_a_template_shows_of_a_body_has_one_meaning(body: bytes) -> None:
    shown = templates.by_template("{body}", LOG)(message(body=body))
    whole = shown.replace(b"\\\\", b"\\x5c").decode("unicode_escape" if shown.isascii() else "utf-8")
    if shown.isascii():
        assert whole.encode("utf-8", "surrogateescape") == body


def test_a_body_that_looks_like_a_template_is_not_filled_in() -> None:
    assert templates.by_template("{body}", LOG)(message(body=b"{user}")) == b"{user}"


@pytest.mark.parametrize(
    ("notice", "text"),
    [
        (Notice(kind="live", offset=7), "live from offset 7"),
        (Notice(kind="lost", reason="no answer"), "connection lost: no answer; trying again"),
        (Notice(kind="lost"), "connection lost; trying again"),
        (Notice(kind="stranger", reason="another broker"), "another broker: nothing of it is printed; trying again"),
        (Notice(kind="back", records=1), "back, 1 message recovered"),
        (
            Notice(kind="gap", offset=4, last=9, room="ops", reason="damaged"),
            "gap in ops: offsets 4 to 9 cannot be had any more (damaged)",
        ),
        (
            Notice(kind="gap", room="ops", records=5, reason="volatile"),
            "gap in ops: 5 volatile messages lost on the way",
        ),
        (Notice(kind="gap", reason="log"), "gap: the broker has another log than before, its offsets begin anew"),
    ],
)
def test_a_notice_is_one_sentence(notice: Notice, text: str) -> None:
    assert output.notice_text(notice) == text


def test_a_table_lines_up_wide_characters() -> None:
    assert output.table(("ROOM", "LAST"), [("会议", "7"), ("general", "12")]) == (
        "ROOM     LAST\n会议     7\ngeneral  12\n"
    )
