"""Whom a gateway lets in, and over what: the options that `zchat web` and `zchat tcp` have in common.

Tests: tests/tcp, tests/web/test_entry.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer

from zchat.cli import completion, exit_status
from zchat.errors import StartError, UsageError

if TYPE_CHECKING:
    from ssl import SSLContext

    from zchat.tokens import TokenFile

Certificate: TypeAlias = Annotated[
    Path | None,
    typer.Option("--cert", metavar="FILE", help="Speak TLS, with this certificate.", autocompletion=completion.path),
]
Key: TypeAlias = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The certificate's private key.", autocompletion=completion.path),
]
Tokens: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        metavar="FILE",
        envvar="ZCHAT_TOKENS",
        help="Let in only who has a token of this file, as its user; zchat tokens makes it.",
        autocompletion=completion.path,
    ),
]


Insecure: TypeAlias = Annotated[
    bool, typer.Option("--insecure", help="Listen for other machines without tokens: whoever comes may come in.")
]

OPEN = (
    "{0} can be reached from other machines, and who comes may speak under any name: let in only who has a token "
    "(zchat tokens new NAME --tokens FILE, and --tokens FILE here), or add --insecure if everybody there may"
)


class Door(NamedTuple):
    """See groups.py."""

    cert: Certificate = None
    key: Key = None
    tokens: Tokens = None
    insecure: Insecure = False

    def check(self, listen: str, *, is_local: bool) -> None:
        """Refuse to be open to whoever comes, unless that is wanted. Raises UsageError."""
        if self.tokens is not None and self.insecure:
            raise UsageError("--tokens lets in only who has one, --insecure whoever comes: not both")
        if not (is_local or self.tokens or self.insecure):
            raise UsageError(OPEN.format(listen))

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
