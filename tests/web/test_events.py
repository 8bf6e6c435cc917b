"""What is emitted comes out with the arguments that it went in with, and nothing is made of nonsense."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.errors import UsageError
from zchat.web.core import events
from zchat.web.core.events import Chat, arguments, chat, spoken

PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    PLAIN | TEXT | st.binary(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT.filter(lambda key: key != events.MARK), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=4))
def test_arguments_come_out_as_they_went_in(args: list[Any]) -> None:
    try:
        said = spoken("move", args)
    except UsageError as error:
        assert "binary parts" in str(error)
        return
    assert arguments(said.event, said.body, said.headers) == args


@pytest.mark.parametrize(
    ("args", "body", "headers"),
    [
        (["7"], b"7", {}),
        ([b"\xff"], b"\xff", {}),
        ([b"hi"], b"hi", {"args": "bytes"}),
        ([{"x": 1}, "b"], b'[{"x":1},"b"]', {"args": "json"}),
        ([], b"[]", {"args": "json"}),
        ([b"abc", "me"], b'[{"_placeholder":true,"num":0},"me"]\nabc', {"args": "binary", "parts": "3"}),
    ],
)
def test_a_record_is_as_it_is_described(args: list[Any], body: bytes, headers: dict[str, str]) -> None:
    assert spoken("e", args) == ("e", body, headers)


@given(st.binary(max_size=80), st.sampled_from(["json", "binary", "bytes", "what", ""]), st.text(max_size=8))
def test_any_record_is_some_event(body: bytes, kind: str, parts: str) -> None:
    args = arguments("e", body, {"args": kind, "parts": parts})
    assert isinstance(args, list)


@pytest.mark.parametrize(
    "body", [b'[{"_placeholder":true,"num":1}]\nabc', b'[{"_placeholder":true,"num":-1}]\nabc', b"[]\nab", b"{}\nabc"]
)
def test_parts_that_are_not_there_make_it_text(body: bytes) -> None:
    assert arguments("e", body, {"args": "binary", "parts": "3"}) == [body.decode()]


def test_what_is_nested_too_deeply_is_refused_and_shown_as_text() -> None:
    nested: Any = 1
    for _ in range(events.DEPTH_MAX):
        nested = [nested]
    with pytest.raises(UsageError):
        spoken("e", [nested])
    for depth in (50, 100_000):
        text = b"[" * depth + b"]" * depth
        assert arguments("e", text, {"args": "json"}) == [text.decode()]


@pytest.mark.parametrize("event", ["", "x" * 129, *sorted(events.CONNECTION_EVENTS | events.OWN_EVENTS)])
def test_an_event_that_nobody_may_emit_is_refused(event: str) -> None:
    with pytest.raises(UsageError):
        spoken(event, [])


@pytest.mark.parametrize("args", [[{"_placeholder": True}], [b"x"] * 17, ["\ud800"], [object()]])
def test_what_cannot_be_a_record_is_refused(args: list[Any]) -> None:
    with pytest.raises(UsageError):
        spoken("e", args)


def test_a_chat_message_is_text_binary_or_an_object_that_says_so() -> None:
    assert chat(["hi"]) == Chat("", b"hi", {}, "")
    assert chat([b"\xff"]) == Chat("", b"\xff", {}, "")
    assert chat([{"text": "", "room": "a", "headers": {"k": "v"}, "id": "1"}]) == Chat("a", b"", {"k": "v"}, "1")
    assert chat([{"data": b""}]) == Chat("", b"", {}, "")
    for other in ([], ["a", "b"], [5], [{"text": "a", "data": b""}], [{"message": "hi"}], [{"text": "a", "name": "b"}]):
        assert chat(other) is None
    for wrong in ({"text": 5}, {"data": "x"}, {"text": "a", "room": 1}, {"text": "a", "headers": {"k": 1}}):
        with pytest.raises(UsageError):
            chat([wrong])
