"""A process of the simulation: it has its turn some time after something arrived.

Rules of this file: a turn is a poll, which says what can be read, and then an act on that. Both take no time,
but in between some may pass, as between zmq_poll and the moment when Python has its lock again: what arrives
in that time is read by this turn only where the poll said that there is something.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from tests.simulation.network import World

Polled = TypeVar("Polled")


class Process(Generic[Polled]):
    """Turns, until it dies."""

    def __init__(self, world: World) -> None:
        self.is_alive = True
        self.stalled_until = 0.0  # it stands still
        self._world = world
        self._wake_at = 0.0
        self._is_held = False  # between poll and act

    def wake(self) -> None:
        """Something arrived."""
        self._turn_at(self._world.seconds + self._world.turn_delay())

    def poll(self) -> Polled:
        """What can be read."""
        raise NotImplementedError

    def act(self, polled: Polled) -> float | None:
        """The turn. Returns when the next one is to be at the latest; None: as soon as may be."""
        raise NotImplementedError

    def _turn_at(self, seconds: float) -> None:
        seconds = max(seconds, self.stalled_until)
        if self._world.seconds < self._wake_at <= seconds:
            return  # it will have its turn earlier
        self._wake_at = seconds
        self._world.after(seconds - self._world.seconds, lambda: self._turn(seconds))

    def _turn(self, planned: float) -> None:
        if not self.is_alive or self._is_held or planned != self._wake_at:
            return
        if self._world.seconds < self.stalled_until:
            self._wake_at = 0.0
            self._turn_at(self.stalled_until)
            return
        polled = self.poll()
        if self._world.chance(self._world.faults.turn_held):
            self._is_held = True
            self._world.after(self._world.random.uniform(0.0, 0.6), lambda: self._act(polled))
        else:
            self._act(polled)

    def _act(self, polled: Polled) -> None:
        self._is_held = False
        if not self.is_alive:
            return
        self._wake_at = 0.0
        until = self.act(polled)
        if not self.is_alive:
            return
        if until is None or self.poll():
            self.wake()
        else:
            self._turn_at(max(until, self._world.seconds) + 0.001)
