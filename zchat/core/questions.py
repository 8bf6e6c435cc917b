"""What clients ask and nothing changes by: who is here, which rooms there are, where each one's log stands.

Rules of this file
1. It reads the registry and the rooms, and writes neither.
2. What many may ask for is made once, and kept until something changes (`changed`): the list of all rooms can be long.
3. `may_read` is the one place that says which names a session may name.

Tests: tests/core/test_questions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import msgspec
from msgspec.structs import replace

from zchat import wire
from zchat.core import Instant
from zchat.core.asked import Question
from zchat.core.cursors import Cursors
from zchat.core.registry import Registry, Session
from zchat.core.rooms import Room
from zchat.errors import BadName, WireError
from zchat.names import ROOM_BYTES_MAX, inbox, is_pattern, matcher, pattern_name

MADE_MAX = 64  # answers that are kept
PATTERNS_COMPARED_MAX = 64  # different patterns with a wildcard in one WHO with lag: each is a look at every room

LISTENS_BYTES_MAX = 128 << 10  # of the names of an AT: a listener of 1,024 rooms with usual names fits
NAME_BYTES = 64  # what a name takes beside its letters


class Questions:
    """Answers from the registry and the rooms."""

    def __init__(self, registry: Registry, rooms: dict[str, Room]) -> None:
        self._registry = registry
        self._rooms = rooms
        self._made: dict[Hashable, msgspec.Raw] = {}  # what was asked -> the list that answers it, encoded

    def changed(self) -> None:
        """What is kept may not be true any more."""
        if self._made:
            self._made.clear()

    def check(self, session: Session, question: Question) -> None:
        """Raises BadName, WireError for what the session may not ask."""
        if isinstance(question, wire.Heads):
            self.may_read(session, question.patterns)
        elif isinstance(question, wire.Who) and question.room:
            self.may_read(session, [question.room])

    def answer(self, session: Session, question: Question, head: int, cursors: Cursors, now: Instant) -> bytes:
        """The frame that answers it."""
        if isinstance(question, wire.Heads):
            names = question.patterns
            listed = self._list(("heads", *names), lambda: self.heads(names))
            return wire.encode(wire.HeadsAre(question.request, head, listed))
        if isinstance(question, wire.Who):
            room, lag = question.room, question.lag
            key = (room, lag, now.micros)  # each message changes when its sender was seen last
            return wire.encode(wire.Present(question.request, self._list(key, lambda: self.who(room, lag))))
        if isinstance(question, wire.Rooms):
            own = inbox(session.user)
            own = own if own in self._rooms else ""
            return wire.encode(wire.RoomsAre(question.request, self._list(own, lambda: self.rooms(session))))
        return wire.encode(wire.CursorsAre(question.request, cursors.of(session.user)))

    def _list(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """A list that is encoded already, and encodes as itself."""
        if key not in self._made:
            if len(self._made) >= MADE_MAX:
                self._made.clear()
            self._made[key] = wire.encode_list(make())
        return self._made[key]

    def may_read(self, session: Session, patterns: list[str]) -> None:
        """Raises for names that are not canonical, too many of them, or the inbox of another user."""
        if not 0 < len(patterns) <= wire.ROOMS_PER_MESSAGE_MAX:
            raise WireError("bad-request", f"{len(patterns)} names, limit {wire.ROOMS_PER_MESSAGE_MAX}")
        for pattern in patterns:
            if pattern_name(pattern) != pattern:
                raise BadName("pattern", pattern, "not in its canonical form")
            if pattern.startswith("@") and pattern != inbox(session.user):
                raise WireError("denied", f"only its user reads {pattern}")

    def listens(self, session: Session, told: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
        """How far its listeners are, without what it may not read: WHO tells others of the lag.

        The names are not checked. One that is no pattern stands for no room; one that is too long for one is not kept.
        Listeners beyond the bound in bytes are left out whole: of a part the lag would be wrong.
        """
        own = inbox(session.user)
        kept, size = [], 0
        for at, patterns in told[: wire.LISTENERS_TOLD_MAX]:
            names = [name for name in patterns if len(name) <= ROOM_BYTES_MAX and (name[:1] != "@" or name == own)]
            size += sum(len(name.encode()) + NAME_BYTES for name in names)
            if size > LISTENS_BYTES_MAX:
                break
            kept.append((at, names))
        return kept

    def heads(self, patterns: list[str]) -> list[tuple[str, int]]:
        """Room and last offset of the rooms that match."""
        if all(name in self._rooms for name in patterns):
            return [(name, self._rooms[name].last) for name in patterns]
        wanted = matcher(patterns)
        return [(name, room.last) for name, room in self._rooms.items() if wanted(name)]

    def rooms(self, session: Session) -> list[wire.Room]:
        """The rooms that have a record or a member, without the inboxes of others."""
        own = inbox(session.user)
        members = self._registry.members
        return [
            wire.Room(name, room.last, members(name))
            for name, room in self._rooms.items()
            if (room.last or members(name)) and (not name.startswith("@") or name == own)
        ]

    def who(self, room: str, with_lag: bool) -> list[wire.Member]:
        """The members of a room; of the broker, when it is empty."""
        members = self._registry.who(room)
        if not with_lag:
            return members
        lasts: dict[str, int] = {}  # pattern -> the last offset of any room that matches
        return [replace(member, lag=self._lag(self._registry.find(member.session), lasts)) for member in members]

    def _lag(self, session: Session | None, lasts: dict[str, int]) -> int:
        if session is None or not session.listens:
            return wire.UNKNOWN
        return max(0, *(self._last(patterns, lasts) - offset for offset, patterns in session.listens))

    def _last(self, patterns: list[str], lasts: dict[str, int]) -> int:
        """The last offset of any room that one of the patterns stands for."""
        for pattern in patterns:
            if pattern in lasts:
                continue
            if not is_pattern(pattern):
                room = self._rooms.get(pattern)
                lasts[pattern] = room.last if room else 0
            elif len(lasts) < PATTERNS_COMPARED_MAX:
                wanted = matcher([pattern])
                lasts[pattern] = max((room.last for name, room in self._rooms.items() if wanted(name)), default=0)
        return max((lasts.get(pattern, 0) for pattern in patterns), default=0)
