"""Whom a gateway lets in, and over what: the options that `zchat web` and `zchat tcp` have in common.

Tests: tests/tcp, tests/web/test_entry.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer

from zchat.cli import exit_status, options, paths
from zchat.errors import StartError, UsageError
from zchat.names import room_name, user_key
from zchat.profile import meant

if TYPE_CHECKING:
    from ssl import SSLContext

    from zchat.client import Client
    from zchat.tokens import TokenFile

Certificate: TypeAlias = Annotated[
    Path | None,
    paths.option("--cert", metavar="FILE", help="Speak TLS, with this certificate."),
]
Key: TypeAlias = Annotated[
    Path | None,
    paths.option("--key", metavar="FILE", help="The certificate's private key."),
]
Tokens: TypeAlias = Annotated[
    Path | None,
    paths.option(
        "--tokens",
        metavar="FILE",
        envvar="ZCHAT_TOKENS",
        help="Let in only who has a token of this file, as its user; zchat tokens makes it.",
    ),
]


Insecure: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Let in whoever comes, without tokens: from other machines, or at a broker with keys."
    ),
]

OPEN = (
    "{0} can be reached from other machines, and who comes may speak under any name: let in only who has a token "
    "(zchat tokens new NAME --tokens FILE, and --tokens FILE here), or add --insecure if everybody there may"
)


KEYED = (
    "the broker has keys, and whoever reaches {0} would be any user that the key of this door may be: let in only who "
    "has a token (zchat tokens new NAME --tokens FILE, and --tokens FILE here), or add --insecure if everybody may"
)
NOT_THEIRS = (
    "the key of this door may not be {0}, for whom {1} has tokens: whoever has one is refused. Its line in the "
    "broker's authorized_keys needs gateway=PATTERN, as zchat keys invite {2} --gateway 'PATTERN' makes it"
)
USERS_TRIED = 8  # of a file of tokens
TRY_SECONDS = 10.0  # that is waited for the broker: without it nothing is known


class Door(NamedTuple):
    """See groups.py."""

    cert: Certificate = None
    key: Key = None
    tokens: Tokens = None
    insecure: Insecure = False

    def check(self, listen: str, *, is_local: bool, has_key: bool) -> None:
        """Refuse to be open to whoever comes, unless that is wanted. Raises UsageError.

        `has_key`: the broker lets in only who has a key, and here is one that all who come would use.
        """
        if self.tokens is not None and self.insecure:
            raise UsageError("--tokens lets in only who has one, --insecure whoever comes: not both")
        if not (is_local or self.tokens or self.insecure):
            raise UsageError(OPEN.format(listen))
        if has_key and not (self.tokens or self.insecure):
            raise UsageError(KEYED.format(listen))

    def context(self) -> SSLContext | None:
        """What a server needs for TLS. Raises UsageError, StartError."""
        if self.cert is None and self.key is None:
            return None
        if self.cert is None or self.key is None:
            raise UsageError("--cert and --key go together")
        import ssl

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.cert, self.key, password=lambda: "")
        except OSError as error:  # ssl.SSLError, too
            raise StartError(f"{self.cert}, {self.key}: {error.strerror or error}") from None
        return context

    def token_file(self) -> TokenFile | None:
        """The tokens, read. Raises StartError, UsageError, OSError."""
        if self.tokens is None:
            return None
        from zchat.tokens import TokenFile

        try:
            return TokenFile(self.tokens, exit_status.tell).load()
        except FileNotFoundError:
            raise StartError(
                f"{self.tokens} is not there; zchat tokens new USER --tokens {self.tokens} makes it"
            ) from None


def meeting_room(text: str) -> str:
    """The canonical name of the room that visitors come to first. Raises BadName, UsageError."""
    room = room_name(text)
    if room.startswith("@"):
        raise UsageError(f"--room {room}: an inbox is no room that people meet in")
    return room


def has_key(broker: str | None) -> bool:
    """Whether that broker lets in only who has a key, as the profile says."""
    return meant(broker, None).credentials is not None


def try_tokens(known: TokenFile | None, connecting: options.ToBroker) -> None:
    """Tell at the start, and not each visitor, where the door's key may not be the users of its tokens.

    Raises StartError where it may be none of those that were tried.
    """
    import zchat

    if known is None or (where := meant(connecting.broker, connecting.user)).credentials is None:
        return
    users = list({user_key(one.user): one.user for one in known.all()}.values())[:USERS_TRIED]
    try:
        with zchat.connect(connecting.broker, connecting.user, wait=TRY_SECONDS, seals=False) as client:
            refused = [user for user in users if not _may_be(client, user)]
    except zchat.Unreachable:
        return
    if refused:
        text = NOT_THEIRS.format(", ".join(refused), known.path, where.user or "NAME")
        if len(refused) == len(users):
            raise StartError(text)
        exit_status.tell(f"warning: {text}")


def _may_be(client: Client, user: str) -> bool:
    from zchat.errors import Refused

    try:
        client.session(user).close()
    except Refused as error:
        return error.code != "wrong-user"
    return True
