"""`zchat listen`: messages as they come, from any point of the past on."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer

from zchat.cli import choosing, completion, options, paths, sharing
from zchat.cli.connecting import connect
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat.cli.printer import Printer

OPTION_ALIASES = {"C": "n", "c": "n", "W": "t", "F": "f", "limit": "count", "poll": "end"}
"""mosquitto_sub: -C -W -F; kcat: -c; ntfy: --poll; the API: limit."""
Count: TypeAlias = Annotated[
    int | None, typer.Option("--count", "-n", metavar="N", min=1, help="End after N messages are printed.")
]
EndsWithHistory: TypeAlias = Annotated[
    bool, typer.Option("--end", "-e", help="End where history ends; without a start, begin at its beginning.")
]
Resume: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="NAME",
        help="Go on where the last listener of this name of yours ended, on any machine; see zchat cursors.",
        autocompletion=completion.cursors,
    ),
]
Exec: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--exec",
        metavar="COMMAND",
        help="Run a command of the shell for each message, instead of printing it: its body is on stdin.",
    ),
]
Jobs: TypeAlias = Annotated[
    int | None, typer.Option("--jobs", metavar="N", min=1, help="Run up to N commands at once.  [default: 1]")
]
Retries: TypeAlias = Annotated[
    int | None, typer.Option("--retries", metavar="N", min=0, help="Try a command that fails up to N times more.")
]
Save: TypeAlias = Annotated[
    Path | None,
    paths.option("--save", metavar="DIR", help="Write files that come into a folder."),
]
ExpectEvery: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--expect-every", metavar="SECONDS", parser=options.duration, help="End with 5 when nothing came for so long."
    ),
]


class Ending(NamedTuple):
    """When it ends; see groups.py."""

    until: choosing.End = None
    messages: Count = None
    timeout: options.Timeout = None
    end: EndsWithHistory = False


class Executing(NamedTuple):
    """What is done with each message, in the place of printing it; see groups.py."""

    exec_: Exec = None
    jobs: Jobs = None
    retries: Retries = None
    save: Save = None

    def check(self, output: options.Printed) -> None:
        """Refuse what cannot go together."""
        instead = {"--json": output.json or None, "--format": output.template, "--raw": output.raw or None}
        options.only_one({"--exec": self.exec_, **instead})
        options.only_one({"--save": self.save, "--exec": self.exec_, **instead, "--json": None})
        if self.exec_ is None and (self.jobs or self.retries):
            raise UsageError(f"{'--jobs' if self.jobs else '--retries'} goes with --exec")


def listen(
    patterns: options.Patterns,
    *,
    beginning: options.Beginning,
    ending: Ending,
    chosen: choosing.Choosing,
    inbox: options.Inbox = False,
    presence: options.Presence = False,
    output: options.Printed,
    executing: Executing,
    expect_every: ExpectEvery = None,
    resume: Resume = None,
    shared: sharing.Sharing,
    verbose: options.Verbose = False,
    connecting: options.ToBroker,
) -> None:
    """Print the messages of rooms as they come.

    Nothing is missed: when the connection breaks, it comes back by itself and prints what was sent
    meanwhile. To listen to a room is to join it; a pattern only observes. Direct messages come to your
    inbox, @me: no pattern stands for it.

    Examples:
      zchat listen general
      zchat listen @me --last 10
      zchat listen '**' --inbox
      zchat listen general --last 20 --presence
      zchat listen 'sensors.**' --last-per-room 1
      zchat listen 'build.**' --since 2h --json
      zchat listen 'build.**' --event failed --from ci -H branch=main --exclude 'build.try.**'
      zchat listen ops --since 2026-09-20 --until 2026-09-21 --grep '(?i)disk'
      zchat listen load -n 100000 --raw
      zchat listen general --end --format '{time} {user}: {body}'
      zchat listen 'orders.*' --resume billing --json
      zchat listen deploys --resume deployer --exec './deploy "$ZCHAT_FROM"' --retries 3
      zchat listen reports --save ~/reports --resume saver
      zchat listen jobs --group workers --exec ./work --ack-wait 10m
      zchat listen backups --expect-every 25h || mail -s 'no backup' ops@example.org
    """
    begin, until, end = beginning.checked(), ending.until, ending.end
    choice = choosing.Choice(chosen)
    presence = presence or choice.of_presence
    output.check(presence)
    executing.check(output)
    alone = {"--resume": resume, "--presence": presence, "--end": end, "--until": until, "--save": executing.save}
    shared.check({**alone, "--expect-every": expect_every})
    options.only_one({"--end": end or None, "--resume": resume, "--expect-every": None if resume else expect_every})
    options.only_one({"--until": until, "--resume": resume})
    options.only_one({"--last-per-room": beginning.last_per_room, "--resume": resume})
    from zchat.cli import inboxes
    from zchat.cli.live import Ends, Follower
    from zchat.names import cursor_name

    patterns, resume = inboxes.asked(patterns, with_own=inbox), None if resume is None else cursor_name(resume)
    command, jobs, *_ = executing
    printer = _printer(patterns, output, executing, verbose=verbose, cursor=resume, of_group=shared.group is not None)
    ends = Ends(ending.messages, ending.timeout, until, expect_every)
    broker, user, wait = connecting
    with connect(broker, user, wait=wait, timeout=wait) as client, closing(printer):
        patterns = [inboxes.of(client.user, pattern) for pattern in patterns]
        options.check_log(beginning.after, client.log_id)
        begin = choosing.begin(client, patterns, begin, choice, until)
        if shared.group is not None:
            sharing.refuse_choice(client, choice)
        printer.begin(client, choice)
        follower = Follower(printer, ends, patterns, presence=presence)
        if end or (until is not None and until.is_over):
            past = client.history(*patterns, **begin, presence=presence, on_notice=printer.notice, timeout=ends.left)
            printer.print_past(choosing.up_to(until, past), ending.messages, ends.deadline)
            raise typer.Exit(printer.status)
        subscription = client.listen(
            *patterns,
            **begin,
            presence=presence,
            resume=resume,
            auto_commit=False,
            on_notice=follower.notice,
            **shared.options(None if command is None else jobs or 1),
        )
        follower.run(subscription, client, resume, commits=shared.group is not None and command is None)
    raise typer.Exit(follower.status())


def _printer(
    patterns: list[str],
    output: options.Printed,
    executing: Executing,
    *,
    verbose: bool,
    cursor: str | None,
    of_group: bool,
) -> Printer:
    """What is done with each message."""
    from zchat.cli.executing import Executor, GroupExecutor
    from zchat.cli.printer import Printer
    from zchat.cli.saving import Saver

    command, jobs, retries, folder = executing
    if folder is not None:
        return Saver(patterns, folder, json=output.json, verbose=verbose, cursor=cursor)
    if command is None:
        return Printer(patterns, json=output.json, template=output.template, raw=output.raw, verbose=verbose)
    kind = GroupExecutor if of_group else Executor
    return kind(patterns, command, jobs=jobs or 1, retries=retries or 0, verbose=verbose, cursor=cursor)
