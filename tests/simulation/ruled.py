"""The simulation with rules that change: one user may not read some rooms, and others go now one way, now the other.

    rules drawn anew, now and then ─► some rooms over the ROUTER, some over the XPUB, and later others

Rules of this file
1. What a user may read stays as it is for a whole run, so what he is owed is known: all of the other rooms, in order,
   whatever goes wrong, and none of these. What changes is which way a room goes.
2. Nothing of a room that not everybody may read is ever broadcast, and nothing is said to who may not read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from tests.simulation.brokers import SimulatedBroker, WatchedCore
from tests.simulation.programs import Program
from tests.simulation.simulation import ROOMS, USERS, Outcome, Simulation, drawn_faults, drawn_settings
from zchat.address import Published
from zchat.core import Instant
from zchat.core.log import LogFacts
from zchat.core.recipients import Addressed
from zchat.core.rights import READ, Rights, RoomRule, Rules
from zchat.core.ways import verb_of
from zchat.names import inbox, is_pattern, matches
from zchat.settings import Settings
from zchat.wire import PRIVATE_TOPIC

OUTSIDER = "eve"
DENIED = ("b", "b.x.y")  # rooms that she may not read
ALWAYS = RoomRule("b.**", {READ: tuple(user for user in USERS if user != OUTSIDER)})
RULES_WEIGHT = 0.5


def drawn_rules(random: Random) -> Rules:
    """She may not read those; of the others some are broadcast, and some said to all users one by one."""
    rooms = [room for room in (*ROOMS, "a.**", "*") if room not in DENIED and random.random() < 0.4]
    return Rules(True, (ALWAYS, ALWAYS._replace(pattern="b"), *(RoomRule(room, {READ: USERS}) for room in rooms)))


class RuledCore(WatchedCore):
    """The core; what goes where it may not is caught."""

    def __init__(
        self, settings: Settings, facts: LogFacts, session_ids: Iterator[str], published: Published, now: Instant
    ) -> None:
        super().__init__(settings, facts, session_ids, published, now, rights=Rights(Rules(is_open=False)))
        self.take_direct = self._watched(self.take_direct)

    def take_broadcasts(self, now: Instant) -> list[tuple[bytes, bytes]]:
        """Look at the topics."""
        broadcasts = super().take_broadcasts(now)
        for topic, _ in broadcasts:
            if not topic.startswith(PRIVATE_TOPIC):
                assert self.rights.is_public(*verb_of(topic)), f"{topic!r} was broadcast"
        return broadcasts

    def _watched(self, take: Callable[[], list[Addressed]]) -> Callable[[], list[Addressed]]:
        def watched() -> list[Addressed]:
            found = take()
            for addressed in found:
                room = next(each for each in (*ROOMS, *map(inbox, USERS)) if f"{each}\0".encode() in addressed.direct)
                for endpoint in addressed.endpoints:
                    session = self.registry.of(endpoint)
                    is_hers = session is not None and session.user == OUTSIDER
                    assert not (is_hers and room in DENIED), f"{room} was said to {OUTSIDER}"
                self.world.counts["said one by one"] += len(addressed.endpoints)
            return found

        return watched


class RuledBroker(SimulatedBroker):
    """One broker process, with rules."""

    core_type = RuledCore


class RuledSimulation(Simulation):
    """The world, with rules."""

    options = "--rules "

    def __init__(self, seed: int, broker_type: type[SimulatedBroker] = RuledBroker, **types: Any) -> None:
        self.rules = drawn_rules(Random(seed))
        super().__init__(seed, drawn_faults(seed), drawn_settings(seed), broker_type=broker_type, **types)

    def step_rules(self) -> None:
        """Other rules hold."""
        self.rules = drawn_rules(self.world.random)
        if self.broker.is_alive:
            self.world.counts["rules changed"] += 1
            self.broker.core.rules_changed(self.rules, self.world.now)
            self.broker.wake()

    def patterns_of(self, program: Program, patterns: Sequence[str]) -> list[str]:
        """By its name she listens to nothing that she may not read: that is refused."""
        named = super().patterns_of(program, patterns)
        return [name for name in named if program.user != OUTSIDER or name not in DENIED] or ["a"]

    def rooms_of(self, user: str) -> Sequence[str]:
        """All, but for her."""
        return [room for room in ROOMS if user != OUTSIDER or room not in DENIED]

    def heard_by(self, program: Program, patterns: Sequence[str]) -> tuple[str, ...]:
        """What a pattern stands for, as far as the user may read it."""
        rooms = self.rooms_of(program.user)
        found = [[each for each in rooms if matches(name, each)] if is_pattern(name) else [name] for name in patterns]
        return tuple(dict.fromkeys(name for names in found for name in names))

    def _start_broker(self) -> SimulatedBroker:
        broker = super()._start_broker()
        broker.core.rules_changed(self.rules, self.world.now)
        return broker

    def _weights(self) -> tuple[list[str], list[float]]:
        kinds, weights = super()._weights()
        return [*kinds, "rules"], [*weights, RULES_WEIGHT]


def simulate_ruled(seed: int, steps: int = 300, broker_type: type[SimulatedBroker] = RuledBroker) -> Outcome:
    """One whole run."""
    simulation = RuledSimulation(seed, broker_type)
    simulation.run(steps)
    return simulation.finish()
