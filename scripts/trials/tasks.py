"""From journals to what tests/simulation/tasks.py reads: jobs of a group, requests, and what was sent later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import inf
from pathlib import Path

from tests.simulation import tasks
from tests.simulation.checker import Anomaly
from tests.simulation.history import MESSAGE, Record
from tests.simulation.tasks import Asked, Planned, Taken
from trials.cast import JOBS, LATER
from trials.faults import Event, spans
from trials.histories import Run, items
from trials.journal import lines
from trials.processes import Actor

SLACK_SECONDS = 3.0  # of a request, beyond its timeout, where the cores are taken


def check(run: Run, events: list[Event]) -> tuple[list[Anomaly], Counter[str]]:
    """What is wrong, and how much was looked at."""
    taken = [each for actor in _of(run, "members") for each in _taken(actor, events)]
    asked = [each for actor in _of(run, "askers") for path in actor.journals for each in _asked(path)]
    confirmed = [each for actor in _of(run, "planners") for path in actor.journals for each in _confirmed(path)]
    offsets, logged = set[int](), list[Planned]()
    for item in items(run.dump):
        if isinstance(item, Record) and item.event == MESSAGE:
            if item.room == JOBS:
                offsets.add(item.offset)
            elif item.room == LATER:
                logged.append((item.writer, item.number))
    wrong = tasks.jobs(_of_group(offsets, taken), taken, _forgotten(events))
    wrong += tasks.requests(asked, SLACK_SECONDS) + tasks.scheduled(confirmed, logged)
    counts = Counter({"jobs": len(offsets), "jobs taken": len(taken), "scheduled": len(confirmed)})
    counts["jobs that came again"] = sum(each.deliveries > 1 for each in taken)
    counts["replies"] = sum(not each.error for each in asked)
    counts.update(f"requests: {each.error}" for each in asked if each.error)
    return wrong, counts


def _forgotten(events: list[Event]) -> list[float]:
    """When a broker ended that could not keep what it had just handed out: killed, or while its disk was full."""
    full = [(begin, end) for begin, kind, end in spans(events) if kind == "disk-full"]
    return [
        begin / 1e6
        for begin, kind, _ in spans(events)
        if kind == "broker-kill" or (kind == "broker-term" and any(since <= begin <= until for since, until in full))
    ]


def _of(run: Run, module: str) -> Iterator[Actor]:
    return (actor for actor in run.actors if actor.module == module)


def _of_group(offsets: set[int], taken: list[Taken]) -> set[int]:
    """The last message of all calls the listeners, once the members have gone."""
    last = max((each.offset for each in taken), default=0)
    return {offset for offset in offsets if offset <= last}


def _taken(actor: Actor, events: list[Event]) -> Iterator[Taken]:
    killed = [when / 1e6 for when, kind, what in events if kind == "kill" and what == actor.name]
    for life, path in enumerate(actor.journals):
        end = killed[life] if life < len(killed) else inf
        those: list[Taken] = []
        of: dict[int, int] = {}
        for word, *more in lines(path):
            if word == "H":
                of[int(more[0])] = len(those)
                those.append(Taken(int(more[0]), int(more[1]), int(more[2]) / 1e6, end, False))
            elif word == "D":
                at = of[int(more[0])]
                those[at] = those[at]._replace(end=int(more[1]) / 1e6, is_done=True)
        yield from those


def _asked(path: Path) -> Iterator[Asked]:
    """One that was asked when the asker was ended is not there: it ends after the reply."""
    asked: dict[str, Asked] = {}
    for word, *more in lines(path):
        if word == "Q":
            asked[more[0]] = Asked(f"{path.stem} {more[0]}", float(more[1]), None)
        elif word == "R":
            number, seconds, is_right, error = more
            known = asked[number]
            asked[number] = known._replace(
                seconds=float(seconds), is_right=is_right == "1", error="" if error == "-" else error
            )
    return iter(asked.values())


def _confirmed(path: Path) -> Iterator[Planned]:
    found = list(lines(path))
    taken_back = {more[0] for word, *more in found if word == "U"}
    return ((path.stem, int(more[0])) for word, *more in found if word == "C" and more[0] not in taken_back)
