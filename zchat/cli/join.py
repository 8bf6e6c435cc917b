"""`zchat join`: known by a broker from now on, with a key of one's own."""

from __future__ import annotations

from typing import Annotated

import typer

from zchat.cli import exit_status, options


def join(
    invite: Annotated[str, typer.Argument(metavar="INVITE", help="The line that zchat keys invite printed.")],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What you call the broker, in your zchat.toml; else its host."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            "--user",
            "-u",
            metavar="NAME",
            envvar="ZCHAT_USER",
            help="Who you are, where the line names no user; else your login name.",
        ),
    ] = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Join a broker that has keys, with an invite.

    It makes a key for you, has the broker know it, and notes both in your zchat.toml: after that every
    command and program of yours knows the broker. The broker's own key is noted, too: another one that
    says it is that broker is refused. An invite is good for one join.

    Examples:
      zchat join 'zchat://chat.example:5555?server=…&user=alice&invite=…'
      zchat join 'zchat://…' --name office
    """
    from zchat.arguments import login_name, name_of
    from zchat.joining import join as join_broker
    from zchat.keys import parse_invitation

    invitation = parse_invitation(invite)
    called = name or invitation.address.host or "local"
    who = invitation.user or (login_name() if user is None else name_of(user))
    joined = join_broker(invitation, called, who, wait)
    use = "zchat chat" if joined.is_default else f"zchat chat -b {joined.name}"
    exit_status.tell(f"you are {joined.user} at {invitation.address} from now on; try: {use}")
