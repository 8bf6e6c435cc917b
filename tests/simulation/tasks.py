"""Was every job done, every request answered, and all that was scheduled sent? As checker.py, a pure function for each.

    undone         a job of the group that nobody has done
    shared         a job with a member while another one who was alive had it
    untold         a job that came again, and its member was told that it was the first time
    unanswered     a request without a reply and without an error
    late_answer    a reply or error long after the request's timeout
    wrong_answer   a reply to something else
    strange_error  an error that does not say what became of the request
    never_sent     a scheduled message that the broker took on, and that is not in the log
    sent_twice     a scheduled message that is in the log twice

Rules of this file
1. Each anomaly has a bad history that it is caught in: tests/simulation/test_tasks.py.
2. It is told once for each kind of what it is about, and how often: the first one is where to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
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


class Asked(NamedTuple):
    """One request as its asker knows it."""

    what: str
    timeout: float
    seconds: float | None  # until the reply or the error; None: neither came
    error: str = ""  # its code; empty: a reply
    is_right: bool = True


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
        if not any(one.begin - MOMENTS_SECONDS <= kill <= two.begin for kill in kills)
    ]
    shared = [two.offset for one, two in known if two.begin < one.end]
    untold = [two.offset for _, two in known if two.deliveries < 2]
    return (
        found + _told("shared", shared, "job at offset {}".format) + _told("untold", untold, "job at offset {}".format)
    )


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
    return [anomaly for kind, those in wrong.items() for anomaly in _told(kind, those, str)]


def scheduled(confirmed: Iterable[Planned], logged: Iterable[Planned]) -> list[Anomaly]:
    """What the broker has confirmed is in the log, and nothing is there twice."""
    there = Counter(logged)
    found = _told("never_sent", sorted(set(confirmed) - there.keys()), "{0[0]} {0[1]}".format)
    return found + _told("sent_twice", sorted(one for one, count in there.items() if count > 1), "{0[0]} {0[1]}".format)


def _told(kind: str, those: Sequence[object], words: Callable[..., str]) -> list[Anomaly]:
    return [Anomaly(kind, f"{len(those)} times", f"first {words(those[0])}")] if those else []
