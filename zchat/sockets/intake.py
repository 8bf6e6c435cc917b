"""What the consumer of one subscription was handed, what is left, and where that leaves the cursor; without waits.

Rules of this file
1. It says what has left its buffer; where a cursor may stand, core/progress.py decides.
2. Nothing is handed over after the end, whoever ends it: what is left comes with the next `resume`.
3. A face waits between `asks` and `take`: a wait that comes to nothing has changed nothing.

    engine --Delivery, Notice, Mark--> incoming --take--> buffer: messages of one batch --popleft--> the program

Spec: docs/client.md. Tests: tests/test_client.py, tests/test_cursors.py, tests/test_endings.py.
"""

from __future__ import annotations

from zchat.core.client import CLOSED
from zchat.core.deliveries import Delivery, Handed
from zchat.core.gaps import Notice
from zchat.core.listener import Listener
from zchat.core.steps import Steps
from zchat.errors import Closed, Refused, UsageError
from zchat.message import messages
from zchat.sockets.incoming import Incoming, Item
from zchat.sockets.link import Link


class TakenOut(Exception):
    """Nothing more comes."""


class Intake:
    """Between what comes for a listener and its consumer. Thread-safe; one thread at a time takes."""

    of_group = False
    has_job_in_hand = False

    def __init__(self, link: Link, listener: Listener, incoming: Incoming, *, echo: bool) -> None:
        self.incoming = incoming
        self.buffer = incoming.buffer  # the consumer alone takes from its left
        self.is_closed = False
        self.listener = listener
        self._link = link
        self._progress = listener.progress
        self._echo = echo
        self._count = 0  # messages of what was put into the buffer last
        self._progress.look = self._look

    def __repr__(self) -> str:
        """`of alice to general, build.**: open`."""
        shown, more = self.listener.patterns[:5], len(self.listener.patterns) - 5
        to = ", ".join([*shown, f"{more} more"] if more > 0 else shown)
        cursor = f", resumes {self._progress.cursor}" if self._progress.cursor else ""
        state = "closed" if self.is_closed or self._link.state == CLOSED else "open"
        return f"of {self._link.user} to {to}{cursor}: {state}"

    # --- taking -----------------------------------------------------------------------------

    def asks(self) -> bool:
        """The consumer has all of the buffer, and asks for more. False after the end."""
        with self.incoming.lock:
            if self.is_closed:
                return False
            self._progress.asks()
        return True

    def take(self, item: Item | None) -> Notice | None:
        """Put what came next into the buffer; a notice is to be told by who gets it from here.

        Raises TakenOut, or why the client broke.
        """
        with self.incoming.lock:
            if self.is_closed:
                raise TakenOut  # meanwhile: it is not handed over
            if item is None:
                if self._link.broke is not None:
                    raise self._link.broke
                if (refused := self.listener.refused) is not None:
                    raise Refused(refused.code, refused.text)
                raise TakenOut
            assert not isinstance(item, Handed), "that is for a member of a group"
            self._progress.take(item)
            if isinstance(item, Delivery):
                without = "" if self._echo else self._link.welcome.session
                now, opens = self._link.broker_time, self._link.opens
                before = len(self.buffer)
                self.buffer.extend(messages(item.room, item.batch, item.first, without, now=now, opens=opens))
                self._count = len(self.buffer) - before
        return item if isinstance(item, Notice) else None

    def commit(self) -> None:
        """All that was handed over is done. Raises UsageError without a cursor, Closed after the end."""
        if not self._progress.cursor:
            raise UsageError("a subscription without `resume` has no cursor to commit")
        with self.incoming.lock:
            if self.is_closed:
                raise Closed("the subscription is closed")
            if self._link.state == CLOSED:
                raise self._link.broke or Closed()
            self._progress.commit(self._left)

    # --- its end ----------------------------------------------------------------------------

    @property
    def repeats_after(self) -> int | None:
        """Told by the end: above this offset what was handed over may come again; None: nothing does."""
        return self._progress.repeats_after

    def close(self, *, counts: bool) -> Steps[None] | None:
        """The end, unless it has ended. Returns the steps that store the cursor, where there is something to store.

        Unless it `counts`, the message in hand was not handed over.
        """
        with self.incoming.lock:
            self.is_closed = True
            taken = None if counts else self._taken
            first = self.incoming.drop()
            left, logs = None if first is None else first.offset, self.listener.ordering.logs
            if not self._progress.end(left, logs, taken=taken) or not self._link.is_ready:
                return None
        return self._progress.last_commit(self.listener.log_id)

    # --- parts ------------------------------------------------------------------------------

    def _look(self) -> None:
        """By the engine, before the cursor is stored: what was taken before the message in hand was handed over."""
        with self.incoming.lock:
            if not self.is_closed:
                self._progress.taken(self._taken)

    @property
    def _taken(self) -> int:
        """How many messages of the last delivery have left the buffer. Under the lock."""
        return max(0, self._count - len(self.buffer))

    @property
    def _left(self) -> int | None:
        """The first offset in the buffer."""
        try:
            return self.buffer[0].offset
        except IndexError:
            return None
