"""Whether a text speaks to somebody: `@alice`, or the name as a word of its own.

Tests: tests/chat/core/test_mentions.py.
"""

from __future__ import annotations

import re
from functools import lru_cache

from zchat.names import user_key


def mentions(text: str, user: str) -> bool:
    """Whether the user is named in it, in any case."""
    return _named(user).search(text.casefold()) is not None


@lru_cache(maxsize=64)
def _named(user: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-])@?{re.escape(user_key(user))}(?![\w-])")
