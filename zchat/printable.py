"""Text from others, made safe to show: on a terminal, in a log line, inside an error; and how wide it is.

Rules of this file
1. What comes out moves no cursor, starts no escape sequence, turns no direction and hides nothing: each
   character that would is shown as a visible escape. A newline comes out only when it was asked for.
2. What people write in any script comes out unchanged: spaces of any width, the joiners inside Persian
   or Indic words and inside emoji, one variation selector after a character.

Tests: tests/test_printable.py.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from unicodedata import category, east_asian_width

# Printable to Python, yet nothing is seen: grapheme joiner, fillers, selectors.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_SELECTOR = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_JOINERS = "\u200c\u200d"
_JOINING = ("Mn", "Me", "Cf")  # categories of what takes no column
_SHORT = {"\n": r"\n", "\r": r"\r"}


def printable(text: str, *, newlines: bool = False) -> str:
    """The text with everything that a terminal would act on, or not show, as a visible escape."""
    if text.isprintable() and (text.isascii() or not _BLANK.search(text)):
        return text
    kept = "\t\n" if newlines else "\t"
    shown = []
    before = ""
    for character, after in pairwise([*text, ""]):
        if character in kept or _is_harmless(character, before, after):
            shown.append(character)
        else:
            shown.append(_escape(character))
        before = character
    return "".join(shown)


def cells(text: str) -> int:
    """How many columns of a terminal it takes, as far as a terminal can be relied on. Without control characters."""
    return len(text) if text.isascii() else sum(map(_cell, text))


@lru_cache(maxsize=4096)
def _cell(character: str) -> int:
    if category(character) in _JOINING:
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _is_harmless(character: str, before: str, after: str) -> bool:
    if character.isascii():
        return character.isprintable()
    if character in _JOINERS:
        return _is_joined(before) and _is_joined(after)
    if _SELECTOR.match(character):
        return before.isprintable() and before not in ("", " ") and not _BLANK.match(before)
    if character.isprintable():
        return not _BLANK.match(character)
    return category(character) == "Zs"


def _is_joined(neighbour: str) -> bool:
    """True for what joiners join: letters, marks and symbols that are not ASCII."""
    if not neighbour or neighbour.isascii():
        return False
    return category(neighbour)[0] in "LMS" and (not _BLANK.match(neighbour) or neighbour == "\ufe0f")


def _escape(character: str) -> str:
    """As Python writes it."""
    number = ord(character)
    if number < 0x100:
        return _SHORT.get(character) or f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
