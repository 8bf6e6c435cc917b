"""Emoji by name: `:tada:` is 🎉. Some have the short names that people know; all have the name that Unicode gives them.

Tests: tests/chat/core/test_emoji.py.
"""

from __future__ import annotations

import re
from unicodedata import category, lookup

SHORT = {
    "+1": "👍",
    "-1": "👎",
    "100": "💯",
    "angry": "😠",
    "beer": "🍺",
    "birthday": "🎂",
    "blush": "😊",
    "boom": "💥",
    "bug": "🐛",
    "bulb": "💡",
    "cake": "🍰",
    "check": "✅",
    "clap": "👏",
    "coffee": "☕",
    "confused": "😕",
    "construction": "🚧",
    "cry": "😢",
    "eyes": "👀",
    "fire": "🔥",
    "fingers_crossed": "🤞",
    "grin": "😁",
    "heart": "❤️",
    "hi": "👋",
    "hourglass": "⌛",
    "hugs": "🤗",
    "joy": "😂",
    "key": "🔑",
    "laughing": "😆",
    "lock": "🔒",
    "lunch": "🍽️",
    "muscle": "💪",
    "ok": "👌",
    "package": "📦",
    "party": "🥳",
    "pin": "📌",
    "point_right": "👉",
    "pray": "🙏",
    "rocket": "🚀",
    "sad": "😞",
    "scream": "😱",
    "shrug": "🤷",
    "sleeping": "😴",
    "smile": "😄",
    "smiley": "😃",
    "sob": "😭",
    "sparkles": "✨",
    "star": "⭐",
    "sun": "☀️",
    "sweat_smile": "😅",
    "tada": "🎉",
    "tea": "🍵",
    "thinking": "🤔",
    "thumbsup": "👍",
    "tools": "🛠️",
    "umbrella": "☔",
    "warning": "⚠️",
    "wave": "👋",
    "wink": "😉",
    "x": "❌",
    "zap": "⚡",
}
NAMED = re.compile(r":([a-z0-9_+-]+):")


def emoji(name: str) -> str:
    """The emoji of a name, without its colons; empty: there is none."""
    if name in SHORT:
        return SHORT[name]
    try:
        found = lookup(name.replace("_", " "))
    except KeyError:
        return ""
    return found if len(found) == 1 and category(found) == "So" and ord(found) > 0x2000 else ""


def with_emoji(text: str) -> str:
    """The text with emoji in the place of their names; a name of none stays as it is, and so does code."""
    if ":" not in text or "`" in text:
        return text
    return NAMED.sub(lambda named: emoji(named[1]) or named[0], text)


def beginning(prefix: str) -> list[str]:
    """The short names that begin so."""
    return sorted(name for name in SHORT if name.startswith(prefix))
