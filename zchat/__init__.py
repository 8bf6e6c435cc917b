"""zchat: a ZeroMQ pub/sub message broker with a command line.

Everything a program needs is here, and imported when it is first used:

    import zchat

    with zchat.connect() as client:
        client.send("general", "hello")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from zchat.client import Client, connect
    from zchat.core.gaps import Notice
    from zchat.errors import (
        BadAddress,
        BadFile,
        BadKey,
        BadName,
        Closed,
        KeyRefused,
        LogError,
        Refused,
        StartError,
        TimedOut,
        TooLarge,
        Unreachable,
        UsageError,
        WireError,
        ZchatError,
    )
    from zchat.message import Job, Message, RoomState
    from zchat.receiving import FileReceiver, SavedFile
    from zchat.sockets.publication import Publication
    from zchat.subscription import Subscription
    from zchat.wire import Cursor, Group, Member, PendingRun, Room, ScheduledMessage

_HOMES = {
    "zchat.client": ("Client", "connect"),
    "zchat.core.gaps": ("Notice",),
    "zchat.errors": (
        "BadAddress",
        "BadFile",
        "BadKey",
        "BadName",
        "Closed",
        "KeyRefused",
        "LogError",
        "Refused",
        "StartError",
        "TimedOut",
        "TooLarge",
        "Unreachable",
        "UsageError",
        "WireError",
        "ZchatError",
    ),
    "zchat.message": ("Job", "Message", "RoomState"),
    "zchat.receiving": ("FileReceiver", "SavedFile"),
    "zchat.sockets.publication": ("Publication",),
    "zchat.subscription": ("Subscription",),
    "zchat.wire": ("Cursor", "Group", "Member", "PendingRun", "Room", "ScheduledMessage"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BadAddress",
    "BadFile",
    "BadKey",
    "BadName",
    "Client",
    "Closed",
    "Cursor",
    "FileReceiver",
    "Group",
    "Job",
    "KeyRefused",
    "LogError",
    "Member",
    "Message",
    "Notice",
    "PendingRun",
    "Publication",
    "Refused",
    "Room",
    "RoomState",
    "SavedFile",
    "ScheduledMessage",
    "StartError",
    "Subscription",
    "TimedOut",
    "TooLarge",
    "Unreachable",
    "UsageError",
    "WireError",
    "ZchatError",
    "connect",
]


if not TYPE_CHECKING:  # a checker that saw it would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import on first use: `import zchat` alone costs nothing (PEP 562)."""
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module 'zchat' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """What programs may use, also what has not been imported yet: shells complete it."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
