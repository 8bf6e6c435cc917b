"""What `zchat send` does not send now: with --in and --at the broker keeps it, with --spool the disk.

Tests: tests/cli/test_scheduled.py.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from zchat import times
from zchat.cli import exit_status, inboxes, options
from zchat.cli.connecting import connect
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat.cli.bodies import Source
    from zchat.cli.send import Sending


def _coming(text: str) -> datetime:
    try:
        return times.coming(text, datetime.now(UTC))
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


In: TypeAlias = Annotated[
    float | None,
    typer.Option("--in", metavar="SECONDS", parser=options.duration, help="Have it sent so much later: 10m, 2h."),
]
At: TypeAlias = Annotated[
    datetime | None,
    typer.Option("--at", metavar="TIME", parser=_coming, help="Have it sent at a time: 17:30, or an ISO time."),
]


class SentLater(NamedTuple):
    """When it is sent; see groups.py."""

    in_: In = None
    at: At = None

    @property
    def is_asked(self) -> bool:
        """Whether it is sent later."""
        return self != (None, None)

    def check(self, source: Source, sending: dict[str, object]) -> None:
        """Raise UsageError for what cannot go together."""
        name = "--at" if self.in_ is None else "--in"
        options.only_one({"--in": self.in_, "--at": self.at})
        for other, value in sending.items():
            options.only_one({name: True, other: value or None})
        if source.is_lines:
            raise UsageError(f"{name} sends one message: a TEXT, --file or --whole")
        if source.large:
            raise UsageError(f"the file is larger than a message: it is not sent with {name}")

    def send(
        self, source: Source, room: str, more: dict[str, Any], connecting: options.ToBroker, *, quiet: bool, json: bool
    ) -> int:
        """Hand it to the broker, and say under which id. Returns the status."""
        from zchat.cli import output

        broker, user, wait = connecting
        with connect(broker, user, wait=wait, timeout=wait) as client:
            to = inboxes.of(client.user, room)
            name = client.schedule(to, source.body(), at=self.at, delay=self.in_, **more)
        if json:
            facts = {"room": to, "id": name}
            sys.stdout.write(output.object_line(facts, terminal=sys.stdout.isatty()).decode() + "\n")
        elif sys.stderr.isatty() and not quiet:
            exit_status.tell(f"it is sent later; to take it back: zchat scheduled {name} --cancel")
        return 0


def keep(
    source: Source,
    to: str,
    more: dict[str, Any],
    sending: Sending,
    later: SentLater,
    connecting: options.ToBroker,
    *,
    quiet: bool,
    json: bool,
) -> int:
    """What is not sent now is kept: on disk, or by the broker. Returns the status."""
    if later.is_asked:
        flags: dict[str, object] = {
            "--from-json": sending.from_json,
            "--repeat": sending.repeat,
            "--volatile": sending.volatile,
        }
        later.check(source, flags | {"--spool": sending.spool})
        return later.send(source, to, more, connecting, quiet=quiet, json=json)
    from zchat.cli import spooling

    return spooling.send(source, to, more, connecting, sending.repeat or 1)
