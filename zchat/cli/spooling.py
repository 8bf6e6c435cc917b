"""`send --spool`: messages are kept on disk, and sent when the broker is there.

Docs: docs/cli.md, "An outbox on disk". Tests: tests/test_spool.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zchat.cli import exit_status, home, inboxes
from zchat.errors import UsageError, ZchatError

if TYPE_CHECKING:
    from zchat.cli.bodies import Source
    from zchat.cli.options import ToBroker
    from zchat.spool import Spool

WAIT_SECONDS_MAX = 1.0  # for the broker, by who only adds: what is kept is safe, and others need not wait


def folder() -> Path:
    """Where the spools are: ZCHAT_SPOOL, else in the user's folder for such things."""
    if given := os.environ.get("ZCHAT_SPOOL"):
        return Path(given)
    if not os.environ.get("XDG_STATE_HOME"):
        home.need("name the folder of the spool with ZCHAT_SPOOL")
    from platformdirs import user_state_dir

    return Path(user_state_dir("zchat", appauthor=False)) / "spool"


def send(source: Source, to: str, more: dict[str, Any], connecting: ToBroker, times: int) -> int:
    """Keep all of it, then send what waits, if the broker is there. Returns the exit status: 0 once it is kept."""
    from zchat.cli import bodies
    from zchat.spool import Spool

    if "volatile" in more or source.large:
        what = "a volatile message is not kept" if "volatile" in more else f"{source.large} is larger than a message"
        raise UsageError(f"{what}: it does not go with --spool")
    spool = Spool(folder(), connecting.broker, connecting.user)
    room = inboxes.of(spool.user, to)
    if source.is_lines:
        for lines in bodies.read_lines(_nothing, _nothing, source.longest):
            spool.add(room, lines, **more)
    else:
        spool.add(room, [source.body()] * times, **more)
    try:
        flush(spool, min(connecting.wait, WAIT_SECONDS_MAX))
    except ZchatError as error:
        if sys.stderr.isatty():
            exit_status.tell(f"kept, and not sent yet: {error}")
    return 0


def flush(spool: Spool, wait: float) -> int:
    """Send what waits. Returns how many were put aside. Raises Unreachable, Refused."""
    flushed = spool.flush(wait, exit_status.tell)
    return 0 if flushed is None else flushed.aside


def _nothing(*_: object) -> None:
    """Nobody prints acks, and nobody is told what is lost: all is kept."""
