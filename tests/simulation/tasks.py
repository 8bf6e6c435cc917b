"""Was every job done, every request answered, and all that was scheduled sent? As checker.py, a pure function for each.

    undone         a job of the group that nobody has done
    shared         a job with a member while another one who was alive had it
    untold         a job that came again, and its member was not told that it was handed out once more
    done_again     a job that was handed out after the broker had said that it is done for good
    unordered      a job that was handed out for the first time after a younger one
    miscounted     a job that was handed out more often, as its member was told, than it was, or than it may be
    early_dead     a dead letter of a job that was not handed out as often as it may be
    unanswered     a request without a reply and without an error
    late_answer    a reply or error long after the request's timeout
    wrong_answer   a reply to something else
    strange_error  an error that does not say what became of the request
    asked_twice    a request that two servers did, and that may be done once
    never_sent     a scheduled message that the broker took on, and that is not in the log
    sent_twice     a scheduled message that is in the log twice
    sent_early     a scheduled message that was in the log before its time
    sent_after_all a scheduled message that came into the log after the broker had said that it is taken back
    not_listed     a scheduled message that is to be sent, and that the broker did not name
    listed         a scheduled message that was sent or taken back, and that the broker did name

Rules of this file
1. Each anomaly has a bad history that it is caught in: tests/simulation/test_tasks.py.
2. It is told once for each kind of what it is about, and how often: the first one is where to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

from tests.simulation.checker import Anomaly

CLEAR = frozenset(("no-server", "no-answer", "timed-out", "unreachable", "busy"))
"""What an asker may be told: nobody is there, whoever was asked has gone, or nobody knows within the time."""


MOMENTS_SECONDS = 1.0  # a job may be handed out so long before its member takes it


class Taken(NamedTuple):
    """One job with one member of the group."""

    offset: int
    deliveries: int  # as it was told
    begin: float
    end: float  # when it was done, or its member was killed or taken for gone
    is_done: bool
    is_forgotten: bool = False  # the broker died before it had written down that it handed it out
    member: str = ""  # who; empty: nobody else


class Given(NamedTuple):
    """Jobs of a group that a broker handed to a member."""

    group: str
    first: int
    last: int
    deliveries: int  # as it was told
    seconds: float  # of one clock; what is handed out at once has no order


class Promised(NamedTuple):
    """The broker has said that these are done for good."""

    group: str
    first: int
    last: int


class Started(NamedTuple):
    """A broker, with what the log has of its groups."""

    groups: dict[str, tuple[int, dict[int, int]]]  # name -> all up to here was handed out; pending -> how often


class DeadLetter(NamedTuple):
    """A job that a group gave up."""

    group: str
    offset: int
    deliveries: int


class Asked(NamedTuple):
    """One request as its asker knows it."""

    what: str
    timeout: float
    seconds: float | None  # until the reply or the error; None: neither came
    error: str = ""  # its code; empty: a reply
    is_right: bool = True
    times_done: int = 0  # by servers
    retry: bool = True  # it may be done more than once


class Later(NamedTuple):
    """A message that is to be sent later, as its writer and the log know it; seconds of one clock."""

    what: str
    is_confirmed: bool
    due: float  # not before
    sent: tuple[float, ...]  # when it came into the log, each time
    cancel_asked: float = inf
    cancelled: float = inf  # the broker has said so


class Listed(NamedTuple):
    """What a broker named as to be sent."""

    begin: float  # when it was asked
    what: frozenset[str]
    wanted: frozenset[str]  # what had to be in it


Planned = tuple[str, int]  # a writer and its number


def jobs(offsets: set[int], taken: Iterable[Taken], kills: Sequence[float] = ()) -> list[Anomaly]:
    """Each of these was done, and no two had one at once.

    What a broker handed out in the last moments before it was killed, one of the `kills`, the next start does not know.
    """
    by_offset: dict[int, list[Taken]] = {}
    for each in sorted(taken, key=lambda one: one.begin):
        by_offset.setdefault(each.offset, []).append(each)
    done = {offset for offset, those in by_offset.items() if any(each.is_done for each in those)}
    found = _told("undone", sorted(offsets - done), "job at offset {}".format)
    known = [
        (one, two)
        for those in by_offset.values()
        for one, two in pairwise(those)
        if not one.is_forgotten and not any(one.begin - MOMENTS_SECONDS <= kill <= two.begin for kill in kills)
    ]
    others = [(one, two) for one, two in known if not one.member or one.member != two.member]
    shared = [two.offset for one, two in others if two.begin < one.end]
    untold = [two.offset for one, two in known if two.deliveries <= one.deliveries]
    return (
        found + _told("shared", shared, "job at offset {}".format) + _told("untold", untold, "job at offset {}".format)
    )


def handing_out(events: Iterable[Given | Promised | Started], most: dict[str, int]) -> list[Anomaly]:
    """What brokers handed out one after the other fits to what they had said. `most`: how often each group may."""
    wrong: dict[str, list[str]] = {}
    counts: dict[str, dict[int, int]] = {}  # how often, as the broker that runs knows it
    highest: dict[str, int] = {}  # that was handed out, and before the moment that is looked at
    now: dict[str, tuple[float, int]] = {}  # group -> that moment, and the highest in it
    promised: dict[str, set[int]] = {}
    for event in events:
        if isinstance(event, Started):
            counts = {group: dict(pending) for group, (_, pending) in event.groups.items()}
            highest, now = {group: upto for group, (upto, _) in event.groups.items()}, {}
            continue
        offsets = range(event.first, event.last + 1)
        if isinstance(event, Promised):
            promised.setdefault(event.group, set()).update(offsets)
            continue
        when, latest = now.get(event.group, (0.0, 0))
        if event.seconds > when:
            highest[event.group] = max(highest.get(event.group, 0), latest)
        now[event.group] = event.seconds, max(latest, event.last)
        known, bound = counts.setdefault(event.group, {}), most.get(event.group) or inf
        for offset in offsets:
            what = f"{event.group} {offset}"
            if offset in promised.get(event.group, ()):
                wrong.setdefault("done_again", []).append(what)
            if offset not in known and offset <= highest.get(event.group, 0):
                wrong.setdefault("unordered", []).append(what)
            if not 1 <= event.deliveries <= min(known.get(offset, 0) + 1, bound):
                wrong.setdefault("miscounted", []).append(f"{what}: {event.deliveries}")
            known[offset] = event.deliveries
    return [anomaly for kind, those in wrong.items() for anomaly in _told(kind, those, str)]


def dead_letters(letters: Iterable[DeadLetter], most: dict[str, int]) -> list[Anomaly]:
    """Each job that was given up was handed out as often as it may be."""
    early = [letter for letter in letters if letter.deliveries < most[letter.group]]
    return _told("early_dead", early, str)


def requests(asked: Iterable[Asked], slack: float) -> list[Anomaly]:
    """Each was answered, or failed with a clear code, within its timeout and the `slack` of a busy machine."""
    wrong: dict[str, list[Asked]] = {}
    for each in asked:
        if each.seconds is None:
            wrong.setdefault("unanswered", []).append(each)
            continue
        if each.seconds > each.timeout + slack:
            wrong.setdefault("late_answer", []).append(each)
        if each.error and each.error not in CLEAR:
            wrong.setdefault("strange_error", []).append(each)
        if not each.error and not each.is_right:
            wrong.setdefault("wrong_answer", []).append(each)
        if each.times_done > 1 and not each.retry:
            wrong.setdefault("asked_twice", []).append(each)
    return [anomaly for kind, those in wrong.items() for anomaly in _told(kind, those, str)]


def scheduled(confirmed: Iterable[Planned], logged: Iterable[Planned]) -> list[Anomaly]:
    """What the broker has confirmed is in the log, and nothing is there twice."""
    there = Counter(logged)
    found = _told("never_sent", sorted(set(confirmed) - there.keys()), "{0[0]} {0[1]}".format)
    return found + _told("sent_twice", sorted(one for one, count in there.items() if count > 1), "{0[0]} {0[1]}".format)


def later(messages: Iterable[Later]) -> list[Anomaly]:
    """Each is sent once, if it was confirmed and nobody asked to take it back; not before its time, nor after that."""
    wrong: dict[str, list[Later]] = {}
    for each in messages:
        if each.is_confirmed and each.cancel_asked == inf and not each.sent:
            wrong.setdefault("never_sent", []).append(each)
        if len(each.sent) > 1:
            wrong.setdefault("sent_twice", []).append(each)
        if any(sent < each.due for sent in each.sent):
            wrong.setdefault("sent_early", []).append(each)
        if any(sent > each.cancelled for sent in each.sent):
            wrong.setdefault("sent_after_all", []).append(each)
    return [anomaly for kind, those in wrong.items() for anomaly in _told(kind, those, str)]


def lists(listed: Iterable[Listed], messages: Iterable[Later]) -> list[Anomaly]:
    """What the broker named is what is to be sent."""
    known = {each.what: each for each in messages}
    missing, over = list[str](), list[str]()
    for each in listed:
        missing += sorted(each.wanted - each.what)
        for what in sorted(each.what):
            one = known[what]
            if one.cancelled < each.begin or any(sent < each.begin for sent in one.sent):
                over.append(what)
    return _told("not_listed", missing, str) + _told("listed", over, str)


def _told(kind: str, those: Sequence[object], words: Callable[..., str]) -> list[Anomaly]:
    return [Anomaly(kind, f"{len(those)} times", f"first {words(those[0])}")] if those else []
