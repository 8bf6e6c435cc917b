"""Names that look like others: letters of two scripts in one name, or another user's name to the eye.

    аlice    Cyrillic а, Latin lice        mixes Cyrillic and Latin letters
    аӏісе    all of it Cyrillic            looks like alice
    aIice    a capital I                   looks like alice

Rules of this file
1. It warns, and forbids nothing: such names are right in some languages, and whoever reads knows better.
2. Two spellings of one user's name are that user.
3. Of shapes it knows the letters that are hardest to tell apart, of the scripts next to Latin. The table that goes with
   UTS 39 has six thousand rows, is not in Python, and no library of it is kept up.

Tests: tests/test_lookalikes.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import name as name_of_character

from zchat.names import user_key

NAMES_MAX = 10_000  # that are remembered
ALIKE_SCRIPTS = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "COPTIC", "CHEROKEE", "LISU"})

_SHAPES = str.maketrans(
    "аеорсхуіјѕһԁԛԝӏүАВЕКМНОРСТХУІЈЅԌԚԜ" + "οναιρυγκτΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" + "օոսհցզյԼՕՍ" + "01I",
    "aeopcxyijshdqwlyabekmhopctxyljsgqw" + "ovaipuyktabezhlkmnoptyx" + "onuhgqjlou" + "oll",
)


def shape(name: str) -> str:
    """What it looks like: two names of one shape are hard to tell apart."""
    return name.translate(_SHAPES).casefold().replace("rn", "m").replace("vv", "w")


def mixture(name: str) -> str:
    """`mixes Cyrillic and Latin letters`; empty where a name does not."""
    if name.isascii():
        return ""
    scripts = {name_of_character(letter, "").partition(" ")[0] for letter in name if letter.isalpha()} & ALIKE_SCRIPTS
    return f"mixes {' and '.join(sorted(script.title() for script in scripts))} letters" if len(scripts) > 1 else ""


class Lookalikes:
    """The names that were seen so far."""

    def __init__(self) -> None:
        self._users: dict[str, str] = {}  # shape -> who was seen with it first
        self._known: set[str] = set()

    def doubt(self, user: str) -> str:
        """What is odd about a name, told the first time that it is seen; empty: nothing, or it was told."""
        if user in self._known or len(self._known) >= NAMES_MAX:
            return ""
        self._known.add(user)
        first = self._users.setdefault(shape(user), user)
        return f"looks like {first}" if user_key(first) != user_key(user) else mixture(user)


def doubts(users: Iterable[str]) -> dict[str, str]:
    """What is odd about which of these: each of those that look alike names one of the others."""
    alike: dict[str, dict[str, str]] = {}
    for user in users:
        alike.setdefault(shape(user), {}).setdefault(user_key(user), user)
    found = {}
    for of_one_shape in alike.values():
        for key, user in of_one_shape.items():
            other = next((each for known, each in of_one_shape.items() if known != key), "")
            if why := f"looks like {other}" if other else mixture(user):
                found[user] = why
    return found
