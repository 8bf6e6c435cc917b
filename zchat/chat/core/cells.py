"""How many columns of a terminal a text takes, as far as a terminal can be relied on.

Tests: tests/chat/core/test_cells.py.
"""

from __future__ import annotations

from functools import lru_cache
from unicodedata import category, east_asian_width

_JOINING = ("Mn", "Me", "Cf")


def cells(text: str) -> int:
    """Of a text without control characters."""
    return len(text) if text.isascii() else sum(map(_cell, text))


@lru_cache(maxsize=4096)
def _cell(character: str) -> int:
    if category(character) in _JOINING:
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
