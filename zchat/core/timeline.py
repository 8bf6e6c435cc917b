"""What a client knows of its broker's log: which one it is, which starts it had, and how far it was seen to go.

Rules of this file
1. A log that has another id is another log. One with the same id may be an older copy: a folder that was restored,
   or what a power cut has left.
2. Offsets that were seen count only while the log that they are of goes on as it was known.

Each start of a broker has a random id, and its head then. WELCOME tells them all. Two lists agree up to the last
start that both have; behind it each goes its own way, from the head of the start that follows there.

    seen up to 201   [A 0]  ->  [A 0, C 201]           goes on: all that was seen came before C
    seen up to 201   [A 0]  ->  [A 0, B 150, C 260]    went back: what was seen above 150 is another record now

Spec: docs/protocol.md, "Another log". Tests: tests/core/test_timeline.py.
"""

from __future__ import annotations

from typing import NamedTuple

from zchat import wire


class Break(NamedTuple):
    """The log is not what it was."""

    upto: int  # the highest offset that still means the same; 0: none does, it may be another log
    last: int  # the highest that was seen; 0: it is another log


class Timeline:
    """The log of one client's broker."""

    def __init__(self) -> None:
        self.log_id = ""
        self.highest = 0  # offset of it that is known to have been given
        self._starts: list[tuple[str, int]] = []

    @property
    def start(self) -> str:
        """The broker's present one; empty where it tells none."""
        return self._starts[-1][0] if self._starts else ""

    def saw(self, offset: int) -> None:
        """The broker told of that offset, or that its head is there."""
        if offset > self.highest:
            self.highest = offset

    def welcomed(self, welcome: wire.Welcome) -> Break | None:
        """Take what WELCOME tells. Returns how the log differs from what was known of it, if it does."""
        log_id, starts, highest = self.log_id, self._starts, self.highest
        self.log_id, self._starts = welcome.log_id, welcome.starts[-wire.STARTS_MAX :]
        self.highest = welcome.head
        if not log_id:
            return None
        if log_id != welcome.log_id:
            return Break(0, 0)
        upto = shared(starts, self._starts, highest)
        if upto is None:
            return Break(0, 0)
        if upto < highest:
            return Break(upto, highest)
        self.highest = max(welcome.head, highest)
        return None


def shared(known: list[tuple[str, int]], told: list[tuple[str, int]], highest: int) -> int | None:
    """Up to where two lists of starts mean the same log, not above `highest`; None when they share nothing."""
    if not told:
        return highest  # a broker that is older than such lists
    if not known:
        return min(highest, told[0][1])
    at = {start: number for number, (start, _) in enumerate(told)}
    for number in reversed(range(len(known))):
        if (same := at.get(known[number][0])) is not None:
            behind = [*known[number + 1 : number + 2], *told[same + 1 : same + 2]]
            return min([highest, *(head for _, head in behind)])
    return None
