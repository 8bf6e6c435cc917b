"""The fault maker: lanes that run side by side, each with its own kinds of faults, one at a time.

Rules of this file
1. Whoever is in a lane touches only what is that lane's: the broker, the listeners, the other clients, the
   network, the disk. So faults of different lanes meet, and those of one do not.
2. A fault mends what it broke before it ends.
3. What is drawn depends on the seed and the lane alone.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from trials.places import Disk, Network
from trials.processes import Actor, Broker, Complain, Started

TROUBLES = ("broker-kill", "broker-term", "broker-stop", "disk-full", "relay-stall", "relay-reset")
LISTENERS = ("listeners", "commands")


@dataclass
class Stage:
    """What faults are made on."""

    broker: Broker
    network: Network
    disk: Disk | None
    relay: Started
    actors: list[Actor]
    complain: Complain
    events: list[tuple[int, str, str]] = field(default_factory=list)  # microseconds since 1970, what happened, to whom
    over: threading.Event = field(default_factory=threading.Event)
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, *modules: str) -> list[Actor]:
        """The actors of these kinds that run."""
        return [actor for actor in self.actors if actor.module in modules and actor.process is not None]

    def note(self, kind: str, what: str) -> None:
        """What was done when: it explains who was lost, and who looks into a run."""
        self.events.append((time.time_ns() // 1000, kind, what))


Fault = Callable[[Stage, Random], None]
Event = tuple[int, str, str]


def spans(events: list[Event]) -> Iterator[tuple[int, str, int]]:
    """(begin, kind, end) of faults."""
    for number, (began, word, kind) in enumerate(events):
        if word == "begin":
            ends = (when for when, later, what in events[number:] if (later, what) == ("end", kind))
            yield began, kind, next(ends, 1 << 62)


# --- the broker ---------------------------------------------------------------------------------


def _broker_kill(stage: Stage, draw: Random) -> None:
    stage.broker.kill()
    stage.over.wait(draw.choice((0.0, 0.0, 0.5, 1.5)))
    start_broker(stage)


def _broker_term(stage: Stage, draw: Random) -> None:
    stage.broker.stop()
    stage.over.wait(draw.choice((0.0, 0.5)))
    start_broker(stage)


def _broker_stop(stage: Stage, draw: Random) -> None:
    stage.broker.signal(signal.SIGSTOP)
    stage.over.wait(draw.choice((0.2, 1.0, 3.0, 4.5)))
    stage.broker.signal(signal.SIGCONT)


def start_broker(stage: Stage) -> None:
    """However long it takes: its disk may be full."""
    while not stage.broker.start():
        stage.counts["starts that failed"] += 1
        stage.over.wait(0.2)


# --- clients ------------------------------------------------------------------------------------


def _listener_stop(stage: Stage, draw: Random) -> None:
    listeners = stage.of(*LISTENERS)
    stopped = draw.sample(listeners, min(len(listeners), draw.choice((1, 2, 4))))
    for actor in stopped:
        stage.note("stop", actor.name)
        actor.signal(signal.SIGSTOP)
    stage.over.wait(draw.choice((1.0, 3.0, 6.0)))
    for actor in stopped:
        actor.signal(signal.SIGCONT)


def _listener_kill(stage: Stage, draw: Random) -> None:
    _kill(stage, _one_listener(stage, draw), draw)


def _listener_restart(stage: Stage, draw: Random) -> None:
    actor = _one_listener(stage, draw)
    actor.end()
    actor.ended(0)
    stage.over.wait(draw.choice((0.0, 0.5)))
    actor.start()


def _one_listener(stage: Stage, draw: Random) -> Actor:
    """Most often one with a cursor."""
    listeners = stage.of(*LISTENERS)
    resuming = [actor for actor in listeners if "resume" in actor.task]
    return draw.choice(resuming if draw.random() < 0.6 else listeners)


def _writer_kill(stage: Stage, draw: Random) -> None:
    _kill(stage, draw.choice(stage.of("writers")), draw)


def _joiner_kill(stage: Stage, draw: Random) -> None:
    _kill(stage, draw.choice(stage.of("joiners")), draw)


def _worker_kill(stage: Stage, draw: Random) -> None:
    _kill(stage, draw.choice(stage.of("members", "servers")), draw)


def _kill(stage: Stage, actor: Actor, draw: Random) -> None:
    stage.note("kill", actor.name)
    actor.kill()
    stage.over.wait(draw.choice((0.0, 0.5)))
    actor.start()


# --- network and disk ---------------------------------------------------------------------------


def _relay_stall(stage: Stage, draw: Random) -> None:
    stage.relay.tell(f"stall {draw.choice((0, 1, 2, 2))} {draw.choice(('up', 'down', 'both'))}")
    stage.over.wait(draw.choice((0.3, 1.0, 2.0, 4.0)))
    stage.relay.tell("go")


def _relay_reset(stage: Stage, draw: Random) -> None:
    for _ in range(draw.choice((1, 1, 3))):
        stage.relay.tell(f"reset {draw.choice((0, 1, 2))}")
        stage.over.wait(draw.uniform(0.0, 0.3))


def _link_cut(stage: Stage, draw: Random) -> None:
    stage.network.cut()
    stage.over.wait(draw.choice((0.3, 1.0, 3.0, 5.0)))
    stage.network.mend()


def _disk_full(stage: Stage, draw: Random) -> None:
    assert stage.disk is not None
    stage.disk.fill(draw.choice((0, 0, 1 << 20, 20 << 20)))
    stage.over.wait(draw.choice((1.0, 2.0, 4.0)))
    stage.disk.free()


# --- lanes --------------------------------------------------------------------------------------

LANES: dict[str, tuple[tuple[float, float], dict[str, Fault]]] = {  # lane -> seconds between faults, its kinds
    "broker": (
        (1.0, 5.0),
        {"broker-kill": _broker_kill, "broker-term": _broker_term, "broker-stop": _broker_stop},
    ),
    "listeners": (
        (0.3, 2.0),
        {
            "listener-stop": _listener_stop,
            "listener-kill": _listener_kill,
            "listener-restart": _listener_restart,
        },
    ),
    "clients": (
        (0.5, 3.0),
        {"writer-kill": _writer_kill, "joiner-kill": _joiner_kill, "worker-kill": _worker_kill},
    ),
    "network": (
        (0.5, 3.0),
        {"relay-stall": _relay_stall, "relay-reset": _relay_reset, "link-cut": _link_cut},
    ),
    "disk": ((3.0, 8.0), {"disk-full": _disk_full}),
}
KINDS = tuple(kind for _, kinds in LANES.values() for kind in kinds)


def make(stage: Stage, kinds: list[str], seconds: float, seed: int) -> None:
    """Make faults of these kinds for so long."""
    threads = []
    for lane, (pauses, faults) in LANES.items():
        wanted = {kind: faults[kind] for kind in faults if kind in kinds}
        if wanted:
            arguments = (stage, wanted, pauses, Random(f"{seed} {lane}"))
            threads.append(threading.Thread(target=_run, args=arguments, name=lane))
    for thread in threads:
        thread.start()
    stage.over.wait(seconds)
    stage.over.set()
    for thread in threads:
        thread.join()


def _run(stage: Stage, faults: dict[str, Fault], pauses: tuple[float, float], draw: Random) -> None:
    """One lane: every kind comes before one comes again."""
    left: list[str] = []
    while not stage.over.wait(draw.uniform(*pauses)):
        left = left or draw.sample(list(faults), len(faults))
        kind = left.pop()
        stage.note("begin", kind)
        try:
            faults[kind](stage, draw)
        except Exception:
            stage.complain("fault", kind, traceback.format_exc())
            return
        stage.counts[kind] += 1
        stage.note("end", kind)
