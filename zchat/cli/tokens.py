"""`zchat tokens`: who comes in by `zchat web` and `zchat tcp`."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from zchat.cli import completion, exit_status, options, paths
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat.tokens import TokenPass

LASTS_SECONDS = 30 * 86_400.0

File: TypeAlias = Annotated[
    Path | None,
    paths.option(
        "--tokens",
        metavar="FILE",
        envvar="ZCHAT_TOKENS",
        help="The file of tokens; new makes it where it is not there.",
    ),
]


class TokenAction(StrEnum):
    """What to do with tokens."""

    new = "new"
    revoke = "revoke"
    list = "list"


def tokens(
    action: Annotated[TokenAction, options.action(TokenAction)],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="new: a user; revoke: a user, or a token of list.", autocompletion=completion.users
        ),
    ] = None,
    file: File = None,
    lasts: Annotated[
        float | None,
        typer.Option(
            "--for", metavar="SECONDS", parser=options.duration, help="new: how long it is good.  [default: 30d]"
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="new: print a link to this zchat web that logs in.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Make and take back tokens for zchat web and zchat tcp.

    The file has hashes of them only, so a token is shown once, when it is made. Give the file to the
    gateway with --tokens: nobody comes in without a token then, and who has one is its user. What is taken
    back, or is over, ends connections too, within two seconds.

    Examples:
      zchat tokens new alice --tokens tokens
      zchat tokens new bob --tokens tokens --for 1d --url https://chat.example
      zchat tokens revoke alice --tokens tokens
      zchat tokens list --tokens tokens
    """
    if file is None:
        raise UsageError("name the file of tokens with --tokens FILE, or ZCHAT_TOKENS")
    if (name is None) != (action is TokenAction.list):
        raise UsageError("list takes no NAME" if name else f"{action} needs a NAME")
    if action is not TokenAction.new and (lasts is not None or url is not None):
        raise UsageError("--for and --url go with new only")
    if json and action is not TokenAction.list:
        raise UsageError("--json goes with list only")
    if lasts is not None and lasts <= 0:
        raise UsageError("--for is more than 0 seconds")
    if url is not None and not url.startswith(("http://", "https://")):
        raise UsageError(f"--url {url}: an address such as https://chat.example")
    from zchat.tokens import TokenFile

    found = TokenFile(file)
    if action is TokenAction.list:
        _list(found.all(), json=json)
    elif action is TokenAction.revoke:
        gone = found.revoke(name or "")
        if not gone:
            raise typer.Exit(exit_status.tell(f"{file} has no token of {name}", status=1))
        exit_status.tell(f"taken back: {', '.join(f'{one.name} of {one.user}' for one in gone)}")
    else:
        token = found.new(name or "", lasts or LASTS_SECONDS)
        print(token if url is None else f"{url.rstrip('/')}/login#{token}")
        exit_status.tell(f"whoever has it is {name}; it is shown this once")


def _list(found: list[TokenPass], *, json: bool) -> None:
    from zchat.cli import output

    now = time.time()
    if not json:
        rows = [
            [one.name, one.user, output.local_time(one.until * 1_000_000), "good" if now < one.until else "over"]
            for one in found
        ]
        sys.stdout.write(output.table(("TOKEN", "USER", "UNTIL", "STATE"), rows))
        return
    for one in found:
        facts = {"token": one.name, "user": one.user, "until": output.rfc3339(one.until * 1_000_000)}
        line = output.object_line(facts | {"good": now < one.until}, terminal=sys.stdout.isatty())
        sys.stdout.write(line.decode() + "\n")
