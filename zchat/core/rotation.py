"""Those that are looked at in turn, so many at a time: what is done by time for each of thousands is spread over it.

Tests: tests/core/test_rotation.py.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from math import inf
from typing import Generic, TypeVar

Looked = TypeVar("Looked")


class Rotation(Generic[Looked]):
    """In the order in which they were looked at last."""

    def __init__(self) -> None:
        self._things: OrderedDict[Looked, None] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._things)

    def add(self, thing: Looked) -> None:
        """It is the last."""
        self._things[thing] = None

    def discard(self, thing: Looked) -> None:
        """It is looked at no more."""
        self._things.pop(thing, None)

    def take(self, most: int) -> list[Looked]:
        """Those whose turn it is, each once."""
        taken = []
        for _ in range(min(most, len(self._things))):
            thing, _ = self._things.popitem(last=False)
            self._things[thing] = None
            taken.append(thing)
        return taken


class Checks(Generic[Looked]):
    """Each is due so many seconds after it was added, and so many after each time that it was taken."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: deque[tuple[float, Looked]] = deque()
        self._at: dict[Looked, float] = {}  # of each, the entry that counts

    def add(self, thing: Looked, seconds: float) -> None:
        """It is due for the first time so long after that."""
        self._at[thing] = due = seconds + self._seconds
        self._due.append((due, thing))

    def discard(self, thing: Looked) -> None:
        """It is due no more."""
        self._at.pop(thing, None)

    @property
    def next(self) -> float:
        """When the next one is due."""
        return self._due[0][0] if self._due else inf

    def take(self, seconds: float, most: int) -> list[Looked]:
        """Those that are due, at most so many: the others are next time."""
        taken: list[Looked] = []
        while self._due and self._due[0][0] <= seconds and len(taken) < most:
            due, thing = self._due.popleft()
            if self._at.get(thing) == due:
                taken.append(thing)
                self.add(thing, seconds)
        return taken
