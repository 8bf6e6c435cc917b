"""`listen --exec`: a command for each message, in the place of printing it.

Rules of this file
1. What somebody sent is never part of a command line: the body is on stdin, the rest in the environment.
2. A message counts, for a cursor, once its command succeeded, and so did those of all before it.
3. No command outlives `zchat listen`, unless that is killed: at a signal those that run get 3 s to end, then SIGTERM.

Docs: docs/cli.md, "A command for each message". Tests: tests/cli/test_executing.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from zchat.cli import children, exit_status
from zchat.cli.interrupts import HELD_SECONDS, interrupts
from zchat.cli.output import place, rfc3339
from zchat.cli.printer import Printer
from zchat.errors import ZchatError
from zchat.printable import printable

if TYPE_CHECKING:
    from zchat import Client, Message
    from zchat.cli.choosing import Choice

RETRY_SECONDS = 1.0  # before the first; twice as long before each one more,
RETRY_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.005  # how often several commands are looked at while they are waited for,
IDLE_SECONDS = 0.05  # and while messages are
COUNT_SECONDS = 1.0  # with several at once: so often they are waited for, as only then a cursor can move
TERM_SECONDS = 1.0
VALUE_BYTES_MAX = 65_536  # of one variable: the system takes 128 KiB


class CommandFailed(ZchatError):
    """The command of a message did not succeed, and the message must not count."""


class Executor(Printer):
    """Runs the command, up to so many at once. With a cursor the first failure is the end; without it is told."""

    def __init__(
        self, patterns: list[str], command: str, *, jobs: int, retries: int, verbose: bool, cursor: str | None
    ) -> None:
        super().__init__(patterns, json=False, template=None, raw=True, verbose=verbose)
        self._command, self._jobs_max, self._retries, self._cursor = command, jobs, retries, cursor
        self._jobs: list[MessageCommand] = []
        self._environment = dict(os.environ)
        self._counted_at = time.monotonic()
        self._failed = 0  # messages

    @property
    def holds(self) -> bool:
        """A command that runs may end."""
        return True

    @property
    def look_seconds(self) -> float | None:
        """While commands run, somebody looks after them."""
        return IDLE_SECONDS if self._jobs else None

    def begin(self, client: Client, choice: Choice | None = None) -> None:
        """A zchat in the command speaks to the same broker, as the same user."""
        super().begin(client, choice)
        self._environment |= {"ZCHAT_BROKER": client.address, "ZCHAT_USER": client.user}

    def print(self, message: Message) -> None:
        """Run the command for one message, if that is chosen; returns when there is room for another one."""
        if self._choice is not None and not self._is_chosen(self._choice, message):
            return
        self.printed += message.event not in self._uncounted
        self._jobs.append(MessageCommand(message, self._command, self._environment | self._facts(message)))
        self._wait(self._jobs_max - 1)
        if self._jobs and time.monotonic() - self._counted_at > COUNT_SECONDS:
            self._wait(0)
        self.flush()

    def flush(self) -> None:
        """Look after what runs; when nothing does, all that was taken counts."""
        self._look()
        if not self._jobs:
            self._counted_at = time.monotonic()
            super().flush()

    def finish(self) -> None:
        """Wait for all of them."""
        self._wait(0)
        self.flush()

    @property
    def status(self) -> int:
        """1 where a command failed."""
        return 1 if self._failed else 0

    def close(self) -> None:
        """End what still runs. Of one alone the end was waited for before; the messages come again."""
        deadline = time.monotonic() + (HELD_SECONDS if self._jobs_max > 1 else 0.0)
        try:
            while time.monotonic() < deadline and any(job.is_running for job in self._jobs):
                time.sleep(LOOK_SECONDS)
        finally:
            for job in self._jobs:
                job.end()
            self._jobs.clear()

    # --- parts ------------------------------------------------------------------------------

    def _facts(self, message: Message) -> dict[str, str]:
        facts = {
            "ZCHAT_ROOM": message.room,
            "ZCHAT_FROM": message.user,
            "ZCHAT_OFFSET": str(message.offset or ""),
            "ZCHAT_PLACE": place(message.offset, self.log.id) or "",
            "ZCHAT_TIME": rfc3339(message.time),
            "ZCHAT_EVENT": printable(message.event),
            "ZCHAT_SEALED": "1" if message.sealed else "",
            "ZCHAT_HEADERS": json.dumps(dict(message.headers)),
        }
        return {name: value for name, value in facts.items() if len(value.encode()) <= VALUE_BYTES_MAX}

    def _wait(self, most: int) -> None:
        """Until no more than so many run."""
        while len(self._jobs) > most:
            if len(self._jobs) == 1 and self._jobs[0].process is not None:
                children.ended(self._jobs[0].process)
            self._look()
            if self._jobs and not any(job.is_running for job in self._jobs):
                interrupts.let_in()  # they wait for another try, which may be long
            if len(self._jobs) > most:
                time.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        """Take what has ended out, and try again what failed."""
        for job in list(self._jobs):
            trouble = job.trouble()
            if trouble is None:
                continue
            if trouble and job.tries <= self._retries:
                job.again(min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2 ** (job.tries - 1)))
                continue
            self._jobs.remove(job)
            self._ended(job, trouble)

    def _ended(self, job: MessageCommand, trouble: str) -> None:
        """It succeeded, or has failed for good."""
        if trouble:
            self._tell(job, trouble)

    def _tell(self, job: MessageCommand, trouble: str) -> None:
        self._failed += 1
        which = f"offset {job.message.offset} of {job.message.room}"
        tries = "" if job.tries == 1 else f" after {job.tries} tries"
        if self._cursor is not None:
            self._written = None  # nothing counts any more
            again = f"it comes again with --resume {self._cursor}"
            raise CommandFailed(f"the command {trouble} for {which}{tries}; {again}")
        exit_status.tell(f"the command {trouble} for {which}{tries}")


class GroupExecutor(Executor):
    """Runs the command for messages of a group: each counts by itself, and one that failed is handed out again."""

    def _ended(self, job: MessageCommand, trouble: str) -> None:
        if trouble:
            deliveries = max(0, int(getattr(job.message, "deliveries", 1)) - 1)
            job.message.nack(min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2**deliveries))
        else:
            job.message.ack()
        super()._ended(job, trouble)


class MessageCommand:
    """One message and its command, which runs, or waits to be tried again."""

    def __init__(self, message: Message, command: str, environment: dict[str, str]) -> None:
        self.message = message
        self.tries = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._command, self._environment = command, environment
        self._due = 0.0
        self._trouble = ""  # why it could not be started
        self._start()

    def trouble(self) -> str | None:
        """None while it runs or waits; then what was wrong, or nothing."""
        if self.process is None:
            if self._trouble:
                return self._trouble
            if time.monotonic() >= self._due:
                self._start()
            return None
        status = self.process.poll()
        if status is None:
            return None
        return f"was ended by signal {-status}" if status < 0 else f"failed with status {status}" if status else ""

    @property
    def is_running(self) -> bool:
        """Whether its command has not ended."""
        return self.process is not None and self.process.poll() is None

    def again(self, pause: float) -> None:
        """Start it once more, after a pause."""
        self.process, self._trouble, self._due = None, "", time.monotonic() + pause

    def end(self) -> None:
        """End it, and all that it started."""
        if self.process is None or not self.is_running:
            return
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(TERM_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)

    def _start(self) -> None:
        self.tries += 1
        try:
            with tempfile.TemporaryFile() as body:
                body.write(self.message.body)
                body.seek(0)
                self.process = subprocess.Popen(
                    ["/bin/sh", "-c", self._command],
                    stdin=body,
                    env=self._environment | {"ZCHAT_TRY": str(self.tries)},
                    process_group=0,
                )
        except OSError as error:
            self._trouble = f"could not be started: {error.strerror}"
