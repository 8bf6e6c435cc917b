"""Names: rooms, inboxes, patterns and users are made, checked and matched here and nowhere else.

Rules of this file
1. What a maker returns is canonical: making it again changes nothing, and two spellings that people
   take for the same name (case, composed or not, full width or not) give the same one.
2. A name that is not allowed raises BadName, whose `why` names the character or segment and its bound.
3. What is compared is canonical. `matches`, `matcher` and the topics take canonical names and do not check.

    room      general   build.linux   会议          segments joined by dots, NFC and case folded
    inbox     @alice                                direct messages to alice
    pattern   build.*   build.**   *.linux          `*` is one segment, `**` at the end one or more
    user      Alice     李明   ci.bot-7             its case is kept; `user_key` is what is compared

A topic is what libzmq compares byte by byte from the left. The NUL keeps `general` from being a prefix
of `general2`; the `#` keeps inboxes and private topics (0xFF) from those who listen to `**`.

    room "build.linux"  ->  #build.linux\\0         pattern "build.*"  ->  #build.
    inbox "@alice"      ->  @alice\\0               pattern "**"       ->  #

Characters are letters, marks and decimal digits of any script. In the spirit of PRECIS (RFC 8265) full
and half width forms become their usual ones, and what cannot be told apart by eye from another name,
such as invisible or mathematical letters, is refused. It has more than 300 lines because names are made in
one place. Tests: tests/test_names.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from unicodedata import category, decomposition, name, normalize

from zchat.errors import BadName, WireError

ROOM_BYTES_MAX = 128  # of UTF-8, patterns too: a topic then stays far below what a subscription may have
USER_BYTES_MAX = 64
DEAD = ".dead"  # behind the name of a room: where its dead letters go
LONGEST_SPELLING = 512  # characters: no longer one has a canonical form within the limits; normalising is not free

_ASCII_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_LETTERS_MARKS_DIGITS = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd"})
_MARKS = frozenset({"Mn", "Mc", "Me"})
_WIDTH_TAGS = ("<wide>", "<narrow>")
# Decompositions of characters that only dress another one up: mathematical, raised, positional forms.
# <compat> is not here: Thai and Lao write their AM with it.
_DRESSED_TAGS = ("<font>", "<super>", "<sub>", "<circle>", "<square>", "<initial>", "<medial>", "<final>", "<isolated>")
# Letters and marks that show nothing (Default_Ignorable_Code_Point); the other invisible ones are no letters.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)


def room_name(text: str) -> str:
    """The canonical name of a room, or of an inbox when it starts with `@`. Raises BadName."""
    return _room_name(text)


def pattern_name(text: str) -> str:
    """The canonical form of a pattern; a room is a pattern too, and so is one inbox. Raises BadName."""
    return _pattern_name(text)


def user_name(text: str) -> str:
    """The canonical name of a user, its case kept. Raises BadName."""
    return _user_name(text)


def cursor_name(text: str) -> str:
    """The canonical name of a cursor: made like a user's, and case folded. Raises BadName."""
    return _folded(_plain_name("cursor", text))


def group_name(text: str) -> str:
    """The canonical name of a group: as a cursor's. Raises BadName."""
    return _folded(_plain_name("group", text))


@lru_cache(maxsize=4096)
def user_key(user: str) -> str:
    """What a user's name is compared by; two names with one key are the same user."""
    return _folded(user)


def inbox(user: str) -> str:
    """The room of the direct messages to a user."""
    return "@" + user_key(user)


def is_pattern(text: str) -> bool:
    """True when it has a wildcard, so that it may stand for several rooms."""
    return "*" in text


def matches(pattern: str, room: str) -> bool:
    """True when the pattern stands for the room. Wildcards stand for no inbox."""
    return _matcher_of_one(pattern)(room)


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A function that tells whether any of the patterns stands for a room."""
    literals: set[str] = set()
    wildcards: list[str] = []
    for pattern in dict.fromkeys(patterns):
        if is_pattern(pattern):
            wildcards.append(pattern)
        else:
            literals.add(pattern)
    if not wildcards:
        return literals.__contains__
    fits = fitting(wildcards)
    return lambda room: room in literals or fits(room) > 0


def fitting(patterns: Sequence[str]) -> Callable[[str], int]:
    """A function that tells which of the patterns stand for a room: a bit for each, the first one's is the lowest.

    A room's segments are looked at once for all. Some patterns and names are alike for as long as they can be: one by
    one they would take a thousand times as long.
    """
    split = [pattern.split(".") for pattern in patterns]
    depth = max(map(len, split), default=0)
    exact: list[dict[str, int]] = [{} for _ in range(depth)]  # at each position: segment -> those that have it,
    any_one, rest = [0] * depth, [0] * depth  # those that have `*`, and that end with `**`
    whole = [0] * (depth + 1)  # those of so many segments
    for number, pattern in enumerate(split):
        bit = 1 << number
        for at, segment in enumerate(pattern):
            if segment == "**":
                rest[at] |= bit
            elif segment == "*":
                any_one[at] |= bit
            else:
                exact[at][segment] = exact[at].get(segment, 0) | bit
        if pattern[-1] != "**":
            whole[len(pattern)] |= bit
    levels = list(zip(exact, any_one, rest, strict=True))

    def fits(room: str) -> int:
        if room.startswith("@"):
            return 0
        segments, left, found = room.split("."), (1 << len(split)) - 1, 0
        for segment, (having, any_segment, anything) in zip(segments, levels, strict=False):
            found |= left & anything
            left &= any_segment | having.get(segment, 0)
            if not left:
                return found
        return found | (left & whole[len(segments)]) if len(segments) <= depth else found

    return fits


def topic(room: str) -> bytes:
    """The topic of a room or inbox."""
    return f"{room}\0".encode() if room.startswith("@") else f"#{room}\0".encode()


def topic_prefix(pattern: str) -> bytes:
    """What to subscribe to for a pattern; of what then comes, `matches` tells what was asked for."""
    if not is_pattern(pattern):
        return topic(pattern)
    return f"#{pattern[: pattern.index('*')]}".encode()  # a wildcard is a whole segment: this ends with a dot


def room_of(topic: bytes) -> str:
    """The room of a topic. Raises WireError when it is the topic of none."""
    if topic[-1:] == b"\0" and len(topic) > 2 and topic[:1] in (b"#", b"@"):
        try:
            return topic[:-1].decode().removeprefix("#")
        except UnicodeDecodeError as error:
            raise WireError("bad-frame", f"topic: {error}") from error
    raise WireError("bad-frame", "the topic is no room's")


# --- rooms and patterns -------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _room_name(text: str) -> str:
    if text.startswith("@"):
        return _inbox_name("room", text)
    room = _bounded_fold("room", text)
    for at, segment in enumerate(room.split("."), 1):
        _check_segment("room", text, segment, at)
    return room


@lru_cache(maxsize=4096)
def _pattern_name(text: str) -> str:
    if text.startswith("@"):
        if is_pattern(text):
            raise BadName("pattern", text, "an inbox is read by its whole name, without *")
        return _inbox_name("pattern", text)
    pattern = _bounded_fold("pattern", text)
    segments = pattern.split(".")
    for at, segment in enumerate(segments, 1):
        if segment == "*" or (segment == "**" and at == len(segments)):
            continue
        if segment == "**":
            raise BadName("pattern", text, f"** at position {at} is not the last segment")
        if "*" in segment:
            raise BadName("pattern", text, f"* at position {at} is not a whole segment")
        _check_segment("pattern", text, segment, at)
    return pattern


def _inbox_name(kind: str, text: str) -> str:
    if len(text) == 1:
        raise BadName(kind, text, "no user after @")
    try:
        return inbox(user_name(text[1:]))
    except BadName as error:
        raise BadName(kind, text, error.why) from None


def _check_segment(kind: str, text: str, segment: str, at: int) -> None:
    if not segment:
        raise BadName(kind, text, f"empty segment at position {at}" if text else "name is empty")
    if not _ASCII_ALLOWED.issuperset(segment):
        _check_characters(kind, text, segment)


def _bounded_fold(kind: str, text: str) -> str:
    _check_size(kind, text, text, ROOM_BYTES_MAX, spelling=True)
    folded = _folded(text)
    _check_size(kind, text, folded, ROOM_BYTES_MAX)
    return folded


@lru_cache(maxsize=1024)
def _matcher_of_one(pattern: str) -> Callable[[str], bool]:
    return matcher((pattern,))


# --- users --------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _user_name(text: str) -> str:
    return _plain_name("user", text)


def _plain_name(kind: str, text: str) -> str:
    if not text:
        raise BadName(kind, text, "name is empty")
    _check_size(kind, text, text, USER_BYTES_MAX, spelling=True)
    plain = _usual_width(text)
    _check_size(kind, text, plain, USER_BYTES_MAX)
    for part in plain.split("."):
        if not _ASCII_ALLOWED.issuperset(part):
            _check_characters(kind, text, part)
    if not any(character.isalnum() for character in plain):
        raise BadName(kind, text, "name has no letter or digit")
    _check_size(kind, text, _folded(plain), USER_BYTES_MAX, " when case folded")
    return plain


# --- characters ---------------------------------------------------------------------------------


def _folded(text: str) -> str:
    """Case folded NFC. Folding can undo the normalisation and the other way round: until neither changes it."""
    if text.isascii():
        return text.lower()
    folded = _usual_width(text)
    while (again := normalize("NFC", folded.casefold())) != folded:
        folded = again
    return folded


def _usual_width(text: str) -> str:
    """NFC with full and half width letters, marks and digits in their usual width."""
    if text.isascii():
        return text
    return normalize("NFC", "".join(map(_in_usual_width, text)))


def _in_usual_width(character: str) -> str:
    if category(character) in _LETTERS_MARKS_DIGITS and decomposition(character).startswith(_WIDTH_TAGS):
        return normalize("NFKC", character)
    return character


def _check_size(kind: str, text: str, form: str, limit: int, when: str = "", *, spelling: bool = False) -> None:
    """Refuse what is too long. A `spelling` is not canonical yet and may become shorter."""
    if spelling and len(form) <= LONGEST_SPELLING:
        return
    size = len(form.encode("utf-8", "surrogatepass"))
    if size > limit:
        raise BadName(kind, text, f"name is {size} bytes{when}, limit {limit}")


def _check_characters(kind: str, text: str, part: str) -> None:
    for character in part:
        if character not in _ASCII_ALLOWED and (why := _why_not(character)):
            raise BadName(kind, text, f"{_described(character)} {why}")
    if category(part[0]) in _MARKS:
        raise BadName(kind, text, f"{_described(part[0])} is a mark and follows no letter")


def _why_not(character: str) -> str:
    """Why a character is not allowed; empty when it is."""
    found = category(character)
    if found == "Cn":
        return "is not assigned to any character"
    if found == "Cs":
        return "is half of a surrogate pair"
    if found == "Cf" or character in _INVISIBLE:
        return "is invisible"
    if found == "Cc":
        return "is a control character"
    if found.startswith("S"):
        return "is a symbol, not a letter, mark or digit"
    if found in ("Nl", "No"):
        return "is a number but not a decimal digit"
    if found not in _LETTERS_MARKS_DIGITS:
        return "is not allowed"
    if decomposition(character).startswith(_DRESSED_TAGS):
        return f'is another form of "{normalize("NFKC", character)}"'
    return ""


def _described(character: str) -> str:
    """`U+0020 SPACE`."""
    return f"U+{ord(character):04X} {name(character, '')}".rstrip()
