"""`zchat request`: ask who serves a room, and print the reply."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from zchat.cli import completion, options
from zchat.cli.connecting import connect
from zchat.printable import printable

if TYPE_CHECKING:
    from zchat import Message


def request(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="A room.", autocompletion=completion.rooms)],
    text: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT...]", help="What is asked; - or none: all of stdin.")
    ] = None,
    replies: Annotated[
        int, typer.Option("--replies", metavar="N", min=1, max=1024, help="Ask N servers, and print what each says.")
    ] = 1,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", "-t", metavar="SECONDS", parser=options.duration, help="How long to wait for replies."
        ),
    ] = 5.0,
    retry: Annotated[
        bool, typer.Option("--retry", help="Ask another where one dies before it replied: it may be done twice.")
    ] = False,
    json: options.Json = False,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Ask who serves a room, and print the reply.

    Where nobody serves the room, that is said at once, and so it is when the one who was asked dies. Nothing
    is stored. The status is 4 then, and 124 where no reply came in time.

    Examples:
      zchat request time now
      echo hello | zchat request up
      zchat request status all --replies 3 --timeout 2s --json
    """
    from zchat.cli import output, streams
    from zchat.errors import TimedOut

    body: bytes | str = " ".join(text or [])
    if not text or text == ["-"]:
        body = streams.standard_input().read()
    with connect(broker, user, wait=wait, timeout=wait) as client:
        messages = client.request(room, body, timeout=timeout, replies=replies, retry=retry)
        found = messages if isinstance(messages, list) else [messages]
        terminal = sys.stdout.isatty()
        shown = (
            output.json_lines(output.KnownLog(), terminal=terminal) if json else on_terminal if terminal else as_it_is
        )
    streams.watch_reader()
    for message in found:
        line = shown(message)
        is_line = json or replies > 1
        sys.stdout.buffer.write(line + b"\n" if is_line and not line.endswith(b"\n") else line)
    if len(found) < replies:
        from zchat.cli import exit_status

        exit_status.tell(f"{len(found)} of {replies} replies came")
        raise typer.Exit(TimedOut.exit_status)


def as_it_is(message: Message) -> bytes:
    """A reply, byte for byte."""
    return message.body


def on_terminal(message: Message) -> bytes:
    """A reply with nothing that a terminal would act on; what is typed next is on a line of its own."""
    text = printable(message.text, newlines=True)
    return f"{text}\n".encode() if text and not text.endswith("\n") else text.encode()
