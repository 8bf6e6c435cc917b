"""What a connection brings, cut where it belongs together: lines, or with --raw chunks.

    lines    "he" "llo\\r" "\\nhow a" "re you\\n"      ->  hello · how are you
    chunks   "hello"   (a short silence)   "one\\ntwo"  ->  hello · one\\n · two after another silence

Rules of this file
1. It knows no time: the shell says that nothing came for a while.
2. What it holds is bounded: a line that is longer is left out, and told as TOO_LONG; a chunk that is longer is cut.
3. Chunks lose nothing: put together again, with their ends, they are the bytes that came.

Tests: tests/tcp/test_typed.py.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

LINE_BYTES_MAX = 64 << 10  # of a line that is typed
CHUNK_BYTES_MAX = 64 << 10  # of a chunk; what is longer goes in several

_LINE_END = re.compile(rb"\r\n|\n|\r\0")  # CR NUL is what telnet sends for a bare CR (RFC 854)
_FIRST_BYTES = ((0xF0, 3), (0xE0, 2), (0xC0, 1))  # of a character in UTF-8, and how many are to follow


class TooLongLine(NamedTuple):
    """In place of a line: it had more than `LINE_BYTES_MAX`."""

    limit: int = LINE_BYTES_MAX


class TypedLine(NamedTuple):
    """A line without its end, or a chunk; with the end that it had."""

    body: bytes
    end: bytes


Typed: TypeAlias = TypedLine | TooLongLine


class TypedLines:
    """Lines. `add` what came, then `take` one after the other, until there is none.

    A program that ends no line waits for ever: after a silence it is to be told why, once.
    """

    SILENCE_SECONDS = 2.0
    HINT = "a line is sent when it ends, and what you typed has no end: a newline is missing"

    def __init__(self) -> None:
        self._held = bytearray()
        self._begin = 0  # of the next line
        self._looked = 0  # up to where there is no end of a line
        self._is_too_long = False  # the beginning of this line was dropped
        self._may_need_hint = True  # none has ended yet
        self.has_rest = False  # something waits for a silence

    @property
    def size(self) -> int:
        """Bytes that were typed and not taken."""
        return len(self._held) - self._begin

    def add(self, data: bytes) -> None:
        """It came. Who sends each key by itself is still typing."""
        self._held += data
        if b"\n" in data or b"\r" in data:
            self._may_need_hint = False
        self.has_rest = self._may_need_hint and (self.has_rest or len(data) > 1)

    def take(self) -> Typed | None:
        """The next whole line."""
        held, begin = self._held, self._begin
        found = _LINE_END.search(held, max(begin, self._looked - 1))
        if found is None:
            del held[:begin]
            self._begin, self._looked = 0, len(held)
            if len(held) > LINE_BYTES_MAX + 1:  # a CR at its end may be half of the line's
                self._is_too_long = True
                del held[:-1]
                self._looked = 1
            return None
        self._begin = self._looked = found.end()
        return self._line(bytes(held[begin : found.start()]), found.group())

    def silence(self) -> None:
        """Nothing came for a while: half a line stays one."""
        self._may_need_hint = self.has_rest = False

    def end(self) -> None:
        """Nothing comes any more: what is left is a line, too."""
        self._may_need_hint = self.has_rest = False
        if len(self._held) > self._begin or self._is_too_long:
            self._held += b"\n"

    def _line(self, body: bytes, end: bytes) -> Typed:
        was_too_long, self._is_too_long = self._is_too_long, False
        return TooLongLine() if was_too_long or len(body) > LINE_BYTES_MAX else TypedLine(body, end)


class TypedChunks:
    """A line where there are line ends, else what came until a short silence. As `TypedLines`."""

    SILENCE_SECONDS = 0.05  # then a chunk without a line end is whole
    HINT = ""

    def __init__(self) -> None:
        self._held = bytearray()
        self._begin = 0
        self._looked = 0
        self._whole = 0  # up to here it is a chunk, whatever it is

    @property
    def has_rest(self) -> bool:
        """Whether something waits for a short silence."""
        return len(self._held) > self._begin

    @property
    def size(self) -> int:
        """Bytes that were typed and not taken."""
        return len(self._held) - self._begin

    def add(self, data: bytes) -> None:
        """It came."""
        self._held += data

    def take(self) -> TypedLine | None:
        """The next chunk."""
        held, begin = self._held, self._begin
        at = held.find(b"\n", max(begin, self._looked), begin + CHUNK_BYTES_MAX)
        if at >= 0:
            end = at - 1 if at > begin and held[at - 1] == 0x0D else at
            self._begin = self._looked = at + 1
            return TypedLine(bytes(held[begin:end]), bytes(held[end : at + 1]))
        size = min(len(held) - begin, CHUNK_BYTES_MAX)
        if size == CHUNK_BYTES_MAX:
            size -= unfinished(held[begin : begin + size])
        elif self._whole <= begin:
            del held[:begin]
            self._begin, self._looked, self._whole = 0, len(held), 0
            return None
        else:
            size = self._whole - begin
        self._begin = self._looked = begin + size
        return TypedLine(bytes(held[begin : begin + size]), b"")

    def silence(self) -> None:
        """Nothing came for a while: what is there is a chunk. The half of a character waits for another while."""
        rest = self._held[self._begin :]
        half = unfinished(rest)
        self._whole = len(self._held) - (half if half < len(rest) else 0)

    def end(self) -> None:
        """Nothing comes any more."""
        self._whole = len(self._held)


def unfinished(data: bytes | bytearray) -> int:
    """How many bytes at its end are the beginning of a character in UTF-8 whose rest has not come."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            return back if any(byte >= first and back <= more for first, more in _FIRST_BYTES) else 0
        if byte < 0x80:
            return 0
    return 0
