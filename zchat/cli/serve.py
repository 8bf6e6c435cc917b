"""`zchat serve`: a command answers the requests to a room."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from zchat.cli import completion, exit_status, options
from zchat.cli.connecting import connect
from zchat.cli.interrupts import interrupts

if TYPE_CHECKING:
    from zchat import Message

STDERR_BYTES_MAX = 300  # of a command that failed, are told to who asked


def serve(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="A room.", autocompletion=completion.rooms)],
    exec_: Annotated[
        str,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="A command of the shell: what is asked is on its stdin, what it prints is the reply.",
        ),
    ],
    group: Annotated[
        str | None, typer.Option("--group", metavar="NAME", help="Of several replies, each group gives one first.")
    ] = None,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Have a command answer the requests to a room.

    One runs at a time; start it more than once for more. A command that fails is told to who asked, with the
    end of what it wrote on stderr.

    Examples:
      zchat serve time --exec date
      zchat serve up --exec 'tr a-z A-Z'
    """
    from zchat.cli.executing import CommandFailed

    ended = threading.Event()
    with connect(broker, user, wait=wait, timeout=wait) as client:
        told = dict(os.environ) | {"ZCHAT_BROKER": client.address, "ZCHAT_USER": client.user}

        def answer(message: Message) -> bytes:
            asked = {
                "ZCHAT_ROOM": message.room,
                "ZCHAT_FROM": message.user,
                "ZCHAT_SEALED": "1" if message.sealed else "",
            }
            done = subprocess.run(["/bin/sh", "-c", exec_], input=message.body, capture_output=True, env=told | asked)
            if done.returncode:
                why = done.stderr[-STDERR_BYTES_MAX:].decode(errors="replace").strip()
                text = f"the command failed with status {done.returncode}{f': {why}' if why else ''}"
                exit_status.tell(f"{text} (asked by {message.user})")
                raise CommandFailed(text)
            return done.stdout

        with client.serve(room, answer, group=group, max_in_flight=1), interrupts.passing():
            ended.wait()
