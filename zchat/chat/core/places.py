"""How far a user has read, as cursors that the broker keeps: one for each conversation, named after it.

    general          chat.general            @bob     chat-dm.bob
    a long name      chat-long.‹its hash›    as a cursor's name is shorter than a room's may be

So the unread counts follow the user to another machine, and so do the rooms that he is in.
Tests: tests/chat/core/test_places.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from zchat.names import USER_BYTES_MAX

OF_ROOM, OF_DIRECT, OF_LONG = "chat.", "chat-dm.", "chat-long."


def cursor_of(place: str) -> str:
    """The cursor of a room, or of the conversation with a user, `@bob`."""
    name = f"{OF_DIRECT}{place[1:]}" if place.startswith("@") else f"{OF_ROOM}{place}"
    if len(name.encode()) <= USER_BYTES_MAX:
        return name
    return OF_LONG + hashlib.sha256(place.encode()).hexdigest()[:32]


def places_of(cursors: Iterable[str], rooms: Iterable[str]) -> list[str]:
    """The conversations that these cursors are of. `rooms` are what long names may stand for."""
    names = set(cursors)
    found = {cursor.removeprefix(OF_ROOM) for cursor in names if cursor.startswith(OF_ROOM)}
    found |= {f"@{cursor.removeprefix(OF_DIRECT)}" for cursor in names if cursor.startswith(OF_DIRECT)}
    if any(cursor.startswith(OF_LONG) for cursor in names):
        found |= {room for room in rooms if cursor_of(room) in names}
    return sorted(found)
