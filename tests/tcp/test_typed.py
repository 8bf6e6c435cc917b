"""Lines and chunks, however they are cut on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.tcp.typed import CHUNK_BYTES_MAX, LINE_BYTES_MAX, TooLongLine, Typed, TypedChunks, TypedLine, TypedLines
from zchat.tcp.typed import unfinished as unfinished_of


def lines_of(*packets: bytes) -> list[Typed]:
    typed, taken = TypedLines(), list[Typed]()
    for packet in (*packets, None):
        if packet is None:
            typed.end()
        else:
            typed.add(packet)
        while (line := typed.take()) is not None:
            taken.append(line)
    assert typed.size == 0 and not typed.has_rest
    return taken


def bodies(*packets: bytes) -> list[bytes]:
    return [line.body for line in lines_of(*packets) if isinstance(line, TypedLine)]


def chunks_of(*packets: bytes | None) -> list[tuple[bytes, bytes]]:
    """None is a short silence."""
    typed, taken = TypedChunks(), list[tuple[bytes, bytes]]()
    for packet in (*packets, b""):
        if packet is None:
            typed.silence()
        else:
            typed.add(packet)
        while (chunk := typed.take()) is not None:
            taken.append((chunk.body, chunk.end))
    typed.end()
    while (chunk := typed.take()) is not None:
        taken.append((chunk.body, chunk.end))
    assert typed.size == 0
    return taken


# --- lines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\0"])
def test_a_line_is_the_same_wherever_it_is_cut(end: bytes) -> None:
    text = "hello 世界".encode() + end + b"and" + end
    for at in range(len(text) + 1):
        assert bodies(text[:at], text[at:]) == ["hello 世界".encode(), b"and"]
    assert bodies(*(text[at : at + 1] for at in range(len(text)))) == ["hello 世界".encode(), b"and"]


def test_what_is_left_at_the_end_is_a_line_too() -> None:
    assert bodies(b"one\ntwo") == [b"one", b"two"]
    assert bodies(b"one\n") == [b"one"]
    assert bodies() == []


def test_a_line_that_is_too_long_is_told_and_the_next_one_is_whole() -> None:
    longest = b"x" * LINE_BYTES_MAX
    assert lines_of(longest + b"\r\nnext\n") == [TypedLine(longest, b"\r\n"), TypedLine(b"next", b"\n")]
    assert lines_of(longest + b"x\nnext\n") == [TooLongLine(), TypedLine(b"next", b"\n")]
    many = [longest] * 5
    assert lines_of(*many, b"\nnext\n") == [TooLongLine(), TypedLine(b"next", b"\n")]
    assert lines_of(*many, b"\r", b"\nnext\n") == [TooLongLine(), TypedLine(b"next", b"\n")]
    assert lines_of(*many) == [TooLongLine()]


def test_of_a_line_without_an_end_little_is_held() -> None:
    typed = TypedLines()
    for _ in range(100):
        typed.add(b"x" * 16_384)
        assert typed.take() is None
        assert len(typed._held) <= LINE_BYTES_MAX + 1


# --- chunks -------------------------------------------------------------------------------------


def test_what_comes_until_a_silence_is_a_chunk() -> None:
    assert chunks_of(b"hel", b"lo", None, b"you") == [(b"hello", b""), (b"you", b"")]
    assert chunks_of(None, b"a", None, None) == [(b"a", b"")]


def test_a_line_is_a_chunk_at_once_with_the_end_that_it_had() -> None:
    assert chunks_of(b"one\ntwo\r\nth", None, b"ree\n\n") == [
        (b"one", b"\n"),
        (b"two", b"\r\n"),
        (b"th", b""),
        (b"ree", b"\n"),
        (b"", b"\n"),
    ]


def test_half_a_character_waits_for_its_rest() -> None:
    text = "aé世😀".encode()
    for at in range(1, len(text)):
        whole = text[:at].decode(errors="ignore").encode()
        found = [body for body, _ in chunks_of(text[:at], None, text[at:], None)]
        assert found == ([whole, text[len(whole) :]] if whole else [text])
    assert chunks_of(b"a\xe4", None, None, b"\xb8") == [(b"a", b""), (b"\xe4", b""), (b"\xb8", b"")]


def test_a_chunk_is_bounded_and_cut_between_characters() -> None:
    text = "世".encode() * CHUNK_BYTES_MAX
    found = chunks_of(text)
    assert b"".join(body for body, _ in found) == text
    assert all(len(body) <= CHUNK_BYTES_MAX and body.decode() for body, _ in found)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=20), st.sampled_from([b"\r", b"\n", b"\r\n", b"\xe4\xb8"]))))
def test_chunks_lose_nothing(packets: list[bytes | None]) -> None:
    together = b"".join(body + end for body, end in chunks_of(*packets))
    assert together == b"".join(packet for packet in packets if packet is not None)


@given(st.text(max_size=10), st.integers(0, 40))
def test_the_half_of_a_character_is_what_decoding_leaves_out(text: str, at: int) -> None:
    data = text.encode()[:at]
    assert unfinished_of(data) == len(data) - len(data.decode(errors="ignore").encode())


def test_what_comes_without_any_end_waits_for_a_hint_and_keys_one_by_one_do_not() -> None:
    typed = TypedLines()
    for key in b"slowly":
        typed.add(bytes([key]))
        assert not typed.has_rest
    typed.add(b" now")
    assert typed.has_rest and typed.take() is None
    typed.silence()
    assert not typed.has_rest
    typed.add(b" more")
    assert not typed.has_rest, "once"
    ends = TypedLines()
    ends.add(b"a line\nhalf of one")
    assert not ends.has_rest, "it knows how a line ends"
