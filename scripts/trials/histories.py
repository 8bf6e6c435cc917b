"""From the journals of a run to the history that tests/simulation/checker.py reads, and what only a journal tells.

Rules of this file
1. Everything is read line by line; what is kept is per message only for the writers.
2. A listener with a cursor is checked twice: each life by itself, and all of them as one, where what was above
   the cursor at a kill is left out, for it is handed over again.
3. What was trimmed of a room is taken from those who got it in time: the order is the same for all, trimmed or not.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.simulation.history import (
    ACKED,
    JOIN,
    LEAVE,
    MESSAGE,
    REFUSED,
    UNKNOWN,
    Begun,
    Gap,
    History,
    Listening,
    Log,
    Record,
    Sent,
)
from trials.faults import LISTENERS
from trials.journal import lines
from trials.processes import Actor

Complaint = tuple[str, str, str]  # kind, where, what

Spans = list[tuple[int, int]]  # begin and end, in microseconds since 1970

NO_END = 1 << 62
TROUBLE_MICROS = 2_000_000  # a refused join is asked for again, unless its session ends first
_EVENTS = {"M": MESSAGE, "J": JOIN, "L": LEAVE}


class Run(NamedTuple):
    """What a run left behind."""

    actors: list[Actor]
    caller: Path  # the journal of who calls all listeners in the end
    dump: Path  # the whole log, as the lines of a listener
    members: dict[str, dict[str, str]]  # room -> session -> user, as the broker says in the end
    trimmed: dict[str, int]  # room -> the last offset that retention removed


def history(run: Run) -> History:
    """For the checker."""
    listeners = [actor for actor in run.actors if actor.module in LISTENERS]
    head = max((record.offset for record in _records(run.dump)), default=0)  # the listeners' own leaves came later
    gone = tuple(Gap(room, 1, last) for room, last in run.trimmed.items())
    records = heapq.merge(_records(run.dump), _trimmed(run, listeners), key=lambda record: record.offset)
    log = Log(log_id(run), records, gone, {room: set(members) for room, members in run.members.items()})
    return History(_all_sent(run), [log], [one for actor in listeners for one in _listenings(actor, head)])


# --- writers ------------------------------------------------------------------------------------


def _all_sent(run: Run) -> Iterator[Sent]:
    for path in [run.caller, *(path for actor in run.actors for path in actor.journals)]:
        yield from sent(path)


def sent(path: Path) -> Iterator[Sent]:
    """What one process sent, by number."""
    acks = array("q")  # offset; -1: unknown, -2: refused for certain
    for word, *more in lines(path):
        if word == "P":
            acks.append(-1)
        elif word == "A":
            acks[int(more[0]) - 1] = int(more[1])
        elif word == "F" and more[1] == "1":
            acks[int(more[0]) - 1] = -2
    writer = path.stem
    for word, *more in lines(path):
        if word == "P":
            number, room, volatile, body = more
            ack = acks[int(number) - 1]
            outcome = ACKED if ack >= 0 else REFUSED if ack == -2 else UNKNOWN
            yield Sent(writer, int(number), room, int(body), outcome, max(ack, 0), volatile == "1")


# --- the log ------------------------------------------------------------------------------------


def log_id(run: Run) -> str:
    """Of the one that the broker had in the end."""
    return next(more[1] for word, *more in lines(run.caller) if word == "S")


def _records(path: Path) -> Iterator[Record]:
    return (item for item in items(path) if isinstance(item, Record))


def _trimmed(run: Run, listeners: list[Actor]) -> Iterable[Record]:
    """What retention removed, from those who got it in time."""
    found: dict[int, Record] = {}
    for path in [path for actor in listeners for path in actor.journals] if run.trimmed else []:
        for item in items(path):
            if isinstance(item, Record) and 0 < item.offset <= run.trimmed.get(item.room, 0):
                found.setdefault(item.offset, item)
    for item in _records(run.dump):
        found.pop(item.offset, None)
    return [found[offset] for offset in sorted(found)]


# --- listeners ----------------------------------------------------------------------------------


def items(path: Path, upto: int = NO_END) -> Iterator[Begun | Record | Gap]:
    """What a listener got, in order, but for stored records above `upto`."""
    log = ""
    for word, *more in lines(path):
        if word in _EVENTS:
            room, offset, who, *rest = more
            if int(offset) <= upto:
                message = (int(rest[0]), int(rest[1])) if word == "M" else (0, 0)
                yield Record(room, int(offset), _EVENTS[word], who, *message)
        elif word == "G":
            room, first, last, reason = more
            if reason != "volatile" and int(first) <= upto:  # of volatile ones a trial does not know what was broadcast
                yield Gap("" if room == "*" else room, int(first), min(int(last), upto))
        elif word == "B":
            yield Begun(log, int(more[0]), int(more[1]))
        elif word == "S":
            log = more[1]


def _listenings(actor: Actor, head: int) -> Iterator[Listening]:
    patterns, presence = tuple(actor.task["patterns"]), bool(actor.task["presence"])
    last = actor.journals[-1]
    for path in actor.journals:
        is_whole = path is last and "resume" not in actor.task
        yield Listening(path.stem, patterns, presence, items(path, head), is_whole)
    if "resume" in actor.task:
        yield Listening(f"{actor.name} (all lives)", patterns, presence, _resumed(actor.journals, head), True)


def _resumed(journals: list[Path], head: int) -> Iterator[Begun | Record | Gap]:
    """All lives of one cursor as one: what counts of each is what its successor did not begin with."""
    begun = False
    for number, path in enumerate(journals):
        if _begin(path) is None:
            continue  # it was killed before it was live
        following = next((_begin(later) for later in journals[number + 1 :] if _begin(later) is not None), None)
        upto = head if following is None or _is_clean(path) else following
        for item in items(path, upto):
            if isinstance(item, Begun):
                if begun:
                    continue
                begun = True
            yield item


def _begin(path: Path) -> int | None:
    return next((int(more[0]) for word, *more in lines(path) if word == "B"), None)


def _is_clean(path: Path) -> bool:
    return any(word == "K" and more[1] == "1" for word, *more in lines(path))


# --- what only a journal tells ------------------------------------------------------------------


class Notes(NamedTuple):
    """Complaints (kind, where, what), counts, and how long after each start of the broker something came."""

    complaints: list[Complaint]
    counts: Counter[str]
    recoveries: list[tuple[float, float]]  # each restart: seconds until the first listener had something new, the last


def notes(run: Run, readies: list[int], unwritable: Spans) -> Notes:
    """Look through all journals once more, knowing when the log could not be written."""
    complaints: list[Complaint] = []
    counts: Counter[str] = Counter()
    joined: dict[tuple[str, str], tuple[str, int]] = {}
    unknown: set[tuple[str, int]] = set()
    waits: list[list[int]] = [[] for _ in readies]
    for actor in run.actors:
        for path in actor.journals:
            complaints += _own_complaints(path, joined, unknown, counts)
            if actor.module in LISTENERS:
                for ready, micros in _waits(path, readies).items():
                    waits[ready].append(micros)
    for record in _records(run.dump):
        if record.event == JOIN:
            joined.pop((record.writer, record.room), None)
        elif (record.writer, record.number) in unknown:
            complaints.append(("stored_and_unknown", record.writer, f"{record}: the broker could not say where"))
    for (session, room), (who, when) in joined.items():
        if not any(begin - TROUBLE_MICROS <= when <= end + TROUBLE_MICROS for begin, end in unwritable):
            complaints.append(("join_not_stored", who, f"{session} in {room}, time {when}"))
    complaints += _strangers(run)
    return Notes(complaints, counts, [(min(each) / 1e6, max(each) / 1e6) for each in waits[1:] if each])


def _own_complaints(
    path: Path, joined: dict[tuple[str, str], tuple[str, int]], unknown: set[tuple[str, int]], counts: Counter[str]
) -> Iterator[Complaint]:
    session, live = "", 0
    for word, *more in lines(path):
        if word == "S":
            session = more[0]
            counts["sessions"] += 1
        elif word == "I":
            joined.update({(session, room): (path.stem, int(more[0])) for room in more[1:]})
        elif word == "N":
            live = int(more[1]) if more[0] == "live" else live
            counts["recovered"] += int(more[2])
        elif word == "G":
            counts[f"gaps told: {more[3]}"] += 1
        elif word == "A":
            if 0 < int(more[1]) <= live:
                yield "live_too_late", path.stem, f"live from {live}, and what it sent then got {more[1]}"
        elif word == "F":
            counts[f"refused: {more[2]}"] += 1
            if more[2] == "repeat-unknown":
                unknown.add((path.stem, int(more[0])))
        elif word == "K":
            counts["clean ends of a cursor" if more[1] == "1" else "unclean ends of a cursor"] += 1
        elif word == "X":
            yield "complaint", path.stem, " ".join(more)


def _waits(path: Path, readies: list[int]) -> dict[int, int]:
    """Which start of the broker -> how long after it this listener got a message that was sent since."""
    found: dict[int, int] = {}
    for word, *more in lines(path):
        if word == "T":
            received, taken = map(int, more)
            ready = bisect_right(readies, taken) - 1
            if ready >= 0:
                found.setdefault(ready, received - readies[ready])
    return found


def _strangers(run: Run) -> Iterator[Complaint]:
    """In the end the listeners are members of the rooms that they name, and nobody else is."""
    there: dict[str, set[str]] = {}
    commands = {actor.task["user"]: actor for actor in run.actors if actor.module == "commands"}  # known by user
    for actor in run.actors:
        if actor.module in LISTENERS:
            sessions = [more[0] for word, *more in lines(actor.journals[-1]) if word == "S"]
            session = sessions[-1] if sessions else actor.name  # none was there: it is behind, and that is told
            for pattern in actor.task["patterns"]:
                if "*" not in pattern:
                    there.setdefault(pattern, set()).add(actor.task["user"] if actor.module == "commands" else session)
    for room in there.keys() | run.members.keys():
        members = run.members.get(room, {})
        told = Counter(user if user in commands else session for session, user in members.items())
        for who in sorted(told.keys() | there.get(room, set())):
            if told[who] != (who in there.get(room, set())):
                yield "members_wrong", room, f"{who} is {'not ' if told[who] else ''}there, as it knows itself"
