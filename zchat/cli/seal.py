"""`zchat seal`: the keys of sealed rooms, which the broker never has."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from zchat.cli import completion, exit_status, options, streams
from zchat.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from zchat.ring import KeyRing


LINE_BYTES_MAX = 65_536  # of an invite, on standard input


class SealAction(StrEnum):
    """What to do with the keys of a room."""

    new = "new"
    invite = "invite"
    accept = "accept"
    rotate = "rotate"
    forget = "forget"
    list = "list"


def seal(
    action: Annotated[SealAction, options.action(SealAction)],
    room: Annotated[
        str | None,
        typer.Argument(
            metavar="[ROOM]", help="A room; accept: the invite's line, else stdin.", autocompletion=completion.rooms
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Argument(metavar="[USER]", help="invite: for whom, as a note.", autocompletion=completion.users),
    ] = None,
    old: Annotated[
        bool, typer.Option("--old", help="invite: with the older keys, so that what was sealed with them is read.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Keep the keys of sealed rooms.

    What goes to a room of which you have a key is encrypted, and only those who have the key can read it: not
    the broker, nor who operates it. new makes the first key; invite prints a line that gives it to somebody,
    who says accept. rotate makes a younger key, for when somebody has left: invite the others anew. Hand an
    invite over in secret, and not through the broker: whoever has the line reads the room.

    Examples:
      zchat seal new team
      zchat seal invite team bob
      zchat seal accept 'zchat-seal:team:...'
      zchat seal rotate team
      zchat seal list
    """
    _check(action, room, user, old=old, json=json)
    from zchat.cli import inboxes
    from zchat.names import room_name, user_name
    from zchat.ring import KeyRing

    ring = KeyRing(_folder())
    if action is SealAction.list:
        _list(ring, json=json)
    elif action is SealAction.accept:
        _accept(ring, room)
    else:
        assert room is not None, "checked"
        name = room_name(room)
        if name == inboxes.ME:
            raise UsageError("a key is kept under the name of an inbox in full, as @alice")
        if action is SealAction.new:
            _need_cipher()
            ring.new(name)
            exit_status.tell(f"{name} is sealed for you from now on; zchat seal invite {name} lets others in")
        elif action is SealAction.rotate:
            _rotate(ring, name)
        elif action is SealAction.forget:
            ring.forget(name)
            exit_status.tell(f"{name} has no key here any more: what you send there is open")
        else:
            print(ring.invite(name, None if user is None else user_name(user), old=old))
            exit_status.tell(f"whoever has this line reads {name}: hand it over in secret, not through the broker")


# --- parts --------------------------------------------------------------------------------------


def _check(action: SealAction, room: str | None, user: str | None, *, old: bool, json: bool) -> None:
    """Refuse what cannot go together."""
    if action is SealAction.list and room is not None:
        raise UsageError("list takes no ROOM: it shows all of them")
    if action not in (SealAction.list, SealAction.accept) and room is None:
        raise UsageError(f"{action} needs a ROOM")
    if action is not SealAction.invite and (old or user is not None):
        raise UsageError(f"{'--old' if old else 'USER'} goes with invite only")
    if json and action is not SealAction.list:
        raise UsageError("--json goes with list only")


def _folder() -> Path:
    from zchat import profile

    folder = profile.ring_folder()
    if folder is None:
        raise UsageError("there is no home directory for the keys of rooms: set HOME, XDG_CONFIG_HOME or ZCHAT_CONFIG")
    return folder


def _need_cipher() -> None:
    """Raises UsageError: better now than at the first message."""
    from zchat.sealing import cipher

    cipher()


def _accept(ring: KeyRing, line: str | None) -> None:
    _need_cipher()
    if line in (None, "-"):
        if sys.stdin.isatty():
            exit_status.tell("paste the line of the invite")
        line = streams.standard_input().readline(LINE_BYTES_MAX).decode(errors="replace")
    taken = ring.accept_line(line or "")
    keys = "1 key" if len(taken.keys) == 1 else f"{len(taken.keys)} keys"
    exit_status.tell(f"{taken.room} is sealed for you, with {keys}; zchat listen {taken.room}")


def _rotate(ring: KeyRing, room: str) -> None:
    given = ring.read_or_refuse(room).given
    ring.rotate(room)
    anew = f"invite anew who is to read on: {', '.join(given)}" if given else "invite anew who is to read on"
    exit_status.tell(f"a younger key seals {room} from now on; {anew}", f"zchat seal invite {room} USER")


def _list(ring: KeyRing, *, json: bool) -> None:
    from zchat.cli import output

    found = [ring.read_or_refuse(room) for room in sorted(ring.rooms())]
    if not json:
        rows = [
            [each.room, str(len(each.keys)), output.local_time(each.keys[-1].made * 1_000_000), ", ".join(each.given)]
            for each in found
        ]
        sys.stdout.write(output.table(("ROOM", "KEYS", "SINCE", "GIVEN TO"), rows))
        return
    for each in found:
        since = output.rfc3339(each.keys[-1].made * 1_000_000)
        facts = {"room": each.room, "keys": len(each.keys), "since": since, "given": list(each.given)}
        sys.stdout.write(output.object_line(facts, terminal=sys.stdout.isatty()).decode() + "\n")
