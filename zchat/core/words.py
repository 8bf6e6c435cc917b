"""Words: what a text is made of, in any script, and what a search asks for.

Rules of this file
1. The index and who looks through messages take words from here, so that both find the same.
2. A word has no case and none of the accents that are put over Latin, Greek and Cyrillic letters.
3. Scripts that write without spaces have a word for each character; what is asked for is then a phrase of them.

    Deploy of build.linux: Café 会议   ->   deploy of build linux cafe 会 议

    deploy fail*       both words, the second one as a beginning
    "no space left"    these words, one after the other

Tests: tests/core/test_words.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import category, normalize

from zchat import wire
from zchat.errors import WireError
from zchat.wire.records import FILE_EVENT, SEALED_EVENT

TEXT_BYTES_MAX = 64 << 10  # of a body: what stands behind is not found
WORD_MAX = 64  # characters; what is longer is cut
PHRASES_MAX = 16
ASKED_MAX = 256  # characters of what is asked for

_ASCII_WORDS = re.compile(r"[0-9a-z]+").findall
_ACCENTS = re.compile(r"[\u0300-\u036f]+")
_ASKED = re.compile(r'"([^"]*)"(\*?)|(\S+)')
# First and last code point of what is written without spaces, or whose parts people search for.
_SPACELESS = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),  # Thai and Lao, Myanmar, Khmer
    *((0x3040, 0x30FF), (0x31F0, 0x31FF)),  # Hiragana and Katakana
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),  # Han
    (0xAC00, 0xD7A3),  # Hangul
)


class Phrase(NamedTuple):
    """Words that stand one after the other."""

    words: tuple[str, ...]
    is_beginning: bool = False  # the last one is the beginning of a word


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    if text.isascii():
        found = _ASCII_WORDS(text.lower())
    else:
        plain = _ACCENTS.sub("", normalize("NFKD", text.casefold()))
        found = normalize("NFC", plain).casefold().translate(_SEPARATED).split()
    return [word[:WORD_MAX] for word in found]


def searched(record: wire.RecordOrBody) -> bytes:
    """The body in which words are looked for: of a piece of a file none."""
    if isinstance(record, bytes):
        return record
    return b"" if record.event in (FILE_EVENT, SEALED_EVENT) else record.body


def words_of(body: bytes) -> list[str]:
    """The words of a message's body; none where it is no text."""
    try:
        return words(str(body[:TEXT_BYTES_MAX], "utf-8", "strict" if len(body) <= TEXT_BYTES_MAX else "ignore"))
    except UnicodeDecodeError:
        return []


def asked_for(text: str) -> list[Phrase]:
    """What a search is for: all of these. Raises WireError where that is nothing, or too much."""
    if len(text) > ASKED_MAX:
        raise WireError("bad-request", f"{len(text)} characters to search for, limit {ASKED_MAX}")
    phrases: dict[Phrase, None] = {}
    for quoted, star, bare in _ASKED.findall(text):
        found = tuple(words(quoted or bare))
        if found:
            phrases[Phrase(found, bool(star) or bare.endswith("*"))] = None
    if not phrases:
        raise WireError("bad-request", "no word to search for")
    if len(phrases) > PHRASES_MAX:
        raise WireError("bad-request", f"{len(phrases)} words to search for, limit {PHRASES_MAX}")
    return list(phrases)


class Finder:
    """Tells whether a message has all that is asked for."""

    def __init__(self, phrases: Sequence[Phrase]) -> None:
        self._phrases = phrases
        longest = max((word for phrase in phrases for word in phrase.words), key=len)
        self._needle = longest.encode()  # what a body without any other letters must have

    def finds(self, body: bytes) -> bool:
        """Whether it has. Most are passed over by one search in C."""
        if body.isascii() and self._needle not in body.lower():
            return False
        found = words_of(body)
        return all(_has(found, *phrase) for phrase in self._phrases)


def _has(found: list[str], phrase: tuple[str, ...], is_beginning: bool) -> bool:
    if is_beginning:
        *whole, beginning = phrase
        size = len(whole)
        return any(
            word.startswith(beginning) and found[at - size : at] == whole for at, word in enumerate(found) if at >= size
        )
    if len(phrase) == 1:
        return phrase[0] in found
    wanted, size = list(phrase), len(phrase)
    return any(found[at : at + size] == wanted for at in range(len(found) - size + 1))


class _Separated(dict[int, str]):
    """Code point -> what stands for it, found out once: itself, with spaces around it, or a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if category(character)[0] not in "LMN":
            shown = " "
        elif any(first <= code <= last for first, last in _SPACELESS):
            shown = f" {character} "
        else:
            shown = character
        self[code] = shown
        return shown


_SEPARATED = _Separated()
