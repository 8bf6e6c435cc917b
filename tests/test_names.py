"""Room, pattern and user names: what is allowed, what is the same name, what a topic is."""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zchat.errors import BadName, WireError
from zchat.names import (
    inbox,
    is_pattern,
    matcher,
    matches,
    pattern_name,
    room_name,
    room_of,
    topic,
    topic_prefix,
    user_key,
    user_name,
)

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
LETTERS = st.text(st.characters(categories=["L", "M", "Nd"], include_characters="_-"), min_size=1, max_size=6)
SEGMENT = st.sampled_from(["a", "b", "ab", "会议", "straße"])
ROOM = st.lists(SEGMENT, min_size=1, max_size=4).map(".".join).map(room_name)
PATTERN = st.builds(
    lambda segments, end: ".".join([*segments, *end]) or "**",
    st.lists(st.one_of(SEGMENT, st.just("*")), max_size=3),
    st.sampled_from([[], ["**"]]),
).map(pattern_name)


def why(make: object, text: str) -> str:
    with pytest.raises(BadName) as caught:
        make(text)  # type: ignore[operator]
    assert caught.value.name == text
    return caught.value.why


# --- rooms --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("general", "general"),
        ("General", "general"),
        ("build.Linux", "build.linux"),
        ("a-b_c.9", "a-b_c.9"),
        ("-", "-"),
        ("会议", "会议"),
        ("Straße", "strasse"),
        ("CAFE\u0301", "caf\u00e9"),
        ("نقاش", "نقاش"),
        ("น้ำ", "น้ำ"),
        ("हिन्दी", "हिन्दी"),
        ("Ｆｕｌｌ", "full"),
        ("ｶﾞ", "ガ"),
        ("@Alice", "@alice"),
        ("@李明", "@李明"),
        ("@ci.Bot-7", "@ci.bot-7"),
    ],
)
def test_a_room_has_one_canonical_name(given: str, canonical: str) -> None:
    assert room_name(given) == canonical
    assert room_name(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "name is empty"),
        (".", "empty segment at position 1"),
        ("a..b", "empty segment at position 2"),
        ("a.b.", "empty segment at position 3"),
        ("a b", "U+0020 SPACE is not allowed"),
        ("a/b", "U+002F SOLIDUS is not allowed"),
        ("a\nb", "U+000A is a control character"),
        ("a\0", "U+0000 is a control character"),
        ("a.*", "U+002A ASTERISK is not allowed"),
        ("a@b", "U+0040 COMMERCIAL AT is not allowed"),
        ("#a", "U+0023 NUMBER SIGN is not allowed"),
        ("\U0001f600", "U+1F600 GRINNING FACE is a symbol, not a letter, mark or digit"),
        ("a\u200db", "U+200D ZERO WIDTH JOINER is invisible"),
        ("a\u202eb", "U+202E RIGHT-TO-LEFT OVERRIDE is invisible"),
        ("a\ufe0f", "U+FE0F VARIATION SELECTOR-16 is invisible"),
        ("\u3164", "U+3164 HANGUL FILLER is invisible"),
        ("a\u0378", "U+0378 is not assigned to any character"),
        ("a\ud800", "U+D800 is half of a surrogate pair"),
        ("x²", "U+00B2 SUPERSCRIPT TWO is a number but not a decimal digit"),
        ("𝐚", 'U+1D41A MATHEMATICAL BOLD SMALL A is another form of "a"'),
        ("a.\u0301b", "U+0301 COMBINING ACUTE ACCENT is a mark and follows no letter"),
        ("a" * 129, "name is 129 bytes, limit 128"),
        ("会" * 43, "name is 129 bytes, limit 128"),
        ("a" * 100_000, "name is 100000 bytes, limit 128"),
        ("@", "no user after @"),
        ("@a b", "U+0020 SPACE is not allowed"),
        ("@@a", "U+0040 COMMERCIAL AT is not allowed"),
        ("@" + "a" * 65, "name is 65 bytes, limit 64"),
    ],
)
def test_a_room_name_that_is_not_allowed_says_why(text: str, reason: str) -> None:
    assert why(room_name, text) == reason


def test_a_name_of_just_the_limit_is_allowed() -> None:
    assert room_name("a" * 128) == "a" * 128
    assert user_name("a" * 64) == "a" * 64
    assert room_name("e\u0301" * 64) == "\u00e9" * 64  # 192 bytes as written, 128 as kept


def test_the_error_shows_a_hostile_name_safely() -> None:
    with pytest.raises(BadName) as caught:
        room_name("a\x1b[2J")
    assert str(caught.value) == r'room "a\x1b[2J": U+001B is a control character'


@given(st.one_of(ANY_TEXT, LETTERS, st.builds("@{}".format, LETTERS)))
def test_making_a_name_again_changes_nothing(text: str) -> None:
    for make in (room_name, pattern_name, user_name):
        try:
            made = make(text)
        except BadName:
            continue
        assert make(made) == made
        assert made == unicodedata.normalize("NFC", made)


@pytest.mark.slow
def test_each_character_makes_the_same_name_twice_or_is_refused() -> None:
    allowed = 0
    for number in range(sys.maxunicode + 1):
        if unicodedata.category(chr(number)) in ("Cn", "Co"):  # most of them, and refused in one place
            continue
        text = f"a{chr(number)}"
        try:
            room, user = room_name(text), user_name(text)
        except BadName:
            continue
        allowed += 1
        assert room_name(room) == room
        assert user_name(user) == user
        assert room_name(f"@{user}") == inbox(user) == room_name(inbox(user))
        assert user_key(user_key(user)) == user_key(user)
    assert allowed > 100_000


@given(LETTERS)
def test_spellings_that_differ_in_case_or_composition_are_one_room(text: str) -> None:
    try:
        room = room_name(text)
    except BadName:
        assume(False)
    assert room_name(unicodedata.normalize("NFD", text)) == room
    assert room_name(text.casefold()) == room


# --- patterns -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["*", "**", "a.*", "a.**", "*.b", "*.*.**", "a", "@alice", "会议.*"])
def test_a_canonical_pattern_stays_as_it_is(text: str) -> None:
    assert pattern_name(text) == text


def test_a_pattern_is_case_folded() -> None:
    assert pattern_name("Build.*") == "build.*"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "name is empty"),
        ("a.**.b", "** at position 2 is not the last segment"),
        ("a*", "* at position 1 is not a whole segment"),
        ("a.***", "* at position 2 is not a whole segment"),
        ("a..*", "empty segment at position 2"),
        ("@*", "an inbox is read by its whole name, without *"),
        ("@alice.**", "an inbox is read by its whole name, without *"),
        ("a b.*", "U+0020 SPACE is not allowed"),
        ("*." * 64 + "**", "name is 130 bytes, limit 128"),
    ],
)
def test_a_pattern_that_is_not_allowed_says_why(text: str, reason: str) -> None:
    assert why(pattern_name, text) == reason


def test_a_pattern_is_known_by_its_wildcard() -> None:
    assert is_pattern("a.*")
    assert is_pattern("**")
    assert not is_pattern("a")
    assert not is_pattern("@alice")


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a", ["a"], ["b", "a.b", "@a", "ab"]),
        ("*", ["a", "会议"], ["a.b", "@a"]),
        ("**", ["a", "a.b", "a.b.c"], ["@a", "@a.b"]),
        ("a.*", ["a.b", "a.c"], ["a", "a.b.c", "ab.c"]),
        ("a.**", ["a.b", "a.b.c"], ["a", "b.a", "ab"]),
        ("*.b", ["a.b"], ["b", "a.b.c", "@a.b"]),
        ("*.b.**", ["a.b.c", "a.b.c.d"], ["a.b", "a.c.b"]),
        ("@alice", ["@alice"], ["alice", "@alicia"]),
    ],
)
def test_a_pattern_stands_for_its_rooms(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [room for room in yes + no if matches(pattern, room)] == yes


@given(PATTERN, ROOM)
def test_matching_is_what_the_segments_say(pattern: str, room: str) -> None:
    def plainly(wanted: list[str], found: list[str]) -> bool:
        if wanted == ["**"]:
            return bool(found)
        if not wanted or not found:
            return not wanted and not found
        return wanted[0] in ("*", found[0]) and plainly(wanted[1:], found[1:])

    assert matches(pattern, room) == plainly(pattern.split("."), room.split("."))


@given(st.lists(PATTERN, max_size=5), ROOM)
def test_a_matcher_stands_for_what_one_of_its_patterns_stands_for(patterns: list[str], room: str) -> None:
    assert matcher(patterns)(room) == any(matches(pattern, room) for pattern in patterns)


def stands_for(pattern: list[str], room: list[str]) -> bool:
    """The rule, spelled out."""
    if not pattern or not room:
        return pattern == room
    if pattern == ["**"]:
        return True
    return pattern[0] in ("*", room[0]) and stands_for(pattern[1:], room[1:])


@given(st.lists(PATTERN, min_size=1, max_size=6), ROOM)
def test_patterns_stand_for_what_their_segments_say(patterns: list[str], room: str) -> None:
    assert matcher(patterns)(room) == any(stands_for(each.split("."), room.split(".")) for each in patterns)


def test_patterns_that_are_alike_cost_no_more_than_one() -> None:
    patterns = [".".join("*" if each >> at & 1 else "a" for at in range(10)) for each in range(1024)]
    room = ".".join("a" * 9) + ".b"

    def seconds(wanted: Callable[[str], bool]) -> float:
        began = time.thread_time()
        for _ in range(100):
            wanted(room)
        return time.thread_time() - began

    one = min(seconds(matcher(patterns[1:2])) for _ in range(5))
    assert min(seconds(matcher(patterns)) for _ in range(5)) < 10 * one, "one after the other it would be 200 times"


# --- users --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "canonical", "key"),
    [
        ("Alice", "Alice", "alice"),
        ("李明", "李明", "李明"),
        ("ci.Bot-7_x", "ci.Bot-7_x", "ci.bot-7_x"),
        ("Zoe\u0308", "Zo\u00eb", "zo\u00eb"),
        ("ＡＢ", "AB", "ab"),
        ("Weiß", "Weiß", "weiss"),
        ("İ", "İ", "i̇"),
    ],
)
def test_a_user_keeps_its_case_and_is_compared_without(given: str, canonical: str, key: str) -> None:
    assert user_name(given) == canonical
    assert user_key(canonical) == key
    assert inbox(canonical) == f"@{key}" == room_name(f"@{given}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "name is empty"),
        ("...", "name has no letter or digit"),
        ("-_-", "name has no letter or digit"),
        ("a b", "U+0020 SPACE is not allowed"),
        ("@alice", "U+0040 COMMERCIAL AT is not allowed"),
        ("al\u200bice", "U+200B ZERO WIDTH SPACE is invisible"),
        ("alice\U0001f600", "U+1F600 GRINNING FACE is a symbol, not a letter, mark or digit"),
        ("\u0301a", "U+0301 COMBINING ACUTE ACCENT is a mark and follows no letter"),
        ("a.\u0301", "U+0301 COMBINING ACUTE ACCENT is a mark and follows no letter"),
        ("a" * 65, "name is 65 bytes, limit 64"),
        ("İ" * 32, "name is 96 bytes when case folded, limit 64"),
        ("a\udcff", "U+DCFF is half of a surrogate pair"),
    ],
)
def test_a_user_name_that_is_not_allowed_says_why(text: str, reason: str) -> None:
    assert why(user_name, text) == reason


# --- topics -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("room", "expected"),
    [("general", b"#general\0"), ("会议", b"#\xe4\xbc\x9a\xe8\xae\xae\0"), ("@alice", b"@alice\0")],
)
def test_a_topic_and_its_room_are_one(room: str, expected: bytes) -> None:
    assert topic(room) == expected
    assert room_of(expected) == room


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("general", b"#general\0"),
        ("@alice", b"@alice\0"),
        ("**", b"#"),
        ("*", b"#"),
        ("build.*", b"#build."),
        ("a.b.**", b"#a.b."),
        ("a.*.c", b"#a."),
    ],
)
def test_a_pattern_subscribes_to_its_literal_part(pattern: str, prefix: bytes) -> None:
    assert topic_prefix(pattern) == prefix


@given(PATTERN, ROOM)
def test_a_subscription_gets_every_room_that_matches(pattern: str, room: str) -> None:
    if matches(pattern, room):
        assert topic(room).startswith(topic_prefix(pattern))


@given(ROOM, ROOM)
def test_no_topic_is_the_beginning_of_another(one: str, other: str) -> None:
    assert topic(one).startswith(topic(other)) == (one == other)


@pytest.mark.parametrize("bad", [b"", b"#", b"#\0", b"@\0", b"general\0", b"#general", b"\xffnonce", b"#\xff\0"])
def test_a_topic_of_no_room_is_a_wire_error(bad: bytes) -> None:
    with pytest.raises(WireError) as caught:
        room_of(bad)
    assert caught.value.code == "bad-frame"
