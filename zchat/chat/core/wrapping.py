"""Text as rows of a given width: broken at spaces where it can be, code kept as it is.

    ```          a fence begins code, and another one, or the end, ends it
    rows         are parts of the text, by where they begin and end: nothing is copied before it is shown

Rules of this file
1. No row is wider than it may be. `cells` tells how wide a character is; a joined one is counted as its parts.
2. What is plain ASCII and fits, as nearly all is, costs next to nothing.

Tests: tests/chat/core/test_wrapping.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

FENCE = "```"
_WIDE_SELECTOR = "\ufe0f"
_LINK = re.compile(r"https?://[^\s<>\"`\u2026]+[^\s<>\"`\u2026.,;:!?'()\[\]{}*_]/?")
_CODE = re.compile(r"`[^`\n]+`")
_NAMED = re.compile(r"(?<![\w@#/.-])[@#][\w-][\w.-]*[\w]|(?<![\w@#/.-])[@#]\w")


class TextRow(NamedTuple):
    """A row of a text: from `begin` to `end`."""

    begin: int
    end: int
    is_code: bool = False


class TextSpan(NamedTuple):
    """A part of a text that is shown in another way: `link`, `code`, or `name`."""

    begin: int
    end: int
    kind: str


def rows_of(text: str, width: int, cells: Callable[[str], int]) -> list[TextRow]:
    """All rows, at least one."""
    if text.isascii() and len(text) <= width and "\n" not in text:
        return [TextRow(0, len(text))]
    found: list[TextRow] = []
    is_code, begin = False, 0
    for line in text.split("\n"):
        end = begin + len(line)
        if FENCE in text and line.strip().startswith(FENCE) and (is_code or FENCE not in line.strip()[3:]):
            is_code = not is_code
        else:
            found += (
                TextRow(at, until, is_code) for at, until in _wrapped(text, begin, end, max(width, 2), cells, is_code)
            )
        begin = end + 1
    return found or [TextRow(0, 0)]


def spans_of(text: str) -> list[TextSpan]:
    """Links, code and names in a text that is no code, in order, none over another."""
    found: list[TextSpan] = []
    for pattern, kind, sign in ((_CODE, "code", "`"), (_LINK, "link", "://"), (_NAMED, "name", "")):
        if sign in text:
            found += (TextSpan(match.start(), match.end(), kind) for match in pattern.finditer(text))
    found.sort(key=lambda span: (span.begin, -span.end))
    kept: list[TextSpan] = []
    for span in found:
        if not kept or span.begin >= kept[-1].end:
            kept.append(span)
    return kept


def _wrapped(
    text: str, begin: int, end: int, width: int, cells: Callable[[str], int], is_code: bool
) -> Iterator[tuple[int, int]]:
    is_ascii = text.isascii()
    while True:
        stop = min(end, begin + width) if is_ascii else _fitting(text, begin, end, width, cells)
        if stop >= end:
            yield begin, end
            return
        space = -1 if is_code else text.rfind(" ", begin + 1, stop + 1)
        if space > begin:
            yield begin, space
            begin = space + 1
        else:
            yield begin, stop
            begin = stop


def _fitting(text: str, begin: int, end: int, width: int, cells: Callable[[str], int]) -> int:
    used, at = 0, begin
    while at < end:
        used += 1 if text[at] == _WIDE_SELECTOR else cells(text[at])
        if used > width and at > begin:
            break
        at += 1
    return at
