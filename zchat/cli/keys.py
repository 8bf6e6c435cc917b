"""`zchat keys`: keys of users and of a broker, made, shown, let in and kept out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from zchat.cli import options, paths
from zchat.errors import UsageError

GATEWAY, FOR = "--gateway", "--for"

Folder: TypeAlias = Annotated[
    Path | None,
    paths.option("--keys", envvar="ZCHAT_KEYS", metavar="DIR", help="The folder that zchat broker --keys names."),
]


class KeysAction(StrEnum):
    """What to do."""

    new = "new"
    show = "show"
    rotate = "rotate"
    invite = "invite"
    authorize = "authorize"
    revoke = "revoke"
    list_ = "list"
    server = "server"


TAKES = {  # what each takes: words, then options
    KeysAction.new: ((0, 1), set()),
    KeysAction.show: ((0, 1), set()),
    KeysAction.rotate: ((0, 1), set()),
    KeysAction.invite: ((1, 1), {GATEWAY, FOR}),
    KeysAction.authorize: ((2, 2), {GATEWAY, FOR}),
    KeysAction.revoke: ((1, 1), set[str]()),
    KeysAction.list_: ((0, 0), set[str]()),
    KeysAction.server: ((0, 1), set[str]()),
}


def keys(
    action: Annotated[KeysAction, options.action(KeysAction)],
    words: Annotated[list[str] | None, typer.Argument(metavar="[NAME|KEY|USER]...", help="Which: see above.")] = None,
    folder: Folder = None,
    gateway: Annotated[
        str | None,
        typer.Option(GATEWAY, metavar="PATTERN", help="invite, authorize: users for whom it may speak, too: web.*"),
    ] = None,
    for_: Annotated[
        float | None,
        typer.Option(
            FOR,
            metavar="SECONDS",
            parser=options.duration,
            help="invite: how long the line is good, else 24h; authorize: how long the key is, else always.",
        ),
    ] = None,
    broker: options.BrokerAddress = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Make, show, let in and keep out keys.

    Who runs a broker names its folder (--keys DIR). invite USER prints a line for zchat join: that is all
    that most need. list shows who is let in, revoke USER or revoke KEY keeps one out, and authorize KEY USER
    lets in a key that its user has made. What changes counts within a second. server shows the broker's
    own key; server next makes the one that it will have, and clients are told of it; server switch has
    a broker that runs started anew with it.

    Your own keys are beside your zchat.toml. new [NAME] makes one, show [NAME] shows its public half, and
    rotate [BROKER] gets you another one for a broker, while the one before is good for a week.

    Examples:
      zchat keys invite alice --keys /etc/zchat
      zchat keys invite web --gateway 'web.*' --for 1h --keys /etc/zchat
      zchat keys list --keys /etc/zchat
      zchat keys revoke alice --keys /etc/zchat
      zchat keys new laptop
      zchat keys rotate
    """
    given = words or []
    (least, most), takes = TAKES[action]
    if not least <= len(given) <= most:
        raise UsageError(f"{action} takes {_count(least, most)}, and {len(given)} were given")
    for option, value in ((GATEWAY, gateway), (FOR, for_)):
        if value is not None and option not in takes:
            raise UsageError(f"{option} does not go with {action}")
    from zchat.cli import key_actions

    if action in (KeysAction.new, KeysAction.show, KeysAction.rotate):
        name = given[0] if given else None
        if action is KeysAction.new:
            key_actions.new(name or "default")
        elif action is KeysAction.show:
            key_actions.show(name)
        else:
            key_actions.rotate(name, wait)
        return
    if folder is None:
        raise UsageError("name the folder of the broker's keys with --keys DIR, or ZCHAT_KEYS")
    if action is KeysAction.invite:
        key_actions.invite(folder, given[0], gateway or "", for_, broker)
    elif action is KeysAction.authorize:
        key_actions.authorize(folder, given[0], given[1], gateway or "", for_)
    elif action is KeysAction.revoke:
        key_actions.revoke(folder, given[0])
    elif action is KeysAction.list_:
        key_actions.list_all(folder)
    else:
        key_actions.server(folder, given[0] if given else "")


def _count(least: int, most: int) -> str:
    if least == most:
        return "no name" if not most else f"{most} word{'s' if most > 1 else ''}"
    return f"{least} or {most} words"
