"""How a client that comes back says what it has: its private id, and how far it is in each of its rooms.

Rules of this file
1. The gateway keeps nothing: all that it must know stands in what the client brings. So any gateway, also one that was
   started a moment ago, goes on where another one ended.
2. What a client brings may be anything; what makes no sense is no place.

    place   3f1c9a0b7d52e684;general:41;ops:38     the log, and the last offset that came in each room
    id      V1StGXR8_Z5jdHi6.alice                 private: 16 random characters, and who it is
    tag     kE0xYQ3bPz1a                           in the headers of what it writes; the id cannot be told from it

npm's socket.io-client keeps an id that CONNECT gives it as `pid`, and the last argument of the last event, if that is
text, as `offset`; both come back in the CONNECT of its next connection. Others hand in the place as `last`.

Spec: docs/web.md, "Coming back". Tests: tests/web/test_resuming.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from zchat.errors import UsageError
from zchat.names import room_name, user_name

ROOMS_MAX = 32  # of a client: each stands in the place, which goes with each event
PLACE_CHARACTERS_MAX = 8_192
ID_CHARACTERS = 16
OFFSET_DIGITS_MAX = 19
TAG = "tag"  # the header
KEY = "idempotency-key"  # the header of what is stored once, however often it is sent


class RoomPlaces(NamedTuple):
    """How far a client is."""

    log_id: str
    offsets: dict[str, int]  # room -> the last offset that came


class Introduction(NamedTuple):
    """What a client says as it connects. Where it comes back, `places` says how far it was."""

    user: str  # empty: it has not said
    rooms: list[str]  # that it wants to be in, the last one being where it speaks
    id: str  # that it was given before
    own_id: str  # that it has chosen itself, and has each time
    places: RoomPlaces | None
    since: int | None  # the last offset that it has, of all its rooms, where it says no more
    is_told: bool  # each event ends with its place
    hears_presence: bool  # joins and leaves


def place(log_id: str, offsets: Iterable[tuple[str, int]]) -> str:
    """How far a client is, as text."""
    return ";".join([log_id, *(f"{room}:{offset}" for room, offset in offsets)])


def places_of(text: Any) -> RoomPlaces | None:
    """The same, read; None for what makes no sense."""
    if not isinstance(text, str) or len(text) > PLACE_CHARACTERS_MAX:
        return None
    log_id, *each = text.split(";")
    offsets: dict[str, int] = {}
    for one in each:
        room, colon, digits = one.partition(":")
        if not (colon and digits.isascii() and digits.isdigit() and len(digits) <= OFFSET_DIGITS_MAX):
            return None
        try:
            offsets[room_name(room)] = int(digits)
        except UsageError:
            return None
    return RoomPlaces(log_id, offsets) if log_id and len(offsets) <= ROOMS_MAX else None


def tag_of(id: str) -> str:
    """What stands in the headers of what a client writes."""
    return hashlib.sha256(id.encode(errors="replace")).hexdigest()[:12]


def user_of_id(id: Any) -> str | None:
    """Who a private id is of; None for what makes no sense."""
    if not isinstance(id, str) or id[ID_CHARACTERS : ID_CHARACTERS + 1] != ".":
        return None
    try:
        return user_name(id[ID_CHARACTERS + 1 :])
    except UsageError:
        return None


def introduction(auth: Any, query: Mapping[str, str], *, is_npm: bool) -> Introduction:
    """What `auth` of a CONNECT says, and where that is silent the query of the address. Raises UsageError, BadName.

    `is_npm`: where it does not say so itself, a client is taken for one that keeps `pid` and `offset`.
    """
    if auth is None:
        auth = {}
    if not isinstance(auth, dict):
        raise UsageError("auth is an object")
    user = auth.get("user", query.get("user", ""))
    rooms = auth.get("rooms", auth.get("room", query.get("room", [])))
    rooms = [rooms] if isinstance(rooms, str) else rooms
    if not isinstance(user, str) or not isinstance(rooms, list) or not all(isinstance(each, str) for each in rooms):
        raise UsageError("user and room are text, rooms a list of it")
    if len(rooms) > ROOMS_MAX:
        raise UsageError(f"{len(rooms)} rooms, limit {ROOMS_MAX}")
    last, id, own_id, client = auth.get("last"), "", "", auth.get("client")
    places = places_of(last)
    pid_user = user_of_id(auth.get("pid"))
    if pid_user is not None:
        id, user = auth["pid"], user or pid_user
        places = places or places_of(auth.get("offset"))
    user = user_name(user) if user else ""
    if isinstance(client, str) and client:
        own_id = f"{hashlib.sha256(client.encode(errors='replace')).hexdigest()[:ID_CHARACTERS]}.{user}"
    since = last if isinstance(last, int) and not isinstance(last, bool) and last >= 0 else None
    return Introduction(
        user,
        list(dict.fromkeys(map(room_name, rooms))),
        id,
        own_id,
        places,
        since,
        "last" in auth or is_npm,
        auth.get("presence", True) is not False,
    )
