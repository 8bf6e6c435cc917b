"""Logging in by an OpenID Connect provider: the browser goes there, and comes back as somebody.

    /login/oidc ─► the provider ─► /login/oidc/back?code&state ─► code for an ID token ─► checked ─► a cookie

Rules of this file
1. An ID token counts that the provider signed, for this gateway and this log-in (issuer, audience, time, nonce), and
   that came to the browser which began it (state and cookie; the code is bound by PKCE).
2. What a provider or a browser sends is never shown; why a log-in failed is for the operator.
3. Who has come in is known in memory, for some hours: a gateway that is started anew has them log in again.

Spec: docs/web.md, "By a provider". Tests: tests/web/test_oidc.py.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import secrets
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from zchat.address import is_this_machine
from zchat.errors import UsageError, ZchatError
from zchat.names import user_name
from zchat.private_files import OTHERS_READ, read_text
from zchat.tokens import TokenPass, digest_of
from zchat.web.entry import is_secure, set_cookie

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
BEGINNING = "zs_"
STATE_COOKIE = "zchat-login"
STATE_SECONDS = 600
STATES_MAX, SESSIONS_MAX = 4_096, 65_536
ANSWER_BYTES_MAX = 1 << 20
ANSWER_SECONDS = 10.0
KNOWN_SECONDS = 3_600.0  # what the provider says of itself
CLOCKS_SECONDS = 60  # that its clock may differ
WRONG = "The log-in did not succeed. Go back and try again.\n"


class Provider(NamedTuple):
    """What the operator's file says."""

    issuer: str
    client_id: str
    client_secret: str
    url: str  # of the gateway, as browsers see it
    claim: str = "preferred_username"  # which is the user's name
    hours: float = 12.0


class _Begun(NamedTuple):
    """A log-in on its way."""

    at: float
    nonce: str
    verifier: str


class LogInFailed(ZchatError):
    """Why, for the operator."""


class OidcDoor:
    """Its routes, and who has come in by it."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._begun: dict[str, _Begun] = {}  # by state
        self._sessions: dict[str, TokenPass] = {}
        self._known: tuple[float, dict[str, Any], KeySet] | None = None  # when, its configuration, its keys
        self.routes = [Route("/login/oidc", self._go), Route("/login/oidc/back", self._back)]

    def open(self, token: str) -> TokenPass | None:
        """What a cookie is good for."""
        found = self._sessions.get(digest_of(token)) if token.startswith(BEGINNING) else None
        return found if found is not None and self.is_valid(found) else None

    def is_valid(self, one: TokenPass) -> bool:
        """Whether it is still good."""
        return self._sessions.get(one.digest) == one and time.time() < one.until

    # --- its routes -------------------------------------------------------------------------

    async def _go(self, request: Request) -> Response:
        """To the provider."""
        try:
            about, _ = await self._about()
        except (LogInFailed, ValueError) as error:
            return _failed(error)
        now = time.monotonic()
        for state in [state for state, begun in self._begun.items() if now - begun.at > STATE_SECONDS]:
            del self._begun[state]
        while len(self._begun) >= STATES_MAX:
            del self._begun[next(iter(self._begun))]
        state = secrets.token_urlsafe(24)
        begun = self._begun[state] = _Begun(now, secrets.token_urlsafe(24), secrets.token_urlsafe(48))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(begun.verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            **{"response_type": "code", "scope": "openid profile", "client_id": self._provider.client_id},
            **{"redirect_uri": self._back_url, "state": state, "nonce": begun.nonce},
            **{"code_challenge": challenge, "code_challenge_method": "S256"},
        }
        mark = "&" if "?" in about["authorization_endpoint"] else "?"
        response = RedirectResponse(f"{about['authorization_endpoint']}{mark}{urllib.parse.urlencode(asked)}", 303)
        response.set_cookie(
            STATE_COOKIE, state, STATE_SECONDS, secure=is_secure(request), httponly=True, samesite="lax"
        )
        return response

    async def _back(self, request: Request) -> Response:
        """From the provider."""
        state = request.query_params.get("state", "")
        begun = self._begun.pop(state, None) if state == request.cookies.get(STATE_COOKIE) else None
        try:
            if begun is None or time.monotonic() - begun.at > STATE_SECONDS:
                raise LogInFailed("a browser came back from a log-in that it has not begun here, or long ago")
            user = await self._user(request.query_params.get("code", ""), begun)
        except (ZchatError, JoseError, ValueError) as error:
            if not isinstance(error, ZchatError):
                self._known = None  # perhaps the provider has other keys by now
            return _failed(error)
        token, now = BEGINNING + secrets.token_urlsafe(32), int(time.time())
        seconds = int(self._provider.hours * 3_600)
        for digest in [digest for digest, one in self._sessions.items() if one.until <= now]:
            del self._sessions[digest]
        while len(self._sessions) >= SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[digest_of(token)] = TokenPass(digest_of(token), user, now + seconds)
        response = RedirectResponse(f"{request.scope.get('root_path', '')}/", 303)
        set_cookie(response, request, token, seconds)
        response.delete_cookie(STATE_COOKIE)
        return response

    # --- parts ------------------------------------------------------------------------------

    @property
    def _back_url(self) -> str:
        return f"{self._provider.url.rstrip('/')}/login/oidc/back"

    async def _user(self, code: str, begun: _Begun) -> str:
        """Who it is. Raises ZchatError, JoseError, ValueError."""
        provider = self._provider
        about, keys = await self._about()
        form = {
            **{"grant_type": "authorization_code", "code": code, "redirect_uri": self._back_url},
            **{"client_id": provider.client_id, "client_secret": provider.client_secret},
            "code_verifier": begun.verifier,
        }
        answer = await asyncio.to_thread(_asked, about["token_endpoint"], form)
        token = jwt.decode(str(answer.get("id_token", "")), keys, algorithms=ALGORITHMS)
        needed = {"iss": provider.issuer, "aud": provider.client_id, "nonce": begun.nonce}
        registry = jwt.JWTClaimsRegistry(
            leeway=CLOCKS_SECONDS,
            exp={"essential": True},
            **{name: {"essential": True, "value": value} for name, value in needed.items()},  # type: ignore[arg-type]
        )
        registry.validate(token.claims)
        if token.claims.get("azp", provider.client_id) != provider.client_id:
            raise LogInFailed("the provider's token is for another program")
        name = token.claims.get(provider.claim)
        if not isinstance(name, str):
            raise LogInFailed(f"the provider's token has no {provider.claim}")
        return user_name(name)

    async def _about(self) -> tuple[dict[str, Any], KeySet]:
        """Its configuration and keys. Raises LogInFailed, ValueError."""
        if self._known is None or time.monotonic() - self._known[0] > KNOWN_SECONDS:
            issuer = self._provider.issuer
            about = await asyncio.to_thread(_asked, f"{issuer.rstrip('/')}/.well-known/openid-configuration", None)
            if about.get("issuer") != issuer:
                raise LogInFailed(f"the provider calls itself otherwise than {issuer}")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                _check_url(str(about.get(name)), name)
            keys = await asyncio.to_thread(_asked, about["jwks_uri"], None)
            self._known = time.monotonic(), about, KeySet.import_key_set(keys)  # type: ignore[arg-type]
        return self._known[1], self._known[2]


def provider_in(path: Path) -> Provider:
    """What a file says. Raises UsageError, OSError."""
    try:
        found = tomllib.loads(read_text(path, refused=OTHERS_READ))
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    known = set(Provider._fields)
    if missing := {"issuer", "client_id", "client_secret", "url"} - found.keys():
        raise UsageError(f"{path}: {min(missing)} is missing")
    if unknown := found.keys() - known:
        raise UsageError(f"{path}: {min(unknown)} is none of {', '.join(Provider._fields)}")
    hours = found.get("hours", 12.0)
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= 720:
        raise UsageError(f"{path}: hours is a number, up to 720")
    if not all(isinstance(value, str) for name, value in found.items() if name != "hours"):
        raise UsageError(f"{path}: all but hours is text")
    for name in ("issuer", "url"):
        _check_url(found[name], f"{path}: {name}")
    return Provider(**found)


def _check_url(url: str, what: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_this_machine(parts.hostname or "")):
        raise UsageError(f"{what} is an address that begins with https://")


def _asked(url: str, form: dict[str, str] | None) -> dict[str, Any]:
    """A JSON object. Raises LogInFailed."""
    data = None if form is None else urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data, {"accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return msgspec.json.decode(answer.read(ANSWER_BYTES_MAX), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:  # URLError, HTTPError, too
        raise LogInFailed(f"{urllib.parse.urlsplit(url).netloc} gives no answer: {error}") from None


def _failed(error: Exception) -> Response:
    logging.getLogger("zchat.web").warning("a log-in failed: %s", " ".join(str(error).split())[:300])
    return PlainTextResponse(WRONG, 401, {"cache-control": "no-store"})
