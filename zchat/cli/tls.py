"""TLS and tokens of the gateways: the options that `zchat web` and `zchat tcp` have in common.

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
        help="Let in who has a token of this file, as its user; see zchat tokens.",
        autocompletion=completion.path,
    ),
]


class Tls(NamedTuple):
    """See groups.py."""

    cert: Certificate = None
    key: Key = None

    def context(self) -> SSLContext | None:
        """What a server needs. Raises UsageError, StartError."""
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


def tokens_of(path: Path | None) -> TokenFile | None:
    """The file of tokens that a gateway was given, read. Raises StartError, UsageError, OSError."""
    if path is None:
        return None
    from zchat.tokens import TokenFile

    try:
        return TokenFile(path, exit_status.tell).load()
    except FileNotFoundError:
        raise StartError(f"{path} is not there; zchat tokens new USER --tokens {path} makes it") from None
