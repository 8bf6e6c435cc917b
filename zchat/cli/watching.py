"""`who --watch`: who is there, then who comes and goes, each change once.

Rules of this file: it listens before it asks who is there, so no change is missed; what the answer has already is
passed over.

Docs: docs/cli.md, "zchat who". Tests: tests/cli/test_who.py.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from zchat.cli import output, streams
from zchat.cli.printer import Printer
from zchat.errors import TimedOut
from zchat.printable import printable

if TYPE_CHECKING:
    from zchat import Client, Message


class Watcher:
    """Of one room, or of all."""

    def __init__(self, client: Client, room: str | None, *, json: bool, timeout: float | None) -> None:
        self._client, self._room, self._json = client, room, json
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._terminal = sys.stdout.isatty()
        self._there: set[tuple[str, str]] = set()  # room and session
        patterns = ["**"] if room is None else [room]
        self._printer = Printer(patterns, json=json, template=None, raw=False)

    def run(self) -> None:
        """Until the timeout, or a signal."""
        printer, of = self._printer, self._room or "**"
        printer.begin(self._client)
        with self._client.listen(of, presence=True, join=False, on_notice=printer.notice) as messages:
            self._print_members()
            printer.flush()
            while True:
                left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
                try:
                    message = messages.get(left)
                except TimedOut:
                    return
                if message.event in ("join", "leave") and self._is_change(message):
                    self._print(message)
                    printer.flush()

    # --- parts ------------------------------------------------------------------------------

    def _is_change(self, message: Message) -> bool:
        """Whether it is none that the answer had already."""
        member = message.room, message.session
        if (message.event == "join") == (member in self._there):
            return False
        if message.event == "join":
            self._there.add(member)
        else:
            self._there.discard(member)
        return True

    def _print_members(self) -> None:
        """Who is there, as if each came now."""
        lines = []
        for member in self._client.who(self._room):
            for room in member.rooms if self._room is None else [self._room]:
                if member.session and (self._room is not None or not room.startswith("@")):
                    self._there.add((room, member.session))
                    lines.append(self._line("member", room, member.user, member.session, member.since))
        if lines:
            streams.write(b"".join(lines))

    def _print(self, message: Message) -> None:
        if not self._json:
            self._printer.print(message)
            return
        reason = message.text if message.event == "leave" else ""
        streams.write(self._line(message.event, message.room, message.user, message.session, message.time, reason))

    def _line(self, event: str, room: str, user: str, session: str, since: int, reason: str = "") -> bytes:
        if not self._json:
            where = f"#{room} " if self._room is None else ""
            return f"[{output.local_time(since)}] {where}* {printable(user)} is there\n".encode()
        facts = {"event": event, "room": room, "user": user, "session": session, "time": output.rfc3339(since)}
        return output.object_line(facts | ({"reason": reason} if reason else {}), terminal=self._terminal) + b"\n"
