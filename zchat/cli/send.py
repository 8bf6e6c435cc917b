"""`zchat send`: one message from the arguments or a file, or a message a line from stdin."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from zchat.cli import completion, exit_status, options, paths, streams
from zchat.cli.connecting import connect
from zchat.cli.later import SentLater, keep
from zchat.errors import UsageError, ZchatError

if TYPE_CHECKING:
    from zchat import Notice

OPTION_ALIASES = {"q": "quiet"}

Room: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="ROOM", help="Room, or @user.", autocompletion=completion.targets)
]
Text: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TEXT...]", help="The message; none or - reads stdin, a message a line."),
]
File: TypeAlias = Annotated[
    Path | None,
    paths.option("--file", metavar="PATH", help="Send a file; a large one in pieces."),
]
Whole: TypeAlias = Annotated[bool, typer.Option("--whole", help="Send all of stdin as one message.")]
FromJson: TypeAlias = Annotated[
    bool,
    typer.Option("--from-json", help="Send what listen --json prints, an object a line; without ROOM, to their rooms."),
]
Event: TypeAlias = Annotated[str, typer.Option("--event", metavar="NAME", help="What kind of message it is.")]
Header: TypeAlias = Annotated[
    list[str] | None, typer.Option("--header", "-H", metavar="K=V", help="A header, also K:V; may be repeated.")
]
Repeat: TypeAlias = Annotated[int | None, typer.Option(metavar="N", min=1, help="Send the message N times.")]
Delay: TypeAlias = Annotated[
    float | None, typer.Option(metavar="SECONDS", parser=options.duration, help="Wait so long between them.")
]
Volatile: TypeAlias = Annotated[bool, typer.Option("--volatile", help="Do not store it; only who listens now gets it.")]
Expire: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", parser=options.duration, help="Show it to nobody after so long: 10m, 2h."),
]
ToSpool: TypeAlias = Annotated[
    bool, typer.Option("--spool", help="Keep it on disk first; it is sent when the broker is there, once.")
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say on stderr when the broker is lost and back, as on a terminal.")
]


class Sending(NamedTuple):
    """What is sent, and how; see groups.py."""

    file: File = None
    whole: Whole = False
    from_json: FromJson = False
    event: Event = "message"
    header: Header = None
    repeat: Repeat = None
    delay: Delay = None
    volatile: Volatile = False
    expire: Expire = None
    spool: ToSpool = False

    def check(self, room: str | None, json: bool) -> None:
        """Refuse what cannot go together."""
        if room is None and json:
            raise UsageError("--json needs a ROOM: without one, --from-json sends to several")
        if self.spool:
            options.only_one({"--spool": True, "--json": json or None})
            options.only_one({"--spool": True, "--from-json": self.from_json or None})

    def beside_body(self, headers: dict[str, str]) -> dict[str, Any]:
        """For `publish`: only what is not the default, as it is passed with every message."""
        more: dict[str, Any] = {}
        if self.event != "message":
            more["event"] = self.event
        if self.header or headers:
            more["headers"] = headers | dict(map(options.header, self.header or ()))
        if self.volatile:
            more["volatile"] = True
        if self.expire is not None:
            more["expire"] = self.expire
        return more


def send(
    ctx: typer.Context,
    room: Room = None,
    text: Text = None,
    *,
    sending: Sending,
    later: SentLater,
    quiet: Quiet = False,
    json: options.Json = False,
    verbose: Verbose = False,
    connecting: options.ToBroker,
) -> None:
    """Send messages to a room.

    It ends when the broker has stored them all. Stdin is read only once the broker is there.

    Examples:
      zchat send general Hello, world
      zchat send @alice 'lunch?'
      zchat send general --file notes.txt
      zchat send general --file recording.mp4
      git log -1 | zchat send general - --whole
      seq 100000 | zchat send load
      tail -f app.log | zchat send ops.web --event log -H host=web1
      zchat send general tick --repeat 10 --delay 1s
      zchat listen ops --json | zchat send copies.ops --from-json
      zchat send --json general hi
      zchat send backups 'backup of web1 done' --spool
      zchat send team 'stand-up!' --at 9:30
      zchat send team 'coffee is ready' --expire 10m
    """
    file, whole, from_json, _, _, repeat, delay, _, _, spool = sending
    if room is None and not from_json:
        ctx.fail("Missing argument 'ROOM'")
    sending.check(room, json)
    from zchat.cli import bodies, inboxes
    from zchat.cli.sender import Sender
    from zchat.names import room_name

    is_watched = sys.stderr.isatty() and not quiet
    to = "" if room is None else room_name(room)  # before stdin is touched
    source = bodies.Source(text, file, whole=whole, from_json=from_json, repeat=repeat, delay=delay, room=to)
    more, sender = sending.beside_body(source.headers), None
    if source.large and more.keys() - {"headers"}:
        raise UsageError(f"{file} is larger than a message: it is not sent with --{min(more.keys() - {'headers'})}")
    broker, user, wait = connecting
    if spool or later.is_asked:
        raise typer.Exit(keep(source, to, more, sending, later, connecting, quiet=quiet, json=json))
    try:
        with connect(broker, user, wait=wait, on_notice=_notice if verbose or is_watched else None) as client:
            to = inboxes.of(client.user, to)
            publish = partial(client.publish, to, **more)
            if from_json:
                publish = partial(bodies.publish_json, client, to, more)
            sender = Sender(client, publish, wait, to if json else "")
            if is_watched and not json and to.startswith("@"):
                exit_status.tell(f"only {to[1:]} can read this, with: zchat listen @me")
            with _in_our_words():
                if source.is_lines:
                    if is_watched and os.isatty(streams.STDIN) and not from_json:
                        exit_status.tell(f"each line is a message to {to}; Ctrl-D ends")
                    for lines in bodies.read_lines(sender.before_read, sender.takes, source.longest):
                        sender.lines(lines)
                elif source.large:
                    sender.file(source.large, to, more.get("headers"))
                else:
                    sender.repeated(source.body(), repeat or 1, delay or 0.0)
                sender.finish()
    finally:
        is_told = isinstance(sys.exc_info()[1], ZchatError)
        # Of one message the error says it all.
        if sender is not None and (sender.sent > 1 or not is_told) and (lost := sender.what_is_lost()):
            exit_status.tell(lost)
    if is_watched and not json and sender.sent > 1:
        exit_status.tell(f"{sender.sent} messages sent")
    raise typer.Exit(1 if sender.left_out else 0)


@contextmanager
def _in_our_words() -> Iterator[None]:
    """What is lost by an error the client warns of, too: that is for programs."""
    try:
        yield
    except BaseException:
        import logging  # 10 ms

        logging.getLogger("zchat").disabled = True
        raise


def _notice(notice: Notice) -> None:
    """Lost and back, as a listener says it."""
    from zchat.cli.output import notice_text

    exit_status.tell("back, what waited is sent" if notice.kind == "back" else notice_text(notice))
