"""Which right each message needs, in which rooms: a row for each kind that a client may send.

Rules of this file
1. Whoever names a room needs the right there, and is refused with `denied` without it, whether there is one or not.
2. A pattern is not refused: what it stands for and one may not have is left out of the answer, as is what is asked for
   without a name (views.py, questions.py), and of what comes by itself (ways.py).
3. What names no room, or takes back only one's own, needs nothing.

Spec: docs/protocol.md, "Rights". Tests: tests/core/test_needs.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from zchat import wire
from zchat.core.rights import ADMIN, HISTORY, PRESENCE, READ, WRITE, Rights
from zchat.errors import BadName, WireError
from zchat.names import is_pattern, pattern_name


class Need(NamedTuple):
    """A right, and the names of rooms or patterns where it is needed."""

    verb: str
    names: Callable[[Any], Sequence[str]]


def _room(message: Any) -> Sequence[str]:
    return (message.room,) if message.room else ()


def _rooms(message: Any) -> Sequence[str]:
    names: Sequence[str] = message.rooms
    return names


def _patterns(message: Any) -> Sequence[str]:
    names: Sequence[str] = message.patterns
    return names


NEEDS: dict[type, Need | None] = {
    wire.Hello: None,
    wire.Publish: Need(WRITE, _room),
    wire.Join: Need(READ, _rooms),
    wire.Part: None,
    wire.Fetch: Need(READ, _patterns),  # without `history` only what came since the session began
    wire.Seek: Need(HISTORY, _patterns),
    wire.Heads: Need(READ, _patterns),
    wire.Who: Need(PRESENCE, _room),
    wire.Rooms: None,
    wire.Report: None,
    wire.Bye: None,
    wire.Cursors: None,
    wire.SetCursor: None,
    wire.DropCursor: None,
    wire.From: None,  # what is in it has its own row
    wire.JoinGroup: Need(HISTORY, _room),  # a group hands out what was said before
    wire.Settle: None,  # of who is a member
    wire.Groups: Need(READ, _room),
    wire.SetGroup: Need(ADMIN, _room),
    wire.Latest: Need(HISTORY, _patterns),
    wire.Purge: Need(ADMIN, _room),
    wire.Schedule: Need(WRITE, _room),  # and again when it is due
    wire.Cancel: None,
    wire.Enroll: None,  # of a key: who may say it, its key says
    wire.Scheduled: None,
    wire.Subscribe: None,  # what one may not read does not come; of inboxes see questions.py
    wire.Search: Need(HISTORY, _patterns),
    wire.Call: Need(WRITE, _room),
    wire.Reply: None,  # of who was asked
    wire.Serve: Need(READ, _room),
}


def check(rights: Rights, user: str, message: wire.ClientMessage) -> None:
    """Raises BadName, WireError where the user may not say that."""
    need = NEEDS[type(message)]
    if need is None:
        return
    for name in need.names(message):
        if not is_pattern(name) and not rights.may(user, need.verb, name):
            if pattern_name(name) != name:
                raise BadName("room", name, "not in its canonical form")
            rights.check(user, need.verb, name)


def check_patterns(patterns: Sequence[str]) -> None:
    """Raises BadName, WireError for names that are not canonical, or too many of them."""
    if not 0 < len(patterns) <= wire.ROOMS_PER_MESSAGE_MAX:
        raise WireError("bad-request", f"{len(patterns)} names, limit {wire.ROOMS_PER_MESSAGE_MAX}")
    for pattern in patterns:
        if pattern_name(pattern) != pattern:
            raise BadName("pattern", pattern, "not in its canonical form")
