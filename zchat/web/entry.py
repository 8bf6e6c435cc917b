"""Who comes in: the tokens of requests, the page to log in on, and the end of who may be inside no more.

Rules of this file
1. Where there are tokens nobody is served without one, but for what the pages themselves are made of.
2. A token comes in the header `Authorization: Bearer`, in the cookie that logging in sets, or in `auth.token` of a
   Socket.IO client; never in an address, which others keep.
3. Who has a token is its user, whatever else a request says; to say another name is refused.
4. Who is inside by a token that is over, or was taken back, is cut off within LOOK_SECONDS.

Spec: docs/web.md, "Logging in". Tests: tests/web/test_entry.py.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zchat import Refused
from zchat.address import is_this_machine
from zchat.names import user_key
from zchat.tokens import TokenPass
from zchat.web.core import lines
from zchat.web.core.bounds import header
from zchat.web.guard import Scope

COOKIE = "zchat"
PASS = "zchat.pass"  # in the scope of a request: the token's, where there are tokens
LOOK_SECONDS = 1.0
LOGIN_BYTES_MAX, LOGIN_SECONDS = 4_096, 15.0
NO_TOKEN = "a token is needed: Authorization: Bearer TOKEN, or log in at /login"
BAD_TOKEN = "this token is unknown, was taken back, or is over"

_OPEN = re.compile(r"/(login(/oidc(/back)?)?|docs|openapi\.json|healthz|static/[^/]+)?|/(?!metrics$|me$|ws$)[^/]+")
"""What is read without a token: the pages, which have nothing of any room."""


class PassSource(Protocol):
    """Who knows what tokens are good for: a file of them, or a provider's door."""

    def open(self, token: str) -> TokenPass | None:
        """What a token is good for now; None: nothing."""

    def is_valid(self, one: TokenPass) -> bool:
        """Whether it is still good."""


class Entrance:
    """Looks at tokens; made where some are needed."""

    def __init__(self, sources: Sequence[PassSource]) -> None:
        self._sources = sources
        self._inside: dict[object, tuple[TokenPass, Callable[[], object]]] = {}  # and how each is cut off
        self._watching: asyncio.Task[None] | None = None
        self.routes = [
            Route("/login", self._login, methods=["POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/me", self._me),
        ]

    def admit(self, scope: Scope, path: str) -> str:
        """Look at what a request brings. Returns why it may not, or nothing; then the scope says who it is."""
        token = _token_of(scope)
        found = scope[PASS] = self.open(token) if token else None
        if found is not None or path.startswith("/socket.io/"):  # which may bring it later
            return ""
        if scope["type"] == "http":
            if scope["method"] in ("GET", "HEAD") and _OPEN.fullmatch(path):
                return ""
            if scope["method"] == "POST" and path in ("/login", "/logout"):
                return ""
        return BAD_TOKEN if token else NO_TOKEN

    def introduced(self, scope: Scope, auth: Any) -> TokenPass | None:
        """What a Socket.IO client is let in by: `auth.token`, or what its request brought."""
        token = auth.get("token") if isinstance(auth, dict) else None
        one: TokenPass | None = scope.get(PASS) if token is None else self.open(token)
        return one

    def open(self, token: Any) -> TokenPass | None:
        """What a token is good for."""
        if not isinstance(token, str):
            return None
        return next((found for source in self._sources if (found := source.open(token)) is not None), None)

    def begins(self, guest: object, one: TokenPass, cut: Callable[[], object]) -> None:
        """Somebody is inside, and is cut off when the token is good no more."""
        self._inside[guest] = one, cut
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def ends(self, guest: object) -> None:
        """It is not any more."""
        self._inside.pop(guest, None)

    def close(self) -> None:
        """Nobody is looked after any more."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for guest, (one, cut) in list(self._inside.items()):
                if not any(source.is_valid(one) for source in self._sources):
                    self.ends(guest)
                    cut()

    # --- its routes -------------------------------------------------------------------------

    async def _login(self, request: Request) -> Response:
        """A token is a cookie from now on, which no script can read."""
        body = bytearray()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOGIN_SECONDS):
                async for part in request.stream():
                    body += part
                    if len(body) > LOGIN_BYTES_MAX:
                        break
        try:
            token = msgspec.json.decode(body, type=dict[str, str]).get("token", "")
        except msgspec.DecodeError:
            token = ""
        found = self.open(token.strip())
        if found is None:
            return unauthorized(BAD_TOKEN)
        response = self._shown(found)
        set_cookie(response, request, token.strip(), found.until - int(time.time()))
        return response

    async def _logout(self, request: Request) -> Response:
        response = Response(status_code=204)
        set_cookie(response, request, "", 0)
        return response

    async def _me(self, request: Request) -> Response:
        return self._shown(request.scope[PASS])

    def _shown(self, one: TokenPass) -> Response:
        content = lines.written({"user": one.user, "until": one.until})
        return Response(content, media_type="application/json", headers={"cache-control": "no-store"})


def user_of(scope: Scope, asked: str) -> str:
    """As whom a request acts that has asked for a name, or for none. Raises Refused."""
    if PASS not in scope:
        return asked  # an open gateway
    return named(scope[PASS], asked)


def named(one: TokenPass | None, asked: str) -> str:
    """As whom the bearer of a token acts. Raises Refused."""
    if one is None:
        raise Refused("denied", NO_TOKEN)
    if asked and user_key(asked) != user_key(one.user):
        raise Refused("denied", f"this token is that of {one.user}")
    return one.user


def unauthorized(why: str) -> Response:
    """What is answered where a token is missing."""
    error = "bad-token" if why == BAD_TOKEN else "no-token"
    body = lines.written({"error": error, "text": why})
    return Response(body, 401, {"www-authenticate": "Bearer"}, media_type="application/json")


# --- parts --------------------------------------------------------------------------------------


def _token_of(scope: Scope) -> str:
    headers: Iterable[tuple[bytes, bytes]] = scope.get("headers", [])
    given = header(headers, b"authorization")
    if given is not None:
        kind, _, token = given.partition(" ")
        return token.strip() if kind.lower() == "bearer" else "?"
    try:
        found = SimpleCookie(header(headers, b"cookie") or "").get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def is_secure(request: Request) -> bool:
    """Whether a cookie has to be `Secure`: only this machine may do without TLS, where a browser would not keep it."""
    return request.url.scheme == "https" or not is_this_machine(request.url.hostname or "")


def set_cookie(response: Response, request: Request, value: str, seconds: int) -> None:
    """Have the browser keep a token, where no script and no other site's page has it."""
    path = request.scope.get("root_path", "") or "/"
    response.set_cookie(
        COOKIE, value, max_age=seconds, path=path, secure=is_secure(request), httponly=True, samesite="strict"
    )
