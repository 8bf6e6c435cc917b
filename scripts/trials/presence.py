"""Whether those who were lost had a reason to be: who is there and can speak must not be taken for gone.

A client whose broker is killed and started again resumes within the grace time, and nothing is written. So a leave
`lost` needs a fault shortly before it that keeps its session from speaking: the end of its process, a stop of the
process or of the broker, its link, its relay, or a disk on which nothing could be written. A session that was closed
while the broker was away could not say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trials.faults import Event, spans
from trials.histories import Complaint, Run
from trials.journal import lines
from trials.processes import Actor

SECONDS_BEFORE = 20.0  # heartbeat, reconnecting up to every 5 s, handshake, grace time, on a busy machine
OF_ALL = ("broker-stop", "disk-full")
OF_CLOSED = ("broker-kill", "broker-term")
OF_PLACES = {"relay": ("relay-stall", "relay-reset"), "far": ("link-cut",), "near": ()}


class ActorSession(NamedTuple):
    """One session as its process knows it."""

    actor: Actor
    path: Path
    closed: bool


def without_cause(run: Run, events: list[Event]) -> Iterator[Complaint]:
    """Complaints about sessions that were taken for lost and were not."""
    sessions = {session: known for actor in run.actors for session, known in _sessions(actor)}
    commands = {
        actor.task["user"]: ActorSession(actor, actor.journals[-1], True)
        for actor in run.actors
        if actor.module == "commands"
    }
    faults = list(spans(events))
    for word, *more in lines(run.dump):
        if word != "L" or more[4] != "lost":
            continue
        room, offset, session, micros, user = more[0], more[1], more[2], int(more[3]), more[5]
        known = sessions.get(session) or commands.get(user)
        if known is None:
            yield "unknown_session", room, f"{session} left at {offset}, and no process had it"
        elif not _has_cause(known, micros, faults, events):
            yield "leave_without_cause", room, f"{session} of {known.path.stem} at {offset}, time {micros}"


def _sessions(actor: Actor) -> Iterator[tuple[str, ActorSession]]:
    for path in actor.journals:
        session, closed = "", False
        for word, *more in lines(path):
            if word == "S":
                if session:
                    yield session, ActorSession(actor, path, closed)
                session = more[0]
            closed = word == "O"
        yield session, ActorSession(actor, path, closed)


def _has_cause(known: ActorSession, micros: int, faults: list[tuple[int, str, int]], events: list[Event]) -> bool:
    if not known.closed and known.path != known.actor.journals[-1]:
        return True  # killed, at whatever time: each restart of the broker gives it another grace time
    earliest = micros - int(SECONDS_BEFORE * 1_000_000)
    kinds = (*OF_ALL, *OF_PLACES[known.actor.task["place"]], *(OF_CLOSED if known.closed else ()))
    if any(kind in kinds and began <= micros and ended >= earliest for began, kind, ended in faults):
        return True
    return any(
        earliest - 10_000_000 <= when <= micros and kind in ("stop", "kill") and what == known.actor.name
        for when, kind, what in events
    )
