"""What clients ask and nothing changes by: who is here, which rooms there are, where each one's log stands.

Rules of this file
1. It reads the registry and the rooms, and writes neither.
2. Answers are made in steps of some 0.1 ms (core/asked.py says whose turn it is). Between two of them things may
   change: an answer tells of each room and session as it was at some moment after the question.
3. What many ask for is made once: a list that was begun after a question came answers that question too.
4. What a session may not see is left out. Those with the same rights are answered with the same list.

Tests: tests/core/test_questions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from zchat import wire
from zchat.core.asked import Question, WaitingQuestion, Work
from zchat.core.cursors import BrokerCursors
from zchat.core.groups import BrokerGroups
from zchat.core.needs import check, check_patterns
from zchat.core.registry import Registry
from zchat.core.rights import PRESENCE, READ, Rights
from zchat.core.rooms import BrokerRoom
from zchat.core.schedule import BrokerSchedule
from zchat.core.session import Session, member_of
from zchat.core.ways import is_direct, verb_of
from zchat.errors import BadName, WireError
from zchat.names import ROOM_BYTES_MAX, inbox, is_pattern, matcher

STEP = 64  # rooms, or sessions in few rooms
STEP_NAMES = 32  # of rooms that a session is in or listens to cost as much as one more session
MADE_BYTES_MAX = 16 << 20  # of lists that are kept for who waits for the same
PATTERNS_COMPARED_MAX = 64  # different patterns with a wildcard in one WHO with lag: each is a look at every room,
COMPARED_MAX = 1 << 20  # of which there are so many in one WHO

AnswerPart = list[Any]  # elements of a list, made in one step
Element = TypeVar("Element")
# Pattern with a wildcard, and which rooms may be read -> the last message of any room that matches
LastMessages = dict[tuple[str, Callable[[str], bool]], int]

LISTENS_BYTES_MAX = 128 << 10  # of the names of a REPORT: a listener of 1,024 rooms with usual names fits
TOPIC_BYTES_MAX = ROOM_BYTES_MAX + 3  # of a room's joins and leaves
_OF_ROOMS = (b"#", wire.PRESENCE_TOPIC + b"#")
NAME_BYTES = 64  # what a name takes beside its letters


class Made(NamedTuple):
    """A list that answers what was asked."""

    began: int  # how many questions had been asked then
    head: int  # of the log, then
    listed: msgspec.Raw


class MaySee(NamedTuple):
    """Of which rooms a session is told, and of which of them who is there."""

    read: Callable[[str], bool]
    presence: Callable[[str], bool]


def _always(room: str) -> bool:
    return True


EVERYTHING = MaySee(_always, _always)


class Questions:
    """Answers from the registry and the rooms."""

    def __init__(
        self,
        registry: Registry,
        rooms: dict[str, BrokerRoom],
        cursors: BrokerCursors,
        groups: BrokerGroups,
        schedule: BrokerSchedule,
        rights: Rights,
        met: dict[str, int],
    ) -> None:
        self._rights = rights
        self._met = met  # limit -> how often
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

    def check(self, question: Question) -> None:
        """Raises BadName, WireError for what cannot be asked."""
        if isinstance(question, wire.Heads):
            check_patterns(question.patterns)
        elif isinstance(question, wire.Who | wire.Groups) and question.room:
            check_patterns([question.room])

    def work(self, session: Session, waiting: WaitingQuestion, count: int, head: int) -> Work:
        """Make the frame that answers a question, in steps. `count`: how many have been asked by now."""
        question, asked = waiting.question, waiting.asked
        number = question.request
        try:
            check(self._rights, session.user, question)  # the rules may be others by now
        except (BadName, WireError) as error:
            return wire.encode(wire.Error("request", number, error.code, str(error)))
        may_see = self._may_see(session)
        if isinstance(question, wire.Cursors):
            return wire.encode(wire.CursorsAre(number, self._cursors.of(session.user)))
        if isinstance(question, wire.Scheduled):
            return wire.encode(self._schedule.page(session, question))
        if isinstance(question, wire.Heads):
            names = question.patterns
            made = yield from self._list(
                ("heads", may_see, *names), asked, count, head, lambda: self.heads(names, may_see)
            )
            return wire.encode(wire.HeadsAre(number, made.head, _as_list(made)))
        if isinstance(question, wire.Groups):
            of = question.room, question.group
            key = "groups", may_see, *of
            made = yield from self._list(key, asked, count, head, lambda: self._groups.listed(*of, may_see.read))
            return wire.encode(wire.GroupsAre(number, _as_list(made)))
        if isinstance(question, wire.Who):
            room, lag = question.room, question.lag
            made = yield from self._list(
                ("who", may_see, room, lag), asked, count, head, lambda: self.who(room, lag, may_see)
            )
            return wire.encode(wire.Present(number, _as_list(made), dict(self._met)))
        own = inbox(session.user)
        own = own if own in self._rooms else ""
        made = yield from self._list(("rooms", may_see, own), asked, count, head, lambda: self.rooms(own, may_see))
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

    def _may_see(self, session: Session) -> MaySee:
        user, rights = session.user, self._rights
        return MaySee(rights.may_of(user, READ), rights.may_of(user, PRESENCE)) if rights.has_rules else EVERYTHING

    def may_subscribe(self, session: Session, topics: list[bytes]) -> None:
        """Raises for what is never direct, and for another user's inbox. What else it may not read does not come."""
        for topic in topics:
            if is_direct(topic):
                verb, room = verb_of(topic)
                check_patterns([room])
                self._rights.check(session.user, verb, room)
            elif not self._rights.may_change:
                raise WireError("bad-request", "what comes on that topic is broadcast: subscribe on the SUB")
            elif len(topic) > TOPIC_BYTES_MAX or not topic.startswith(_OF_ROOMS):
                raise WireError("bad-request", "that is the topic of no room or pattern")
            elif topic.endswith(b"\0"):
                verb_of(topic)

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

    def heads(self, patterns: list[str], may_see: MaySee) -> Iterator[AnswerPart]:
        """Name, last offset and last message's of the rooms that match, in parts."""
        heads = _head if may_see is EVERYTHING else partial(_seen_head, may_see.presence)
        if not any(map(is_pattern, patterns)):
            for names in _steps(list(dict.fromkeys(patterns))):
                yield [heads(self._rooms[name]) for name in names if name in self._rooms]
            return
        wanted, may_read = matcher(patterns), may_see.read
        for rooms in _steps(list(self._rooms.values())):
            yield [heads(room) for room in rooms if wanted(room.name) and may_read(room.name)]

    def rooms(self, own: str, may_see: MaySee) -> Iterator[AnswerPart]:
        """The rooms that have a record or a member, without inboxes but the `own`, in parts."""
        members = self._registry.members
        for rooms in _steps(list(self._rooms.values())):
            part: AnswerPart = []
            for room in rooms:
                if (room.name.startswith("@") and room.name != own) or not may_see.read(room.name):
                    continue
                shows_who = may_see.presence(room.name)
                last, here = (room.last, members(room.name)) if shows_who else (room.messages.last, 0)
                if last > room.emptied or here:
                    part.append(wire.Room(room.name, last, here))
            yield part

    def who(self, room: str, with_lag: bool, may_see: MaySee) -> Iterator[AnswerPart]:
        """The members of a room, or with no room every session, and the users who have gone with when; in parts."""
        lasts: LastMessages = {}
        part: AnswerPart = []
        cost = 0
        for session in self._registry.sessions_in(room):
            if room and room not in session.rooms:
                continue  # it has left meanwhile
            member = member_of(session, room)
            if may_see is not EVERYTHING:
                member = replace(member, rooms=[name for name in member.rooms if may_see.presence(name)])
            if with_lag:
                may_read = self._may_see(session).read
                for pattern in [each for _, patterns in session.listens for each in patterns if is_pattern(each)]:
                    yield from self._compare(pattern, may_read, lasts)
                member = replace(member, lag=self._lag(session, may_read, lasts))
            part.append(member)
            names = len(member.rooms) + (sum(len(names) for _, names in session.listens) if with_lag else 0)
            cost += 1 + names // STEP_NAMES
            if cost >= STEP:
                yield part
                part, cost = [], 0
        yield part
        if not room:
            yield from _steps(self._registry.users_gone())

    def _compare(self, pattern: str, may_read: Callable[[str], bool], lasts: LastMessages) -> Iterator[AnswerPart]:
        """Look at each room: a part without an element after each step."""
        key, most = (pattern, may_read), min(PATTERNS_COMPARED_MAX, max(1, COMPARED_MAX // (len(self._rooms) + 1)))
        if key in lasts or len(lasts) >= most:
            return
        wanted, last = matcher([pattern]), 0
        for rooms in _steps(list(self._rooms.values())):
            last = max([last, *(room.messages.last for room in rooms if wanted(room.name) and may_read(room.name))])
            yield []
        lasts[key] = last

    def _lag(self, session: Session, may_read: Callable[[str], bool], lasts: LastMessages) -> int:
        if not session.listens:
            return wire.UNKNOWN
        return max(0, *(self._last(patterns, may_read, lasts) - offset for offset, patterns in session.listens))

    def _last(self, patterns: list[str], may_read: Callable[[str], bool], lasts: LastMessages) -> int:
        """The last message of any room that one of the patterns stands for: joins and leaves are not waited for."""
        rooms, found = self._rooms, 0
        for name in patterns:
            if name not in rooms:
                found = max(found, lasts.get((name, may_read), 0))
            elif may_read(name):
                found = max(found, rooms[name].messages.last)
        return found


def _head(room: BrokerRoom) -> tuple[str, int, int]:
    return room.name, room.last, room.messages.last


def _seen_head(presence: Callable[[str], bool], room: BrokerRoom) -> tuple[str, int, int]:
    """For who may not see who is there, joins and leaves are no records."""
    return room.name, room.last if presence(room.name) else room.messages.last, room.messages.last


def _steps(elements: list[Element]) -> Iterator[list[Element]]:
    each = iter(elements)
    while part := list(islice(each, STEP)):
        yield part


def _as_list(made: Made) -> Any:
    """Encoded already, it encodes as itself."""
    return made.listed
