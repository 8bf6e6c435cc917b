"""Was every promise kept? A pure function over a history; each way to break one has a name.

    lost                listeners that had to have a record did not get it, and were told of no gap
    doubled             a message is stored twice, or was handed to a listener twice
    reordered           a log or a listener has records of a room in another order
    unsent              a message that nobody sent
    refused_appears     a publish that was refused for certain is there all the same
    join_without_leave  a join of who is in already, or of who has gone without a leave
    leave_without_join  a leave of who is not in
    members_wrong       who is in a room, and the room's log says otherwise
    acked_not_stored    an acked message is not in the log, or not at the offset that the ack told
    not_stored          a listener got a record that the log does not have
    body_changed        another body, or another room, than the sender's
    false_gap           a gap that was told of and is none
    late_gap            a gap that was told after younger records of its room
    unasked             a listener got what it had not asked for
    miscounted          a listener lost volatile records, and was told of another number

Rules of this file
1. Three answers: valid, invalid, and unknown for a history in which nothing was delivered.
2. One pass over each iterable, arrays per room and writer: millions of records are a matter of a minute.
3. Each anomaly has a bad history that it is caught in: tests/simulation/test_checker.py.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.simulation.history import (
    ACKED,
    JOIN,
    MESSAGE,
    REFUSED,
    Begun,
    Continued,
    Gap,
    History,
    Listening,
    Log,
    Lost,
    Reached,
    Record,
    Volatile,
)
from zchat.names import matcher

VALID, INVALID, UNKNOWN = "valid", "invalid", "unknown"

TOLD_MAX = 20  # anomalies of each kind that are told in words; all are counted

_NO_END = (1 << 53) - 1
_NUMBER_BITS = 40  # of an identity: writer << 40 | number
_UNKNOWN_OUTCOME, _ACKED, _REFUSED = 0, 1, 2


class Anomaly(NamedTuple):
    """One broken promise."""

    kind: str
    where: str
    what: str


class Verdict(NamedTuple):
    """The answer, what is wrong, and how much was looked at."""

    answer: str
    anomalies: list[Anomaly]  # up to TOLD_MAX of each kind
    counts: dict[str, int]

    def __str__(self) -> str:
        """The answer, the counts, and a line for each anomaly."""
        counts = ", ".join(f"{name} {number}" for name, number in sorted(self.counts.items()))
        return "\n".join([f"{self.answer}: {counts}", *(f"  {a.kind}: {a.where}: {a.what}" for a in self.anomalies)])


def check(history: History) -> Verdict:
    """Read the whole history."""
    checker = _Checker()
    checker.sent(history)
    for log in history.logs:
        checker.log(log)
    checker.acked()
    checker.volatile = history.volatile
    for listening in history.listeners:
        _Listener(checker, listening).check()
    return checker.verdict()


class _Writer:
    """What one writer sent, by number - 1."""

    def __init__(self) -> None:
        self.rooms = array("i")
        self.bodies = array("q")
        self.outcomes = bytearray()
        self.acks = array("q")  # offset of an acked one that is stored; 0 for all others
        self.right = bytearray()  # whether a log has it where the ack says
        self.stored = array("q")  # offset in the log that is being read
        self.last: dict[int, int] = {}  # room -> its last number in the log that is being read


class _Room:
    """What one room of a log holds."""

    def __init__(self) -> None:
        self.offsets = array("q")
        self.identities = array("q")
        self.gone: list[tuple[int, int]] = []
        self.present: set[str] = set()

    @property
    def has_begin(self) -> bool:
        """Whether its first records are known."""
        return not self.gone or (len(self.offsets) > 0 and self.offsets[0] <= min(last for _, last in self.gone))


class _Checker:
    """The tables, and what is wrong."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.told: list[Anomaly] = []
        self.wrong: Counter[str] = Counter()
        self.writers: dict[str, _Writer] = {}
        self.numbers: dict[str, int] = {}  # writer -> its number
        self.rooms: dict[str, int] = {}
        self.sessions: dict[str, int] = {}
        self.logs: dict[str, dict[str, _Room]] = {}
        self.volatile: Mapping[str, Sequence[Volatile]] = {}

    def report(self, kind: str, where: str, what: str) -> None:
        """One anomaly."""
        self.wrong[kind] += 1
        if self.wrong[kind] <= TOLD_MAX:
            self.told.append(Anomaly(kind, where, what))

    def verdict(self) -> Verdict:
        """After everything was read."""
        counts = {**self.counts, **self.wrong}
        if self.told:
            return Verdict(INVALID, self.told, counts)
        looked_at = self.counts["stored"] + self.counts["volatile"] and self.counts["delivered"]
        return Verdict(VALID if looked_at else UNKNOWN, [], counts)

    # --- what was sent ----------------------------------------------------------------------

    def sent(self, history: History) -> None:
        """The tables of what was sent."""
        for sent in history.sent:
            writer = self.writers.get(sent.writer)
            if writer is None:
                writer = self.writers[sent.writer] = _Writer()
                self.numbers[sent.writer] = len(self.numbers) + 1
            if sent.number != len(writer.bodies) + 1:
                raise ValueError(f"{sent.writer} sent {sent.number} after {len(writer.bodies)}")
            writer.rooms.append(self.rooms.setdefault(sent.room, len(self.rooms)))
            writer.bodies.append(sent.body)
            acked = sent.outcome == ACKED
            writer.outcomes.append(_ACKED if acked else _REFUSED if sent.outcome == REFUSED else _UNKNOWN_OUTCOME)
            writer.acks.append(sent.offset if acked and not sent.volatile else 0)
            writer.right.append(0)
            self.counts[sent.outcome] += 1
            self.counts["volatile"] += sent.volatile

    def acked(self) -> None:
        """After the logs: every ack told the truth."""
        names = {index: room for room, index in self.rooms.items()}
        for name, writer in self.writers.items():
            for at, offset in enumerate(writer.acks):
                if offset and not writer.right[at]:
                    room = names[writer.rooms[at]]
                    if not any(room in rooms and _covers(rooms[room].gone, offset) for rooms in self.logs.values()):
                        self.report("acked_not_stored", f"{name} {at + 1} in {room}", f"acked at {offset}")

    def identity(self, record: Record, where: str) -> int:
        """Who wrote it, as one number; 0 when nobody did, which is reported."""
        if record.event != MESSAGE:
            session = self.sessions.setdefault(record.writer, len(self.sessions) + 1)
            return -2 * session - (record.event == JOIN)
        writer = self.writers.get(record.writer)
        at = record.number - 1
        if writer is None or not 0 <= at < len(writer.bodies):
            self.report("unsent", where, f"{record}")
            return 0
        if writer.bodies[at] != record.body or writer.rooms[at] != self.rooms.get(record.room):
            self.report("body_changed", where, f"{record}")
        if writer.outcomes[at] == _REFUSED:
            self.report("refused_appears", where, f"{record}")
        return self.numbers[record.writer] << _NUMBER_BITS | record.number

    # --- what is stored ---------------------------------------------------------------------

    def log(self, log: Log) -> None:
        """One log: its records, and who they add up to."""
        rooms = self.logs[log.name] = {}
        for gap in log.gone:
            rooms.setdefault(gap.room, _Room()).gone.append((gap.first, gap.last))
        for writer in self.writers.values():
            writer.stored = array("q", bytes(8 * len(writer.bodies)))
            writer.last.clear()
        where = f"log {log.name}"
        last = 0
        for record in log.records:
            self.counts["stored"] += 1
            if record.offset <= last:
                self.report("reordered", where, f"{record} after offset {last}")
            last = max(last, record.offset)
            room = rooms.get(record.room)
            if room is None:
                room = rooms[record.room] = _Room()
            identity = self.identity(record, where)
            room.offsets.append(record.offset)
            room.identities.append(identity)
            if identity > 0:
                self._message(record, where)
            elif identity < 0:
                self._presence(record, room, where)
        if log.members is not None:
            self._members(log, rooms, log.members)

    def _message(self, record: Record, where: str) -> None:
        writer = self.writers[record.writer]
        at = record.number - 1
        if writer.stored[at]:
            self.report("doubled", where, f"{record}, stored at {writer.stored[at]} already")
            return
        writer.stored[at] = record.offset
        if writer.acks[at] == record.offset:
            writer.right[at] = 1
        room = writer.rooms[at]
        if writer.last.get(room, 0) > record.number:
            self.report("reordered", where, f"{record} after number {writer.last[room]}")
        writer.last[room] = max(record.number, writer.last.get(room, 0))

    def _presence(self, record: Record, room: _Room, where: str) -> None:
        session = record.writer
        if record.event == JOIN:
            if session in room.present:
                self.report("join_without_leave", where, f"{record} while it is in")
            room.present.add(session)
            return
        if session not in room.present and room.has_begin:
            self.report("leave_without_join", where, f"{record}")
        room.present.discard(session)

    def _members(self, log: Log, rooms: dict[str, _Room], members: dict[str, set[str]]) -> None:
        for name in rooms.keys() | members.keys():
            written = rooms[name].present if name in rooms else set()
            there = members.get(name, set())
            for session in sorted(written - there):
                self.report("join_without_leave", f"log {log.name}", f"{session} has gone from {name}")
            complete = name not in log.crowded and (name not in rooms or rooms[name].has_begin)
            for session in sorted(there - written) if complete else ():
                self.report("members_wrong", f"log {log.name}", f"{session} is in {name}, its log has no join of it")


class _Place:
    """How far a listener has got in one room."""

    def __init__(self, at: int) -> None:
        self.at = at  # index of the next record
        self.first = at  # index of the first that it got, or is owed
        self.begun = False
        self.skipped: dict[int, None] = {}  # indexes
        self.gaps: list[tuple[int, int]] = []


class _Volatile:
    """How far a listener has heard the volatile records of each room, and how many it was told that it lost."""

    def __init__(self, checker: _Checker) -> None:
        self._checker = checker
        self._heard: dict[str, set[int]] = {}  # where the next one may be: a repeat may be broadcast twice
        self._lost: Counter[str] = Counter()  # since the last one

    def lost(self, lost: Lost) -> None:
        """It was told so."""
        self._checker.counts["lost volatile ones"] += lost.records
        self._lost[lost.room] += lost.records

    def heard(self, record: Record, where: str) -> None:
        """What lies between two that it heard was lost: all that this start of the broker broadcast, at least."""
        room = record.room
        broadcast, told = self._checker.volatile.get(room), self._lost.pop(room, 0)
        if broadcast is None:
            return  # nobody knows
        wanted = (record.writer, record.number)
        places = {at for at, each in enumerate(broadcast) if (each.writer, each.number) == wanted}
        before = self._heard.get(room)
        follows = {at for at in places if before is None or any(self._fits(room, be, at, told) for be in before)}
        if not follows:
            self._checker.report("miscounted", where, f"{record}, after it was told that {told} are lost")
        self._heard[room] = {at + 1 for at in follows or places}

    def _fits(self, room: str, expected: int, at: int, told: int) -> bool:
        between = self._checker.volatile[room][expected : at + 1]
        return bool(between) and sum(each.broker == between[-1].broker for each in between) - 1 <= told < len(between)


class _Listener:
    """One listener against the logs."""

    def __init__(self, checker: _Checker, listening: Listening) -> None:
        self._checker = checker
        self._listening = listening
        self._wants = matcher(listening.patterns)
        self._begun = Begun("", 0)
        self._rooms: dict[str, _Room] = {}
        self._places: dict[str, _Place] = {}
        self._volatile = _Volatile(checker)
        self._where = f"listener {listening.name}"

    def check(self) -> None:
        """Read what it got."""
        for item in self._listening.items:
            if isinstance(item, Record):
                self._record(item)
            elif isinstance(item, Gap):
                self._gap(item)
            elif isinstance(item, Lost):
                self._volatile.lost(item)
            elif isinstance(item, Reached):
                self._owes(item.offset, "was marked as reached")
            elif isinstance(item, Continued):
                self._continue(item)
            else:
                self._owes(0, "never came")
                self._begin(item)
        self._owes(_NO_END if self._listening.complete else 0, "never came")

    def _begin(self, begun: Begun) -> None:
        self._begun = begun
        self._rooms = self._checker.logs.get(begun.log, {})
        self._places = {}

    def _continue(self, continued: Continued) -> None:
        """The same records have other indexes: a copy may lack old ones that were trimmed meanwhile."""
        before, self._rooms = self._rooms, self._checker.logs.get(continued.log, {})
        nothing = array("q")
        for name, place in self._places.items():
            old = before[name].offsets if name in before else nothing
            new = self._rooms[name].offsets if name in self._rooms else nothing
            place.first = bisect_left(new, old[place.first]) if place.first < len(old) else len(new)
            place.at = bisect_right(new, old[place.at - 1]) if place.at else 0
            skipped = [(bisect_left(new, old[at]), old[at]) for at in place.skipped]
            place.skipped = {at: None for at, offset in skipped if at < len(new) and new[at] == offset}

    def _place(self, name: str) -> _Place:
        place = self._places.get(name)
        if place is None:
            offsets = self._rooms[name].offsets if name in self._rooms else array("q")
            place = self._places[name] = _Place(bisect_right(offsets, self._begun.after))
        return place

    def _record(self, record: Record) -> None:
        checker = self._checker
        checker.counts["delivered"] += 1
        identity = checker.identity(record, self._where)
        wanted = self._wants(record.room) and (self._listening.presence or record.event == MESSAGE)
        if not wanted or 0 < record.offset <= self._begun.not_above:
            checker.report("unasked", self._where, f"{record}")
            return
        if not record.offset and identity:
            self._volatile.heard(record, self._where)
        if not record.offset or not identity:
            return
        room = self._rooms.get(record.room)
        at = bisect_left(room.offsets, record.offset) if room else 0
        if room is None or at == len(room.offsets) or room.offsets[at] != record.offset:
            checker.report("not_stored", self._where, f"{record}")
            return
        if room.identities[at] != identity:
            checker.report("body_changed", self._where, f"{record}: the log has another record there")
        self._delivered(self._place(record.room), at, record)

    def _delivered(self, place: _Place, at: int, record: Record) -> None:
        if not place.begun:
            place.begun = True
            place.at = place.first = min(place.at, at)
        if at >= place.at:
            place.skipped.update(dict.fromkeys(range(place.at, at)))
            place.at = at + 1
        elif at in place.skipped:
            del place.skipped[at]
            self._checker.report("reordered", self._where, f"{record} came late")
        elif at < place.first:
            place.first = at
            self._checker.report("reordered", self._where, f"{record} came after younger ones")
        else:
            self._checker.report("doubled", self._where, f"{record}")

    def _gap(self, gap: Gap) -> None:
        self._checker.counts["gaps"] += 1
        for name in [gap.room] if gap.room else list(self._rooms):
            room = self._rooms.get(name)
            if not self._wants(name) or room is None:
                continue
            place = self._place(name)
            place.gaps.append((gap.first, gap.last))
            if place.begun and room.offsets[place.at - 1] > gap.last:
                self._checker.report("late_gap", self._where, f"{gap} after {name} {room.offsets[place.at - 1]}")
            for at in range(bisect_left(room.offsets, gap.first), bisect_right(room.offsets, gap.last)):
                if not _covers(room.gone, room.offsets[at]):
                    self._checker.report("false_gap", self._where, f"{gap}, and {room.offsets[at]} is there")
                    break

    def _owes(self, upto: int, why: str) -> None:
        """Report what it has not got and was owed: what it got younger ones than, and all up to an offset."""
        for name, room in self._rooms.items():
            if not self._wants(name):
                continue
            place = self._place(name)
            end = bisect_right(room.offsets, upto)
            for at in [*place.skipped, *range(place.at, end)]:
                offset = room.offsets[at]
                hidden = room.identities[at] < 0 and not self._listening.presence
                if not hidden and not _covers(place.gaps, offset):
                    self._checker.report("lost", self._where, f"{name} {offset} {why}")


def _covers(ranges: list[tuple[int, int]], offset: int) -> bool:
    return any(first <= offset <= last for first, last in ranges)
