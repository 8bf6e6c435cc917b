"""What Tab offers beside commands and options: names that the broker knows, and files only where a path is wanted.

Rules of this file
1. Whoever presses Tab waits for no broker and reads no error: where there is no answer at once, nothing is offered.
2. A shell offers files by itself where it is given nothing. So `path` gives a word that ends with a slash, as no
   name does, and the classes and the script below keep the shell from it everywhere else.

Docs: docs/cli.md. Tests: tests/cli/test_completion.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer
from typer import _completion_classes, _completion_shared
from typer._click.shell_completion import CompletionItem, ShellComplete, add_completion_class

if TYPE_CHECKING:
    from zchat import Client

ANSWER_SECONDS = 0.5  # as long as nobody takes the shell for stuck

BASH = """
%(complete_func)s() {
    mapfile -t COMPREPLY < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \\
        %(autocomplete_var)s=complete_bash "$1" 2>/dev/null)
    case ${COMPREPLY[0]} in
        '') COMPREPLY=() ;;
        */) COMPREPLY=() && compopt -o default ;; # a path is wanted
        @*) [[ $2 == @* ]] || COMPREPLY=("${COMPREPLY[@]#@}") ;; # without hostcomplete the @ stays as it is
    esac
}

complete -F %(complete_func)s %(prog_name)s
"""


# --- what an argument or option may be ------------------------------------------------------------


def targets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of rooms, and inboxes of users, that begin so."""
    from zchat.names import inbox

    def names(client: Client) -> list[str]:
        found = {room.name for room in client.rooms()}
        return sorted(found | {inbox(member.user) for member in client.who()} if incomplete.startswith("@") else found)

    return _asked(ctx, incomplete, names)


def rooms(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of rooms that begin so."""
    return _asked(ctx, incomplete, lambda client: (room.name for room in client.rooms()))


def users(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of users who are there, or were, that begin so."""
    return _asked(ctx, incomplete, lambda client: {member.user for member in client.who()})


def groups(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of groups that begin so."""
    return _asked(ctx, incomplete, lambda client: {group.name: None for group in client.groups()})


def cursors(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the user's cursors that begin so."""
    return _asked(ctx, incomplete, lambda client: (cursor.name for cursor in client.cursors()))


def brokers(incomplete: str) -> list[str]:
    """Names of brokers in the profile that begin so."""
    from zchat.errors import UsageError
    from zchat.profile import read

    try:
        return sorted(name for name in read().brokers if name.startswith(incomplete))
    except UsageError:
        return []


def path(incomplete: str) -> list[str]:
    """A word that has the shell complete the path."""
    return [f"{incomplete}/"]


def _asked(ctx: typer.Context, incomplete: str, question: Callable[[Client], Iterable[str]]) -> list[str]:
    """What the broker of the command line answers to its user, as far as it begins so."""
    import zchat

    broker, user = ctx.params.get("broker"), ctx.params.get("user")
    try:
        with zchat.connect(broker, user, wait=ANSWER_SECONDS, timeout=ANSWER_SECONDS) as client:
            return sorted(name for name in question(client) if name.startswith(incomplete))
    except (zchat.ZchatError, OSError):
        return []


# --- how each shell is told -----------------------------------------------------------------------


def prepare() -> None:
    """Have the shells' completion made by the classes and the script of this file, in the place of typer's."""
    _completion_shared._completion_scripts["bash"] = BASH
    for shell, made_by in {"bash": _Bash, "zsh": _Zsh, "fish": _Fish, "powershell": _PowerShell}.items():
        add_completion_class(made_by, shell)
    add_completion_class(_PowerShell, "pwsh")


class _OfNames(ShellComplete):
    """What all shells have in common: no file is a completion."""

    wants_path = False

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """What may stand there; nothing where it is a path."""
        found = super().get_completions(args[1:] if args[:1] == ["help"] else args, incomplete)
        self.wants_path = any(item.value.endswith("/") for item in found)
        return [] if self.wants_path else found


class _Bash(_OfNames, _completion_classes.BashComplete):
    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is completed, and that: bash makes three of `--data=x`, and two of `@x`."""
        args, incomplete = super().get_completion_args()
        if args[-1:] == ["@"]:
            return args[:-1], f"@{incomplete}"
        return [word for word in args if word != "="], incomplete

    def complete(self) -> str:
        """A word a line."""
        said = super().complete()
        return "/" if self.wants_path else said


class _Zsh(_OfNames, _completion_classes.ZshComplete):
    def complete(self) -> str:
        """Code that zsh evaluates."""
        said = super().complete()
        return said if said != "_files" or self.wants_path else ""


class _Fish(_OfNames, _completion_classes.FishComplete):
    def complete(self) -> str:
        """Asked first, by the status, whether these are all that may stand there; then, a word a line, for them."""
        if os.environ.get("_TYPER_COMPLETE_FISH_ACTION") != "is-args":
            return super().complete()
        self.get_completions(*self.get_completion_args())
        sys.exit(1 if self.wants_path else 0)


class _PowerShell(_OfNames, _completion_classes.PowerShellComplete):
    pass
