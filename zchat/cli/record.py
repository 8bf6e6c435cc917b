"""`zchat record`: the messages of rooms, written to the end of a file."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from zchat.cli import choosing, options, paths
from zchat.cli.connecting import connect
from zchat.errors import UsageError


def record(
    file: Annotated[Path, paths.argument(metavar="FILE", help="Where to.")],
    patterns: options.Patterns,
    *,
    beginning: options.Beginning,
    chosen: choosing.Choosing,
    inbox: options.Inbox = False,
    presence: options.Presence = False,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="NAME", help="Cursor to go on by; else one that FILE names.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", metavar="N", min=1, help="End after N messages are written.")
    ] = None,
    timeout: options.Timeout = None,
    verbose: options.Verbose = False,
    connecting: options.ToBroker,
) -> None:
    """Write the messages of rooms to the end of a file.

    A message is a line, as listen --json prints it. Started again with the same FILE it goes on where it
    ended, however it ended, and each message is in the file once. Where to begin counts the first time only.

    Examples:
      zchat record ops.jsonl 'ops.**'
      zchat record all.jsonl '**' --since all
    """
    begin, choice = beginning.checked(), choosing.Choice(chosen)
    if beginning.last_per_room:
        raise UsageError("--last-per-room is no place from which to go on the next time")
    presence = presence or choice.of_presence
    from zchat.cli import inboxes
    from zchat.cli.live import Ends, Follower
    from zchat.cli.recording import Recorder
    from zchat.names import cursor_name

    name = cursor_name(resume if resume is not None else _cursor_of(file))
    patterns = inboxes.asked(patterns, with_own=inbox)
    recorder = Recorder(patterns, file, verbose=verbose)
    broker, user, wait = connecting
    with closing(recorder), connect(broker, user, wait=wait, timeout=wait) as client:
        patterns = [inboxes.of(client.user, pattern) for pattern in patterns]
        options.check_log(beginning.after, client.log_id)
        begin = choosing.begin(client, patterns, begin, choice, None)
        recorder.begin(client, choice)
        follower = Follower(recorder, Ends(count, timeout, None), patterns, presence=presence)
        subscription = client.listen(
            *patterns, **begin, presence=presence, resume=name, auto_commit=False, on_notice=follower.notice
        )
        follower.run(subscription, client, name)
    raise typer.Exit(follower.status())


def _cursor_of(file: Path) -> str:
    """The same for the same path on the same machine, and hardly for another."""
    import socket

    path = f"{socket.gethostname()}\0{file.resolve()}"
    return f"record-{hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()[:16]}"
