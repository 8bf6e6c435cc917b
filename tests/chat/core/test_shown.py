"""What is shown of a record."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from zchat.chat.core.shown import TEXT_CHARACTERS_MAX, note, peer_of, shown, size_text
from zchat.message import NO_HEADERS, Message


def record(
    event: str = "message", body: bytes = b"hello", user: str = "ann", headers: Mapping[str, str] = NO_HEADERS
) -> Message:
    return Message("general", 7, user, 1_790_000_000_000_000, event, body, headers, "s1")


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("message", "said"),
        ("action", "action"),
        ("topic", "topic"),
        ("join", "join"),
        ("leave", "leave"),
        ("v2", "event"),
    ],
)
def test_each_event_has_its_kind(event: str, kind: str) -> None:
    found = shown(record(event))
    assert found is not None and (found.kind, found.text, found.offset) == (kind, "hello", 7)


def test_an_event_of_somebody_else_is_no_kind_of_the_chats_own() -> None:
    for event in ("said", "note", "gap", "file", "event"):
        found = shown(record(event))
        assert found is not None and found.kind in ("said", "event"), event


def test_hostile_text_is_defused_and_lines_stay_lines() -> None:
    found = shown(record(body="a\x1b[2J\nb\u202ec\td".encode(), event="x\x07"))
    assert found is not None
    assert found.text == "a\\x1b[2J\nb\\u202ec    d" and found.event == "x\\x07"
    assert note("\x1b", 0).text == "\\x1b"


def test_a_long_text_is_cut_and_says_so() -> None:
    found = shown(record(body=b"x" * (TEXT_CHARACTERS_MAX + 5)))
    assert found is not None and found.text.endswith("… 5 more characters: zchat history shows all")


def test_a_file_is_one_line_once_it_is_whole() -> None:
    small = shown(record(body=b"\xff\xfe", headers={"file-name": "a.bin"}))
    assert small is not None and (small.kind, small.text) == ("file", "a.bin, 2 bytes")
    pieces = {"file-name": "b.bin", "file-id": "00ff", "file-size": "2400000"}
    assert shown(record("file", headers={"file-at": "0", **pieces})) is None
    last = shown(record("file", headers={"file-at": "9", "file-sha256": "x", **pieces}))
    assert last is not None and (last.text, last.file_id) == ("b.bin, 2.4 MB", "00ff")


def test_a_direct_message_is_of_the_other_one_whoever_wrote_it() -> None:
    assert peer_of(record(user="Bob"), "ann") == "@bob"
    assert peer_of(record(user="Ann", headers={"to": "@bob"}), "ann") == "@bob"
    assert peer_of(record(user="eve", headers={"to": "@bob"}), "ann") == "@eve"
    assert peer_of(record(user="ann"), "ann") == "@ann"
    assert peer_of(record(user="ann", headers={"to": "general"}), "ann") == "@ann"
    for hostile in ("@\x1b]0;mine\a", "@bob\n-- alice: yes", "@" + "x" * 500, "@", "@a b"):
        assert peer_of(record(user="ann", headers={"to": hostile}), "ann") == "@ann"
    assert peer_of(record(user="ann", headers={"to": "@Bob"}), "ann") == "@bob"


def test_sizes() -> None:
    sizes = [size_text(size) for size in (0, 1, 999, 1_000, 2_400_000, 10**10, 10**15)]
    assert sizes == ["0 bytes", "1 byte", "999 bytes", "1.0 kB", "2.4 MB", "10.0 GB", "1000.0 TB"]
