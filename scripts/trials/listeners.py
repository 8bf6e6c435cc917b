"""A process that listens, and writes down all that it gets, in order.

Rules of this file
1. With a cursor, a message is in the journal before it counts as handed over. Without one, soon after it came.
2. It is owed nothing that it cannot prove: where it begins is written down as the library told it.
3. Once live, it publishes a message itself: that one must come after the offset that it was told.
"""

from __future__ import annotations

import random
import time
from typing import Any

import zchat
from trials.control import Control
from trials.journal import record
from trials.writers import Letter, Writer

FLUSH_LINES = 200
TIMES_SECONDS = 0.005  # between lines that tell the time
COMMIT_MESSAGES = 40  # of a listener that keeps its cursor by itself
CLEAN_SECONDS = 0.9  # a close within it met no trouble: nothing timed out


class Listening:
    """One life of one listener."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._task = control.task
        self._note = control.journal.note
        self._line = control.journal.line
        self._cursor: str | None = self._task.get("resume")
        self._auto_commit: bool = self._task.get("auto_commit", True)
        self._exact = self._cursor is not None and self._auto_commit  # it must write before it asks for more
        self._seen: dict[str, int] = {}
        self._begun = False
        self._lines = 0
        self._uncommitted = 0
        self._time = 0.0
        self._done = False
        self._writer: Writer | None = None

    def run(self) -> None:
        """Until told to end."""
        control, task = self._control, self._task
        client = control.connect(task["user"])
        subscription = self._start(client)
        rooms = [pattern for pattern in task["patterns"] if "*" not in pattern]
        if rooms:
            control.journal.write("I", time.time_ns() // 1000, *rooms)
        self._writer = Writer(control.name, client, control.journal)
        while not control.stopping.is_set():
            self._turn(subscription)
        if self._cursor is not None and not self._auto_commit:
            subscription.commit()
        self._close(client, subscription)
        client.close()
        control.journal.write("O")

    # --- the beginning and the end ----------------------------------------------------------

    def _start(self, client: zchat.Client) -> zchat.Subscription:
        begin: dict[str, Any] = {}
        if self._cursor is not None:
            begin["resume"] = self._cursor
        elif "behind" in self._task:
            head = max((room.last for room in client.rooms()), default=0)
            begin["after"] = max(0, head - self._task["behind"])
            self._begin(begin["after"])
        while True:
            place = self._place(client)
            try:
                subscription = client.listen(
                    *self._task["patterns"],
                    presence=self._task["presence"],
                    on_notice=self._noticed,
                    auto_commit=self._auto_commit,
                    **begin,
                )
            except zchat.Refused as refused:
                if refused.code not in ("log-full", "busy"):
                    raise
                self._control.stopping.wait(0.3)
                continue
            begun = self._place(client)
            if place is not None and begun != place:  # what the life before had sent came only now
                subscription.close()
                continue
            if begun is not None:  # the first time `listen` makes it
                self._begin(begun)
            return subscription

    def _place(self, client: zchat.Client) -> int | None:
        """Where the cursor is; None where there is none."""
        return next((cursor.offset for cursor in client.cursors() if cursor.name == self._cursor), None)

    def _begin(self, after: int) -> None:
        self._begun = True
        self._control.journal.write("B", after, after)

    def _close(self, client: zchat.Client, subscription: zchat.Subscription) -> None:
        began = time.monotonic()
        name = self._cursor
        if name is None:
            try:
                subscription.close()
            except zchat.Refused:
                pass  # a full disk: its leave is written later
            return
        try:
            client.set_cursor("probe", 0)  # can cursors be kept now?
            subscription.close()
            client.set_cursor("probe", 0)
            kept = next((cursor.offset for cursor in client.cursors() if cursor.name == name), -1)
            self._control.journal.write("K", kept, int(time.monotonic() - began < CLEAN_SECONDS))
        except zchat.Refused:
            self._control.journal.write("K", -1, 0)

    # --- what comes -------------------------------------------------------------------------

    def _turn(self, subscription: zchat.Subscription) -> None:
        try:
            message = subscription.get(0.1)
        except zchat.TimedOut:
            self._flush(subscription)
            self._look_whether_done()
            return
        self._got(message)
        many = FLUSH_LINES if self._cursor is None else COMMIT_MESSAGES
        if self._exact or self._lines >= many:
            self._flush(subscription)

    def _got(self, message: zchat.Message) -> None:
        now = time.monotonic()
        if now - self._time > TIMES_SECONDS:
            self._time = now
            self._note("T", time.time_ns() // 1000, message.time)
        if message.offset:
            self._seen[message.room] = message.offset
        self._line(record(message))
        self._lines += 1
        self._uncommitted += 1
        if self._task.get("slow"):
            time.sleep(random.random() * self._task["slow"])

    def _noticed(self, notice: zchat.Notice) -> None:
        if notice.kind == "gap":
            self._note("G", notice.room or "*", notice.offset, notice.last, notice.reason)
        else:
            self._note("N", notice.kind, notice.offset, notice.records)
        if notice.kind == "live":
            if not self._begun:
                self._begin(notice.offset)
            self._say_hello()

    def _say_hello(self) -> None:
        rooms = [pattern for pattern in self._task["patterns"] if "*" not in pattern]
        if rooms and self._writer is not None:
            self._writer.publish([Letter(rooms[0], 20)])

    def _flush(self, subscription: zchat.Subscription) -> None:
        if self._writer is not None:
            self._writer.settle()
        self._control.journal.flush()
        self._lines = 0
        if self._cursor is not None and not self._auto_commit and self._uncommitted:
            subscription.commit()
        self._uncommitted = 0

    def _look_whether_done(self) -> None:
        last = self._control.last
        if self._done or last is None:
            return
        if all(self._seen.get(room, 0) >= offset for room, offset in last.items()):
            self._done = True
            self._control.journal.write("E")


def narrow() -> None:
    """Smaller bounds, so that a listener meets them in seconds."""
    import zchat.core.held as held
    import zchat.core.ordering as ordering
    import zchat.sockets.incoming as incoming

    incoming.QUEUED_BYTES_MAX, incoming.QUEUED_BYTES_LOW = 64 << 10, 16 << 10
    held.HELD_BYTES_MAX = 64 << 10
    ordering.ROOMS_FETCHED_MAX = 2


def main() -> None:
    """Listen until told to end."""
    control = Control()
    if control.task.get("narrow"):
        narrow()
    Listening(control).run()


if __name__ == "__main__":
    main()
