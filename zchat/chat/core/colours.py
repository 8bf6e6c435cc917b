"""The colour of a user: the same one for everybody, everywhere and for ever, as it follows from the name.

Tests: tests/chat/core/test_colours.py.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2s

from zchat.names import user_key

COLOURS = 12


@lru_cache(maxsize=4096)
def colour_of(user: str) -> int:
    """A number below COLOURS."""
    return blake2s(user_key(user).encode(errors="replace"), digest_size=1).digest()[0] % COLOURS
