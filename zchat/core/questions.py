"""What clients ask and nothing changes by: who is here, which rooms there are, where each one's log stands.

Rules of this file
1. It reads the registry and the rooms, and writes neither.
2. Answers are made in steps of some 0.1 ms (core/asked.py says whose turn it is). Between two of them things may
   change: an answer tells of each room and session as it was at some moment after the question.
3. What many ask for is made once: a list that was begun after a question came answers that question too.
4. `may_read` is the one place that says which names a session may name.

Tests: tests/core/test_questions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from zchat import wire
from zchat.core.asked import Question, WaitingQuestion, Work
from zchat.core.cursors import BrokerCursors
from zchat.core.groups import BrokerGroups
from zchat.core.registry import Registry
from zchat.core.rooms import BrokerRoom
from zchat.core.schedule import BrokerSchedule
from zchat.core.session import Session, member_of
from zchat.core.ways import is_direct
from zchat.errors import BadName, WireError
from zchat.names import ROOM_BYTES_MAX, inbox, is_pattern, matcher, pattern_name, room_of

STEP = 64  # rooms, or sessions in few rooms
STEP_NAMES = 32  # of rooms that a session is in or listens to cost as much as one more session
MADE_BYTES_MAX = 16 << 20  # of lists that are kept for who waits for the same
PATTERNS_COMPARED_MAX = 64  # different patterns with a wildcard in one WHO with lag: each is a look at every room,
COMPARED_MAX = 1 << 20  # of which there are so many in one WHO

AnswerPart = list[Any]  # elements of a list, made in one step
Element = TypeVar("Element")

LISTENS_BYTES_MAX = 128 << 10  # of the names of a REPORT: a listener of 1,024 rooms with usual names fits
NAME_BYTES = 64  # what a name takes beside its letters


class Made(NamedTuple):
    """A list that answers what was asked."""

    began: int  # how many questions had been asked then
    head: int  # of the log, then
    listed: msgspec.Raw


class Questions:
    """Answers from the registry and the rooms."""

    def __init__(
        self,
        registry: Registry,
        rooms: dict[str, BrokerRoom],
        cursors: BrokerCursors,
        groups: BrokerGroups,
        schedule: BrokerSchedule,
    ) -> None:
        self._registry = registry
        self._rooms = rooms
        self._cursors = cursors
        self._groups = groups
        self._schedule = schedule
        self._made: dict[Hashable, Made] = {}  # by what was asked
        self._made_bytes = 0

    def none_waits(self) -> None:
        """All are answered."""
        self._made.clear()
        self._made_bytes = 0

    def check(self, session: Session, question: Question) -> None:
        """Raises BadName, WireError for what the session may not ask."""
        if isinstance(question, wire.Heads):
            self.may_read(session, question.patterns)
        elif isinstance(question, wire.Who | wire.Groups) and question.room:
            self.may_read(session, [question.room])

    def work(self, session: Session, waiting: WaitingQuestion, count: int, head: int) -> Work:
        """Make the frame that answers a question, in steps. `count`: how many have been asked by now."""
        question, asked = waiting.question, waiting.asked
        number = question.request
        if isinstance(question, wire.Cursors):
            return wire.encode(wire.CursorsAre(number, self._cursors.of(session.user)))
        if isinstance(question, wire.Scheduled):
            return wire.encode(self._schedule.page(session, question))
        if isinstance(question, wire.Heads):
            names = question.patterns
            made = yield from self._list(("heads", *names), asked, count, head, lambda: self.heads(names))
            return wire.encode(wire.HeadsAre(number, made.head, _as_list(made)))
        if isinstance(question, wire.Groups):
            of = question.room, question.group
            made = yield from self._list(("groups", *of), asked, count, head, lambda: self._groups.listed(*of))
            return wire.encode(wire.GroupsAre(number, _as_list(made)))
        if isinstance(question, wire.Who):
            room, lag = question.room, question.lag
            made = yield from self._list(("who", room, lag), asked, count, head, lambda: self.who(room, lag))
            return wire.encode(wire.Present(number, _as_list(made)))
        own = inbox(session.user)
        own = own if own in self._rooms else ""
        made = yield from self._list(("rooms", own), asked, count, head, lambda: self.rooms(own))
        return wire.encode(wire.RoomsAre(number, _as_list(made)))

    def _list(
        self, key: Hashable, asked: int, count: int, head: int, make: Callable[[], Iterator[AnswerPart]]
    ) -> Generator[None, None, Made]:
        kept = self._made.get(key)
        if kept is not None and kept.began >= asked:
            return kept
        pieces, elements = [], 0
        for part in make():
            pieces.append(wire.encode_elements(part))
            elements += len(part)
            yield
        made = Made(count, head, wire.list_of(elements, pieces))
        self._keep(key, made)
        return made

    def _keep(self, key: Hashable, made: Made) -> None:
        while key in self._made or (self._made and self._made_bytes + len(made.listed) > MADE_BYTES_MAX):
            gone = self._made.pop(key if key in self._made else next(iter(self._made)))
            self._made_bytes -= len(gone.listed)
        if len(made.listed) <= MADE_BYTES_MAX:
            self._made[key] = made
            self._made_bytes += len(made.listed)

    def may_read(self, session: Session, patterns: list[str]) -> None:
        """Raises for names that are not canonical, too many of them, or the inbox of another user."""
        if not 0 < len(patterns) <= wire.ROOMS_PER_MESSAGE_MAX:
            raise WireError("bad-request", f"{len(patterns)} names, limit {wire.ROOMS_PER_MESSAGE_MAX}")
        for pattern in patterns:
            if pattern_name(pattern) != pattern:
                raise BadName("pattern", pattern, "not in its canonical form")
            if pattern.startswith("@") and pattern != inbox(session.user):
                raise WireError("denied", f"only its user reads {pattern}")

    def may_subscribe(self, session: Session, topics: list[bytes]) -> None:
        """Raises for what is no direct topic, and for those of another user's inbox."""
        for topic in topics:
            if not is_direct(topic):
                raise WireError("bad-request", "what comes on that topic is broadcast: subscribe on the SUB")
            self.may_read(session, [room_of(topic.removeprefix(wire.PRESENCE_TOPIC))])

    def listens(self, session: Session, told: list[tuple[int, list[str]]]) -> tuple[list[tuple[int, list[str]]], int]:
        """How far its listeners are, and how many bytes that takes. WHO tells others of the lag: nothing is kept of
        what it may not read.

        The names are not checked. One that is no pattern stands for no room; one that is too long for one is not kept.
        Listeners beyond the bound in bytes are left out whole: of a part the lag would be wrong.
        """
        own = inbox(session.user)
        kept, size = [], 0
        for at, patterns in told[: wire.LISTENERS_TOLD_MAX]:
            names = [name for name in patterns if len(name) <= ROOM_BYTES_MAX and (name[:1] != "@" or name == own)]
            more = sum(len(name.encode()) + NAME_BYTES for name in names)
            if size + more > LISTENS_BYTES_MAX:
                break
            size += more
            kept.append((at, names))
        return kept, size

    def heads(self, patterns: list[str]) -> Iterator[AnswerPart]:
        """Name, last offset and last message's of the rooms that match, in parts."""
        if not any(map(is_pattern, patterns)):
            for names in _steps(list(dict.fromkeys(patterns))):
                yield [_head(self._rooms[name]) for name in names if name in self._rooms]
            return
        wanted = matcher(patterns)
        for rooms in _steps(list(self._rooms.values())):
            yield [_head(room) for room in rooms if wanted(room.name)]

    def rooms(self, own: str) -> Iterator[AnswerPart]:
        """The rooms that have a record or a member, without inboxes but the `own`, in parts."""
        members = self._registry.members
        for rooms in _steps(list(self._rooms.values())):
            yield [
                wire.Room(room.name, room.last, members(room.name))
                for room in rooms
                if (room.has_records or members(room.name)) and (not room.name.startswith("@") or room.name == own)
            ]

    def who(self, room: str, with_lag: bool) -> Iterator[AnswerPart]:
        """The members of a room, or with no room every session, and the users who have gone with when; in parts."""
        lasts: dict[str, int] = {}  # pattern with a wildcard -> the last message of any room that matches
        part: AnswerPart = []
        cost = 0
        for session in self._registry.sessions_in(room):
            if room and room not in session.rooms:
                continue  # it has left meanwhile
            member = member_of(session, room)
            if with_lag:
                for pattern in [each for _, patterns in session.listens for each in patterns if is_pattern(each)]:
                    yield from self._compare(pattern, lasts)
                member = replace(member, lag=self._lag(session, lasts))
            part.append(member)
            names = len(member.rooms) + (sum(len(names) for _, names in session.listens) if with_lag else 0)
            cost += 1 + names // STEP_NAMES
            if cost >= STEP:
                yield part
                part, cost = [], 0
        yield part
        if not room:
            yield from _steps(self._registry.users_gone())

    def _compare(self, pattern: str, lasts: dict[str, int]) -> Iterator[AnswerPart]:
        """Look at each room: a part without an element after each step."""
        if pattern in lasts or len(lasts) >= min(PATTERNS_COMPARED_MAX, max(1, COMPARED_MAX // (len(self._rooms) + 1))):
            return
        wanted, last = matcher([pattern]), 0
        for rooms in _steps(list(self._rooms.values())):
            last = max([last, *(room.messages.last for room in rooms if wanted(room.name))])
            yield []
        lasts[pattern] = last

    def _lag(self, session: Session, lasts: dict[str, int]) -> int:
        if not session.listens:
            return wire.UNKNOWN
        return max(0, *(self._last(patterns, lasts) - offset for offset, patterns in session.listens))

    def _last(self, patterns: list[str], lasts: dict[str, int]) -> int:
        """The last message of any room that one of the patterns stands for: joins and leaves are not waited for."""
        rooms = self._rooms
        return max((rooms[name].messages.last if name in rooms else lasts.get(name, 0) for name in patterns), default=0)


def _head(room: BrokerRoom) -> tuple[str, int, int]:
    return room.name, room.last, room.messages.last


def _steps(elements: list[Element]) -> Iterator[list[Element]]:
    each = iter(elements)
    while part := list(islice(each, STEP)):
        yield part


def _as_list(made: Made) -> Any:
    """Encoded already, it encodes as itself."""
    return made.listed
