"""`listen --group`: the options of a member of a group, and a command for each of its messages.

Rules of this file: a message is acked when it is printed or its command succeeded, and nacked when that failed.
Docs: docs/cli.md, "Shared work". Tests: tests/test_groups.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from zchat.cli import completion, options
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat import Client
    from zchat.cli.choosing import Choice

GroupName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="NAME",
        help="Share the room's messages with all who name this group: each goes to one; see zchat groups.",
        autocompletion=completion.groups,
    ),
]
MaxInFlight: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-in-flight", metavar="N", min=1, help="Have up to N messages at a time.  [default: 16, or that of --jobs]"
    ),
]
AckWait: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--ack-wait",
        metavar="SECONDS",
        parser=options.duration,
        help="After so long a message that is not done goes to another.  [default: 30s]",
    ),
]
MaxDeliveries: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-deliveries",
        metavar="N",
        min=0,
        help="What failed so often goes to the room ROOM.dead; 0: never.  [default: 5]",
    ),
]


class Sharing(NamedTuple):
    """What a member of a group says; see groups.py."""

    group: GroupName = None
    max_in_flight: MaxInFlight = None
    ack_wait: AckWait = None
    max_deliveries: MaxDeliveries = None

    def options(self, jobs: int | None) -> dict[str, Any]:
        """Arguments of `client.listen`; `jobs`: so many commands run at once."""
        if self.group is None:
            return {}
        told = {"max_in_flight": self.max_in_flight or jobs, "ack_wait": self.ack_wait}
        told["max_deliveries"] = self.max_deliveries
        return {"group": self.group, **{name: value for name, value in told.items() if value is not None}}

    def check(self, others: dict[str, Any]) -> None:
        """Refuse what cannot go together: `others` are the options that are for listeners alone."""
        if self.group is None:
            given = {"--max-in-flight": self.max_in_flight, "--ack-wait": self.ack_wait}
            given["--max-deliveries"] = self.max_deliveries
            if alone := next((name for name, value in given.items() if value is not None), ""):
                raise UsageError(f"{alone} goes with --group")
            return
        for name, value in others.items():
            options.only_one({"--group": self.group, name: value or None})


def refuse_choice(client: Client, choice: Choice) -> None:
    """Who takes a message of a group does it: none is passed over."""
    if not choice.is_all:
        raise UsageError("a member of a group takes all that it is handed: nothing is chosen or left out")
