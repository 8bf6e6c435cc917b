"""`zchat run`: a command, and a message that tells how it ended."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import time
from types import FrameType
from typing import Annotated

import typer

from zchat.cli import children, completion, exit_status, options
from zchat.cli.connecting import connect
from zchat.cli.interrupts import interrupts
from zchat.errors import ZchatError

COMMAND_CHARACTERS_MAX = 1_024
NOT_FOUND, NOT_STARTED, BY_SIGNAL = 127, 126, 128  # as shells have it
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


def run(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="Room, or @user.", autocompletion=completion.targets)],
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="A command and its arguments.")],
    event: Annotated[str, typer.Option("--event", metavar="NAME", help="What kind of message it is.")] = "run",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="K=V", help="A header, also K:V; may be repeated.")
    ] = None,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Send nothing when it succeeded.")] = False,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Run a command, and send to a room how it ended.

    It ends with the status of the command, which has this terminal as if it were alone.

    Examples:
      zchat run backups -- rsync -a /home /backup
      zchat run ops --only-failed -H job=nightly -- ./nightly.sh
    """
    from zchat.names import room_name, user_name

    to, headers = room_name(room), dict(map(options.header, header or ()))
    if user is not None:
        user_name(user)  # before anything is run
    began = time.monotonic()
    status, outcome = _outcome(command)
    seconds = time.monotonic() - began
    if status == 0 and only_failed:
        return
    line = shlex.join(command)[:COMMAND_CHARACTERS_MAX]
    facts = {"command": line, "status": str(status), "seconds": f"{seconds:.1f}", "host": socket.gethostname()}
    try:
        from zchat.cli import inboxes

        with connect(broker, user, wait=wait, timeout=wait) as client:
            body = f"{line}: {outcome} after {seconds:.1f} s".encode(errors="replace")
            client.send(inboxes.of(client.user, to), body, event=event, headers=facts | headers)
    except ZchatError as error:
        if status == 0:
            raise
        exit_status.tell(str(error))
    if status == BY_SIGNAL + signal.SIGINT:
        interrupts.end_by(signal.SIGINT)  # a shell's loop ends too, as it does where the command runs alone
    raise typer.Exit(status)


def _outcome(command: list[str]) -> tuple[int, str]:
    """Its status, and that in words. What is to end us ends the command, and is told, too."""
    before = {signum: signal.getsignal(signum) for signum in (*PASSED_ON, signal.SIGINT)}
    came: list[int] = []
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(signum: int, _: FrameType | None) -> None:
        came.append(signum)
        for process in processes:
            process.send_signal(signum)

    for signum in before:
        if before[signum] is not signal.SIG_IGN:  # the terminal sends SIGINT to the command as well
            signal.signal(signum, pass_on if signum in PASSED_ON else lambda *_: None)
    try:
        processes.append(subprocess.Popen(command))
        for already in came:
            processes[0].send_signal(already)
        status = children.ended(processes[0])
    except OSError as error:
        exit_status.tell(f"{command[0]}: {error.strerror}")
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_STARTED
        return status, f"could not be started ({error.strerror})"
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if status < 0:
        return BY_SIGNAL - status, f"was ended by {signal.Signals(-status).name}"
    return status, f"failed with status {status}" if status else "done"
