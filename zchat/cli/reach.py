"""The options that say who can reach a broker: where it listens, and whether that is open to whoever comes.

Tests: tests/cli/test_broker.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from zchat.cli import options
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat.address import Address, Published

OPEN = (
    "{0} can be reached from other machines, and who comes may read and write every room: let in only who has a key "
    "(zchat broker --bind '{0}' --keys DIR, and for each user zchat keys invite NAME --keys DIR), "
    "or add --insecure if everybody there may"
)


class Reach(NamedTuple):
    """Where a broker listens, and for whom."""

    bind: Annotated[
        str,
        typer.Option(
            "--bind", metavar="ADDRESS", envvar="ZCHAT_BIND", help="tcp://HOST:PORT, tcp://*:PORT or ipc://PATH."
        ),
    ] = options.DEFAULT_BIND
    advertise: Annotated[
        str | None,
        typer.Option(
            "--advertise",
            metavar="[HOST:]PORT",
            envvar="ZCHAT_ADVERTISE",
            help="Where clients find the second port, if a container or NAT gives it another number or host.",
        ),
    ] = None
    keys: options.KeysFolder = None
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Listen for other machines without keys: whoever comes may read and write all."
        ),
    ] = False


def listening(reach: Reach) -> tuple[Address, Published | None]:
    """Where it is to listen, and what it tells clients of its second port. Raises UsageError, BadAddress."""
    from zchat import address

    at = address.parse_bind(reach.bind)
    published = None if reach.advertise is None else address.parse_published(reach.advertise)
    if published and at.scheme == "ipc":
        raise UsageError("--advertise names a port, and an ipc broker has none")
    if reach.keys and reach.insecure:
        raise UsageError("--keys lets in only who has a key, --insecure whoever comes: not both")
    if not (at.is_local or reach.keys or reach.insecure):
        raise UsageError(OPEN.format(reach.bind))
    return at, published
