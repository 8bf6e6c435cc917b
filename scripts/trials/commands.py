"""`zchat listen --resume` as it is: its standard output is a file, and what is in there was handed over.

Rules of this file
1. A line that was printed is never asked back: a kill takes away only what was not written yet.
2. Where a life begins is what its first line says; the checker sees whether something is missing before it.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

from trials.journal import Journal, digest
from trials.processes import END_SECONDS, Actor

TERMINATED = 143
RECENT_BYTES = 256 << 10
LIVE = re.compile(r"live from offset (\d+)")
BROKER_WAIT_SECONDS = "120"
MICROS_AROUND = 5_000_000  # of a trouble: then a cursor may not be kept, or the broker be away still

Span = tuple[int, int]  # begin and end of a trouble, in microseconds since 1970


class Command(Actor):
    """One cursor, kept by `zchat listen` in its lives."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._last: dict[str, int] = {}
        self._printed: list[Path] = []
        self._said: list[Path] = []
        self._ended: dict[int, int] = {}  # life -> when it was told to end, in microseconds since 1970

    def start(self, **_: Any) -> None:
        """A new life."""
        printed = self._folder / f"{self.name}.{self.lives}.jsonl"
        self.journals.append(self._folder / f"{self.name}.{self.lives}.journal")
        self._printed.append(printed)
        task = self.task
        options = ["--resume", task["resume"], "--json", "--verbose", "--wait", BROKER_WAIT_SECONDS]
        who = ["--broker", task["address"], "--user", task["user"]]
        command = [*self._prefix, sys.executable, "-m", "zchat", "listen", *task["patterns"], *options, *who]
        self.launch(command, printed=printed)
        self._said.append(self.output)

    def end(self) -> None:
        """As a supervisor does."""
        self._ended[self.lives - 1] = time.time_ns() // 1000
        self.signal(signal.SIGTERM)

    def ended(self, expected: int, within: float = END_SECONDS) -> None:
        """143 is what it says after a SIGTERM."""
        super().ended(expected or TERMINATED, within)

    def wait_for(self, last: dict[str, int]) -> None:
        """It is to print up to these offsets."""
        self._last = last

    def has_all(self) -> bool:
        """Whether it has."""
        seen: dict[str, int] = {}
        with self._printed[-1].open("rb") as file:
            begin = file.seek(max(0, file.seek(0, 2) - RECENT_BYTES))
            for line in file.read().split(b"\n")[1 if begin else 0 : -1]:
                found = json.loads(line)
                reached = found.get("offset") or found.get("last") or 0  # what is volatile has no offset
                seen[found["room"]] = max(seen.get(found["room"], 0), reached)
        return all(seen.get(room, 0) >= offset for room, offset in self._last.items())

    def translate(self, log_id: str, troubles: list[Span]) -> None:
        """Write the journals of all lives. Those that ended while a cursor could not be kept had no clean end."""
        for life, printed in enumerate(self._printed):
            journal = Journal(self.journals[life])
            journal.note("S", f"{self.name}-{life}", log_id)  # it does not tell its session
            live = LIVE.search(self._said[life].read_text(errors="replace"))
            items = [json.loads(line) for line in printed.read_bytes().split(b"\n")[:-1]]
            begins = [first - 1 for first in map(_first, items) if first]
            if life == 0 and live is not None:
                begins.append(int(live.group(1)))
            if begins:
                journal.note("B", min(begins), min(begins))
            for item in items:
                journal.line(_journal_line(item))
            if life in self._ended:
                journal.note("K", 0, int(not any(_overlaps(self._ended[life], trouble) for trouble in troubles)))
            journal.flush()


def _first(found: dict[str, Any]) -> int:
    """The first offset that it is about; 0: none."""
    return int(found.get("offset") or found.get("first") or 0)


def _journal_line(found: dict[str, Any]) -> str:
    """Of one object that it printed."""
    if found["event"] == "gap":
        return f"G {found['room'] or '*'} {found['first'] or 0} {found['last'] or 0} {found['reason']}"
    body: bytes = b64decode(found["body_base64"]) if "body_base64" in found else found["body"].encode()
    writer, number = ([*body[:64].split(b" ", 2), b"", b""])[:2]
    proof = digest(found["user"], found["event"], found.get("headers") or {}, body)
    return f"M {found['room']} {found['offset'] or 0} {writer.decode()} {number.decode()} {proof}"


def _overlaps(when: int, trouble: Span) -> bool:
    return trouble[0] - MICROS_AROUND <= when <= trouble[1] + MICROS_AROUND
