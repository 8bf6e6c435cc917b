"""Messages on their way to standard output: written in as few calls as keep it prompt.

A line waits here only while more messages are there already. Whoever reads messages calls `print` for
each and `flush` when none is waiting; at the bounds below `print` flushes by itself.

What is written and the word that it is (`when_written`) belong together: no first signal comes between them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from zchat.cli import exit_status, output, streams
from zchat.cli.inboxes import ME
from zchat.cli.interrupts import interrupts
from zchat.errors import TimedOut, ZchatError
from zchat.lookalikes import Lookalikes
from zchat.names import inbox

if TYPE_CHECKING:
    from zchat import Client, Message, Notice
    from zchat.cli.choosing import Choice

LINES_MAX = 256  # a write costs as much as some 20 lines: spread over this many it does not count
BYTES_MAX = 65_536  # what a pipe takes at once
PASSED_OVER_MAX = 4_096  # messages that are not chosen: then it is said that they are done


class Printer:
    """Prints messages in one format, and what happens to the subscription beside them."""

    def __init__(
        self, patterns: list[str], *, json: bool, template: str | None, raw: int, verbose: bool = False
    ) -> None:
        one_room = len(patterns) == 1 and "*" not in patterns[0]
        streams.watch_reader()
        self._terminal = sys.stdout.isatty()
        self._json = json
        self._is_for_people = not (json or raw or template)
        self._patterns = patterns
        self._aside = ""  # told once it is live
        self._verbose = verbose or sys.stderr.isatty()
        self.log = output.KnownLog()  # of the messages that are printed
        self._format = output.choose(
            json=json, template=template, raw=bool(raw), one_room=one_room, terminal=self._terminal, log=self.log
        )
        self._names = Lookalikes()
        self._lines: list[bytes] = []
        self._size = 0
        self._choice: Choice | None = None
        self._passed_over = 0  # since the last flush
        self._uncounted: tuple[str, ...] = ("join", "leave")
        self._written: Callable[[], None] | None = None
        self.printed = 0  # messages

    @property
    def holds(self) -> bool:
        """Whether a first signal waits for what is being done."""
        return self._written is not None

    @property
    def look_seconds(self) -> float | None:
        """How soon it is to be flushed again, though nothing came."""
        return None

    def begin(self, client: Client, choice: Choice | None = None) -> None:
        """What is printed comes from here, and is all of it or what is chosen."""
        self.log.id = client.log_id
        if choice is not None and not choice.is_all:
            self._choice = choice
            self._uncounted = () if choice.of_presence else self._uncounted
        if self._is_for_people and client.sealed_rooms:
            self._format = output.marked(self._format, client.is_sealed)
        if sys.stderr.isatty() and not {ME, inbox(client.user)} & set(self._patterns):
            self._aside = f"; direct messages to you: zchat listen {ME}"

    def print(self, message: Message) -> None:
        """One message, if it is chosen."""
        if self._choice is not None and not self._is_chosen(self._choice, message):
            return
        line = self._format(message)
        if not line and self._is_for_people and message.headers:
            self._pass_over()
            return
        if self._is_for_people and (why := self._names.doubt(message.user)):
            self.flush()
            exit_status.tell(f"the name {message.user} {why}: look twice who it is")
        self._lines.append(line)
        self._size += len(line)
        self.printed += message.event not in self._uncounted
        if self._size > BYTES_MAX or len(self._lines) >= LINES_MAX:
            self.flush()

    def print_past(
        self,
        messages: Iterable[Message],
        count: int | None = None,
        deadline: float | None = None,
    ) -> None:
        """All messages of history, or `count`, or as many as come before the deadline; an error after what came."""
        try:
            for message in messages:
                self.print(message)
                if self.printed == count or (deadline is not None and time.monotonic() > deadline):
                    break
        except TimedOut:
            pass
        except ZchatError:
            self.flush()
            raise
        self.finish()
        if not self.printed and sys.stderr.isatty():
            exit_status.tell("no messages found; zchat rooms lists the rooms")

    def when_written(self, written: Callable[[], None]) -> None:
        """Call this each time that everything printed so far is written."""
        self._written = written

    def print_object(self, facts: dict[str, Any]) -> None:
        """A JSON object that is no message."""
        self._lines.append(output.object_line(facts, terminal=self._terminal))

    def flush(self) -> None:
        """Write what has gathered."""
        self._passed_over = 0
        if self._written is None:
            self._write()
            return
        with interrupts.held():
            self._write()
            self._written()

    def finish(self) -> None:
        """Nothing more comes."""
        self.flush()

    @property
    def status(self) -> int:
        """What the command ends with, when nothing else is wrong."""
        return 0

    def close(self) -> None:
        """Leave nothing behind, whatever ended it."""

    def notice(self, notice: Notice) -> None:
        """Live, lost, back: on stderr for people. Another broker, a gap: always; a gap is an object of --json, too."""
        if notice.kind == "gap":
            if self._json:
                self.print_object(output.gap_object(notice))
        elif not self._verbose and notice.kind != "stranger":
            return
        self.flush()  # what came before it stands before it
        self.log.id = notice.log_id or self.log.id
        exit_status.tell(output.notice_text(notice) + (self._aside if notice.kind == "live" else ""))

    def _is_chosen(self, choice: Choice, message: Message) -> bool:
        if choice(message):
            return True
        self._pass_over()
        return False

    def _pass_over(self) -> None:
        """It is done with, and not printed."""
        self._passed_over += 1
        if self._passed_over >= PASSED_OVER_MAX:
            self.flush()

    def _write(self) -> None:
        """Write it all, by no buffer: what a second signal cuts off must not be written later."""
        if not self._lines:
            return
        self._lines.append(b"")
        block = b"\n".join(self._lines)
        self._lines.clear()
        self._size = 0
        streams.write(block)
