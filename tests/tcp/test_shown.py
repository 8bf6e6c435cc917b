"""What a visitor is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.message import Message
from zchat.tcp import shown


def message(body: str | bytes = "hello", *, event: str = "message", user: str = "ann", **headers: str) -> Message:
    data = body if isinstance(body, bytes) else body.encode()
    return Message("general", 7, user, 0, event, data, headers, "s1")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (message(), "ann: hello"),
        (message("v2", event="deploy"), "ann [deploy]: v2"),
        (message("", event="join"), "* ann joined"),
        (message("bye", event="leave"), "* ann left"),
        (message("lost", event="leave"), "* ann left (lost)"),
        (message("a\nbob: b\x1b[2J"), "ann: a\\nbob: b\\x1b[2J"),
        (message(b"\xff\xfe"), "ann: ��"),
    ],
)
def test_a_message_is_one_line_that_a_terminal_may_show(told: Message, line: str) -> None:
    assert shown.line(told) == line
    assert shown.lines([told], "#ops ") == [f"#ops {line}"]


def test_a_crowd_that_comes_is_counted() -> None:
    came = [message("", event="join", user=f"u{number}") for number in range(1_200)]
    assert shown.lines([*came, message("bye", event="leave"), message()]) == ["* 1,200 joined, 1 left", "ann: hello"]
    assert len(shown.lines(came[:3])) == 3


def test_names_are_told_once_in_order_and_not_without_end() -> None:
    assert shown.names(["bob", "Ann", "bob"]) == "Ann, bob"
    assert shown.names([]) == "nobody"
    assert shown.names(f"u{number:04}" for number in range(1_100)).endswith("u0099 and 1,000 more")


@given(st.binary(max_size=40), st.sampled_from([b"", b"\n", b"\r\n"]))
def test_a_chunk_comes_out_as_it_went_in(body: bytes, end: bytes) -> None:
    assert shown.raw(message(body, **shown.headers_of(end))) == body + end


def test_what_was_sent_otherwise_ends_as_a_line() -> None:
    assert shown.raw(message("hello")) == b"hello\n"
    assert shown.raw(message("hello", **{"line-end": "of-tomorrow"})) == b"hello\n"
