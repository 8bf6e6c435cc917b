"""Messages as they come, printed until a count, a time, an offset or a signal ends it; and the cursor beside them.

Tests: tests/cli/test_listen.py, tests/cli/test_choosing.py, tests/cli/test_cursors.py.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from zchat.cli import exit_status
from zchat.cli.interrupts import interrupts
from zchat.errors import TimedOut

if TYPE_CHECKING:
    from zchat import Client, Message, Notice, Subscription
    from zchat.cli.choosing import Until
    from zchat.cli.printer import Printer

MISSING_STATUS = 5  # of --expect-every


class Ends:
    """When it ends; without any, never. The deadline is by time.monotonic()."""

    def __init__(
        self, count: int | None, timeout: float | None, until: Until | None, expected: float | None = None
    ) -> None:
        self.count, self.timeout, self.until, self.expected = count, timeout, until, expected
        self.deadline = None if timeout is None else time.monotonic() + timeout

    @property
    def left(self) -> float | None:
        """Seconds until the deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


class _Reached(Exception):
    """What history there was went beyond --until."""


class Follower:
    """Prints what a subscription brings."""

    def __init__(self, printer: Printer, ends: Ends, patterns: list[str], *, presence: bool) -> None:
        self._printer, self._ends, self._patterns, self._presence = printer, ends, patterns, presence
        self._offset = None if ends.until is None else ends.until.offset
        self._live_from = 0
        self._printed_of: dict[str, int] = {}  # with an offset to end at: the last one of each room
        self._is_late = False  # it ended by its deadline
        self._is_missing = False  # it ended because nothing came that was expected
        self._due = time.monotonic() + (ends.expected or 0.0)

    def notice(self, notice: Notice) -> None:
        """What is beside the messages. Raises what ends it where the present is above the offset to end at."""
        self._printer.notice(notice)
        if notice.kind == "live":
            self._live_from = notice.offset
            if self._offset is not None and notice.offset >= self._offset:
                raise _Reached

    def run(self, subscription: Subscription, client: Client, cursor: str | None, *, commits: bool = False) -> None:
        """Print. A signal waits until what is printed is noted, where it is; and what is noted is stored.

        It is where there is a cursor, or what is printed `commits` by itself.
        """
        if cursor is not None or commits:
            self._printer.when_written(subscription.commit)
        try:
            with interrupts.held() if self._printer.holds else nullcontext(), subscription:
                self._run(subscription, client)
        finally:
            if cursor is not None and (offset := subscription.repeats_after) is not None:
                what = f"what was printed after offset {offset} may come again"
                exit_status.tell(f"the cursor {cursor} could not be stored: {what}")

    def status(self) -> int:
        """What the command ends with; what did not come is told."""
        printed, count, ends = self._printer.printed, self._ends.count, self._ends
        if count is not None and printed < count and self._is_late:
            exit_status.tell(f"{printed} of {count} messages came within {ends.timeout:g} s")
            return TimedOut.exit_status
        if self._is_missing:
            exit_status.tell(f"nothing came for {ends.expected:g} s")
            return MISSING_STATUS
        return self._printer.status

    # --- parts ------------------------------------------------------------------------------

    def _run(self, subscription: Subscription, client: Client) -> None:
        try:
            is_beyond = self._print(subscription)
        except _Reached:
            is_beyond = False
        if is_beyond:
            self._print_rest(client)
        self._printer.finish()

    def _print(self, subscription: Subscription) -> bool:
        """Print until one of the ends; true when a message came that is behind an offset to end at."""
        printer, count, end, expected = self._printer, self._ends.count, self._ends.until, self._ends.expected
        is_plain = end is None and expected is None
        is_timed = self._ends.deadline is not None or not is_plain
        while count is None or printer.printed < count:
            interrupts.let_in()
            is_pending = subscription.pending()
            if not is_pending:
                printer.flush()
            left = self._left() if is_timed else None
            if left == 0:
                break
            try:
                message = subscription.get() if is_pending else self._wait(subscription, left)
            except TimedOut:
                continue
            if is_plain:
                printer.print(message)
                continue
            if end is not None and end.is_past(message):
                if self._offset is not None:
                    return True
                continue  # of later than its time, which is about to come here too
            if self._offset is not None and message.offset:
                self._printed_of[message.room] = message.offset
            before = printer.printed
            printer.print(message)
            if expected is not None and printer.printed > before:
                self._due = time.monotonic() + expected
        return False

    def _left(self) -> float | None:
        """Seconds until it ends."""
        until, timeout = None if self._ends.until is None else self._ends.until.left, self._ends.left
        due = None if self._ends.expected is None else max(0.0, self._due - time.monotonic())
        self._is_late, self._is_missing = timeout == 0, due == 0
        return min((seconds for seconds in (until, timeout, due) if seconds is not None), default=None)

    def _wait(self, subscription: Subscription, left: float | None) -> Message:
        look = self._printer.look_seconds
        if look is not None:
            left = look if left is None else min(left, look)
        with interrupts.passing():
            return subscription.get(left)

    def _print_rest(self, client: Client) -> None:
        """What is up to the offset, and has not come: the order of different rooms is not always that of offsets."""
        if len(self._patterns) == 1 and "*" not in self._patterns[0]:
            return
        for message in client.history(*self._patterns, after=self._live_from, presence=self._presence):
            if message.offset > (self._offset or 0):
                break
            if message.offset > self._printed_of.get(message.room, 0):
                self._printer.print(message)
