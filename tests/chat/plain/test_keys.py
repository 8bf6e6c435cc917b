"""Keys in the bytes of a terminal."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from zchat.chat.plain.keys import KeyReader, PressedKey

TYPED = (
    "aé漢".encode()
    + b"\r\x7f\x1b[A\x1bOB\x1b[1;5C\x1b[3~\x1b\r\x1b[200~one\r\ntwo\x1b[201~\x03\x1b[99Zx\x1b[15~\x1bb\t"
)
MEANT = [
    PressedKey("text", "aé漢"),
    PressedKey("enter"),
    PressedKey("backspace"),
    PressedKey("up"),
    PressedKey("down"),
    PressedKey("ctrl+right"),
    PressedKey("delete"),
    PressedKey("alt+enter"),
    PressedKey("text", "one\ntwo"),
    PressedKey("ctrl+c"),
    PressedKey("shift+tab"),
    PressedKey("text", "x"),
    PressedKey("alt+b"),
    PressedKey("tab"),
]


def joined(keys: list[PressedKey]) -> list[PressedKey]:
    """Texts in a row as one."""
    found: list[PressedKey] = []
    for key in keys:
        if key.name == "text" and found and found[-1].name == "text":
            found[-1] = PressedKey("text", found[-1].text + key.text)
        else:
            found.append(key)
    return found


def test_all_at_once() -> None:
    assert KeyReader().read(TYPED) == MEANT


@given(st.lists(st.integers(1, len(TYPED) - 1), max_size=8))
def test_however_they_are_cut(cuts: list[int]) -> None:
    after_escape = {at + 1 for at, byte in enumerate(TYPED) if byte == 0x1B}  # Esc alone, and something else
    reader, keys, places = KeyReader(), list[PressedKey](), sorted({0, len(TYPED), *cuts} - after_escape)
    for begin, end in pairwise(places):
        keys += reader.read(TYPED[begin:end])
    assert joined(keys) == joined(MEANT)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_are_read(parts: list[bytes]) -> None:
    reader = KeyReader()
    for part in parts:
        for key in reader.read(part):
            assert key.name and (key.name == "text" or not key.text)
