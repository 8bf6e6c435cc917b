"""The command line: the table of commands, and the one place where a command is chosen and ended.

Rules of this file
1. A command's module is imported when the command is chosen, by its name in `COMMANDS`; `zchat --help`
   imports none. Its function is named like the command.
2. Whatever a command raises ends here (`exit_status.py`): one line on stderr, a status of EXIT_STATUSES.
3. Data goes to stdout, everything else to stderr.

Docs: docs/cli.md. Tests: tests/cli/.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from zchat.cli import completion, exit_status, groups, guesses, home, streams, usage
from zchat.cli.interrupts import interrupts


class CommandRow(NamedTuple):
    """One command as `zchat --help` lists it."""

    module: str
    sentence: str  # the first line of the command's docstring; a test compares


COMMANDS: dict[str, CommandRow] = {
    "broker": CommandRow("zchat.cli.broker", "Run a broker."),
    "chat": CommandRow("zchat.cli.chat", "Chat in rooms, and with one user alone."),
    "send": CommandRow("zchat.cli.send", "Send messages to a room."),
    "listen": CommandRow("zchat.cli.listen", "Print the messages of rooms as they come."),
    "history": CommandRow("zchat.cli.history", "Print messages that were sent before."),
    "search": CommandRow("zchat.cli.search", "Find messages that have some words, newest first."),
    "who": CommandRow("zchat.cli.who", "Show who is in a room, or connected to the broker."),
    "rooms": CommandRow("zchat.cli.rooms", "List the rooms of the broker."),
    "request": CommandRow("zchat.cli.request", "Ask who serves a room, and print the reply."),
    "serve": CommandRow("zchat.cli.serve", "Have a command answer the requests to a room."),
    "groups": CommandRow("zchat.cli.work_groups", "List, move or remove the groups that share work."),
    "scheduled": CommandRow("zchat.cli.scheduled", "List or cancel what is to be sent later."),
    "cursors": CommandRow("zchat.cli.cursors", "List, set or remove the cursors of listeners."),
    "record": CommandRow("zchat.cli.record", "Write the messages of rooms to the end of a file."),
    "replay": CommandRow("zchat.cli.replay", "Send what was recorded, or what a room has, as it came."),
    "run": CommandRow("zchat.cli.run", "Run a command, and send to a room how it ended."),
    "spool": CommandRow("zchat.cli.spool", "Show, or send, what send --spool keeps on disk."),
    "purge": CommandRow("zchat.cli.purge", "Remove what a room has, for everybody."),
    "join": CommandRow("zchat.cli.join", "Join a broker that has keys, with an invite."),
    "keys": CommandRow("zchat.cli.keys", "Make, show, let in and keep out keys."),
    "seal": CommandRow("zchat.cli.seal", "Keep the keys of sealed rooms."),
    "web": CommandRow("zchat.cli.web", "Let browsers, Socket.IO clients and curl into the rooms."),
    "tcp": CommandRow("zchat.cli.tcp", "Let netcat, telnet and Node's net into the rooms."),
    "tokens": CommandRow("zchat.cli.tokens", "Make and take back tokens for zchat web and zchat tcp."),
    "ping": CommandRow("zchat.cli.ping", "Ask the broker for answers, and show how long they take."),
    "status": CommandRow("zchat.cli.status", "Show what the broker has: its log, sessions, users and rooms."),
    "log": CommandRow("zchat.cli.log", "Check, repair, export, import, back up or clear the log of a broker."),
}

ALIASES: dict[str, str] = {
    "pub": "send",  # nats, mosquitto_pub
    "publish": "send",  # ntfy, redis-cli
    "sub": "listen",  # nats, mosquitto_sub
    "subscribe": "listen",  # ntfy, redis-cli
    "server": "broker",
    "tail": "listen",  # tail(1), whose options are understood too
    "ls": "rooms",
}
"""What users of other tools type first. They work and are not listed."""

HELP_WIDTH_MAX = 100


class CommandWithExamples(TyperCommand):
    """A command whose help keeps the lines of its `Examples:` as they are."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`ROOM [TEXT...]`: typer writes what is required in braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Text wrapped, examples not."""
        text, _, examples = (self.help or "").partition("Examples:\n")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text.rstrip())
        if examples:
            with formatter.section("Examples"):
                for line in examples.splitlines():
                    formatter.write(f"{line.rstrip()}\n")


class Commands(TyperGroup):
    """The commands of `COMMANDS`, each imported when it is chosen."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported; None when there is none of that name."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        if name not in self.commands:
            with interrupts.loading():
                module = importlib.import_module(COMMANDS[name].module)
            self.commands[name] = _command(name, module)
        return self.commands[name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names; an error says which one was perhaps meant."""
        # The base class looks for near names among the commands that were imported already: none.
        command = self.get_command(ctx, args[0])
        if command is not None:
            return command.name, command, args[1:]
        if args[0].startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        meant = usage.suggestion(args[0], [*COMMANDS, *ALIASES], usage.COMMANDS_MEANT)
        return ctx.fail(f'no command "{args[0]}"{meant}')

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in `zchat --help`, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.sentence) for name, row in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Names that begin so, without importing what they stand for."""
        from typer._click.shell_completion import CompletionItem  # only while the shell completes

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        options = super(TyperGroup, self).shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=COMMANDS[name].sentence) for name in names] + options


def _command(name: str, module: Any) -> Any:
    """The command object of a command's module: its function, and the option names of other tools."""
    aliases: dict[str, str] = getattr(module, "OPTION_ALIASES", {})
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(
        name,
        cls=CommandWithExamples,
        context_settings={
            "max_content_width": HELP_WIDTH_MAX,
            "token_normalize_func": lambda option: aliases.get(option, option),
        },
    )(groups.ungrouped(getattr(module, name)))
    return typer.main.get_command(single)


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,  # drawing help with rich doubles the time of --help
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH_MAX},
)


def _print_version(asked: bool) -> None:
    if asked:
        from zchat import __version__

        typer.echo(f"zchat {__version__}")
        raise typer.Exit()


@app.callback(epilog="zchat COMMAND --help tells more. Start with: zchat broker")
def zchat(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Chat rooms for people, scripts and programs: a message broker and its tools."""


def main() -> None:
    """Run the command that sys.argv names, and exit with its status."""
    streams.be_utf_8()
    exit_status.end(exit_status.run(_run))


def _run() -> Any:
    if "--install-completion" in sys.argv[1:2]:
        home.need("it says where your shell's files are")
    sys.argv[1:] = guesses.understood(sys.argv[1:])
    command = typer.main.get_command(app)
    completion.prepare()
    return command.main(prog_name="zchat", standalone_mode=False)
