"""What one listener's consumer was handed, and where its cursor may stand.

Rules of this file
1. A cursor stands behind what was handed over, never before it: at least once after a crash, exactly once after the
   last commit.
2. Over several rooms, one room's offsets do not say that nothing is missing in another. The cursor follows the marks
   of the ordering; what lies above them is kept room by room, and the last commit asks for the heads.
3. Offsets of one log mean nothing in another: each place is (which log, counted as the ordering does; offset).

    room a: 41 42 __ 44      handed over up to 44, and of room b nothing is known since the mark at 40:
    room b:                  it stands at 40

The thread of the consumer calls it; that of the core reads `at` and `wanted`, and calls `due` and `stored`. Who hands
over has a lock for what changes where it stands: `due` calls `look`, and that calls `taken` under it.
Spec: docs/protocol.md, "Cursors". Tests: tests/core/test_progress.py.
"""

from __future__ import annotations

from collections.abc import Callable

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Stored, given
from zchat.core.deliveries import Delivery, Mark
from zchat.core.gaps import Notice
from zchat.core.history import Pages
from zchat.core.steps import Ask, Steps
from zchat.names import is_pattern

COMMIT_SECONDS = 0.5  # a cursor is stored this often: what was handed over since then comes again after a crash


def is_one_room(patterns: list[str]) -> bool:
    """Whether the offsets of what was handed over say by themselves how far all is."""
    return len(patterns) == 1 and not is_pattern(patterns[0])


class Progress:
    """What one consumer was given, and where its cursor may stand."""

    def __init__(self, patterns: list[str], cursor: str = "", *, follows: bool = True) -> None:
        self.cursor = cursor  # its name; empty: none
        self.follows = follows  # the cursor moves with what is handed over; else `commit` moves it
        self.at = (0, 0)  # what was handed over last
        self.wanted = (0, 0)  # where the cursor is to be
        self.committed = (0, 0)  # where it is, as the broker said
        self.number = 0  # of the request that stores it
        self.look: Callable[[], object] = _nothing  # has it `taken` so many as were, of the delivery in hand
        self._patterns = patterns
        self._one_room = is_one_room(patterns)
        self._log = 0
        self._position = 0  # nothing at or below it, in any room, is still to be handed over
        self._handed: dict[str, int] = {}  # room -> last offset handed over above the position
        self._done: dict[str, int] = {}  # the same, when it was last committed
        self._in_hand: Delivery | None = None
        self._asked = (0, 0)  # what that request stores
        self._due_at = 0.0
        self._repeats_after: int | None = None
        self._has_doubt = False  # ended with a message in hand of which nobody knows whether it was handed over

    def begin(self, offset: int, *, is_stored: bool = True) -> None:
        """What is above that offset is still to be handed over. A cursor that is not stored there yet is, soon."""
        self._position = offset
        self.wanted = (0, offset)
        self.committed = (0, offset) if is_stored else (0, -1)

    # --- what it is handed ------------------------------------------------------------------

    def take(self, item: Delivery | Notice | Mark) -> None:
        """It is given the next item: all before it was handed over."""
        if isinstance(item, Delivery):
            self._in_hand = item
        elif isinstance(item, Mark):
            self._position = max(self._position, item.offset)
            self._handed = {room: last for room, last in self._handed.items() if last > self._position}
        elif item.kind == "gap" and item.reason == "log":
            self._log += 1
            self._position = min(self._position, item.offset - 1) if item.last else 0
            self._handed.clear()
        elif item.kind == "gap" and item.reason != "volatile" and not self._one_room and self.cursor:
            self._handed[item.room] = max(item.last, self._handed.get(item.room, 0))  # it is told, and all before it

    def asks(self) -> None:
        """It asks for the next one: all that it has was handed over."""
        if self._in_hand is not None:
            self._note()
            if self.follows:
                self.wanted = (self._log, self._position)

    def taken(self, count: int) -> None:
        """So many messages of the delivery in hand were taken: all but the last of them were handed over."""
        if self.follows:
            self._note_taken(count)
            self.wanted = (self._log, self._position)

    def commit(self, left: int | None) -> None:
        """All that was handed over is done; `left` is the offset of the first of the last delivery that was not."""
        self._note(left)
        self._commit_here()

    # --- its end ----------------------------------------------------------------------------

    def end(self, left: int | None, logs: int, *, taken: int | None = None) -> bool:
        """It takes no more; `left` as for `commit`, `logs` as the ordering counts them. Returns whether the cursor is
        to be stored once more. Where the message in hand was not handed over, `taken` is as for that."""
        self._has_doubt = self._in_hand is not None and self.follows and taken is not None
        if self.follows:
            if taken is None:
                self._note(left)
            else:
                self._note_taken(taken)
            self._commit_here()
        log, position = self.wanted
        if not self.cursor or log != logs or (self.wanted == self.committed and self._highest <= position):
            return False
        self._repeats_after = max(0, self.committed[1]) if self.committed[0] == log else 0
        return True

    def last_commit(self, log_id: str) -> Steps[None]:
        """Store the cursor. Where that fails, what was stored before stays. Raises Refused, WireError."""
        log, position = self.wanted
        self.wanted = (log, (yield from self._all_done(position)))
        if self.wanted != self.committed:
            yield from self.store(log_id, self.wanted[1])
        self.committed = self.wanted
        self._repeats_after = self.wanted[1] if self.wanted[1] < self._highest else None

    @property
    def repeats_after(self) -> int | None:
        """After the end: above this offset what was handed over may come again; None: nothing does."""
        if self._repeats_after is None and self._has_doubt and self.cursor:
            return self.wanted[1]
        return self._repeats_after

    # --- the cursor -------------------------------------------------------------------------

    def store(self, log_id: str, offset: int) -> Steps[None]:
        """Keep the cursor there. Raises Refused, WireError."""
        given((yield Ask(wire.SetCursor(0, self.cursor, log_id, offset))), wire.Done)

    def due(self, logs: int, now: Instant) -> int | None:
        """Where the cursor is to be stored now, if it is; its request's number is to be put into `number`."""
        if not self.cursor or self.number or now.seconds < self._due_at:
            return None
        if self._in_hand is not None:
            self.look()
        wanted = self.wanted
        if wanted == self.committed or wanted[0] != logs:
            return None
        self._due_at = now.seconds + COMMIT_SECONDS
        self._asked = wanted
        return wanted[1]

    def answered(self, *, is_done: bool) -> None:
        """That request was answered; what was not stored is due again."""
        self.number = 0
        if is_done:
            self.committed = self._asked

    # --- parts ------------------------------------------------------------------------------

    @property
    def _highest(self) -> int:
        return max(self._done.values(), default=0)

    def _note_taken(self, count: int) -> None:
        """The last of so many has at least that offset: what has expired, or is the consumer's own, is not counted."""
        if self._in_hand is not None:
            self._note(self._in_hand.first + count - 1)

    def _note(self, left: int | None = None) -> None:
        """All of the delivery in hand below `left` was handed over."""
        delivery = self._in_hand
        if delivery is None:
            return
        if left is None:
            self._in_hand = None
        handed = delivery.last if left is None else left - 1
        if delivery.last and handed >= max(delivery.first, self._position if self._one_room else 0):
            self.at = (self._log, handed)
            if self._one_room:
                self._position = handed
            elif self.cursor:
                self._handed[delivery.room] = handed

    def _commit_here(self) -> None:
        self.wanted = (self._log, self._position)
        self._done = dict(self._handed)

    def _all_done(self, position: int) -> Steps[int]:
        """How far everything is done, in all rooms: all up to `position`, and above it room by room.

        Over several rooms a batch may have been dropped on the way and not be missed yet: the heads tell.
        """
        done, highest = self._done, self._highest
        if highest <= position:
            return position
        heads = given((yield Ask(wire.Heads(0, self._patterns))), wire.HeadsAre)
        if heads.head < highest:
            return position  # of a log that went back, or of another one
        behind = {}
        for room, _, last_message in heads.rooms:
            if (upto := max(done.get(room, 0), position)) < min(last_message, highest):
                behind[room] = upto
        after = min(behind.values(), default=highest)
        rooms = list(behind) if 0 < len(behind) <= wire.ROOMS_PER_MESSAGE_MAX else self._patterns
        pages = Pages(rooms, after, highest)
        while pages.fetch is not None:
            for part in pages.take(given((yield Ask(pages.fetch)), wire.Page)):
                known = max(done.get(part.room, 0), position)
                if part.last <= known or (isinstance(part, Stored) and part.batch.kind != wire.MESSAGES):
                    continue
                first = part.batch.base if isinstance(part, Stored) else part.first  # a gap is still to be told
                return min(max(first, known + 1) - 1, highest)
        return highest


def _nothing() -> None:
    """There is no consumer yet."""
