"""The page, and the page that tells of the API: files of this package, with nothing from other hosts.

Rules of this file: what a page may do, its Content-Security-Policy says: its own files and gateway, nothing inline.
Spec: docs/web.md, "The page". Tests: tests/web/test_page.py.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-cache",
}
TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
    "json": "application/json",
}
FILES = ("chat.js", "view.js", "connection.js", "chat.css", "icon.svg", "api.js", "api.css", "login.js")


class PageDoor:
    """The routes of the page."""

    def __init__(self, room: str, *, needs_login: bool = False, has_provider: bool = False) -> None:
        self._room, self._login = room, b"token" if needs_login else b""
        self._provider = b"" if has_provider else b" hidden"
        self._read = {name: _content(name) for name in ("index.html", "api.html", "openapi.json", "login.html", *FILES)}
        self.routes = [
            Route("/", self._page),
            *([Route("/login", self._login_page)] if needs_login else []),
            Route("/docs", self._file("api.html")),
            Route("/openapi.json", self._file("openapi.json")),
            *(Route(f"/static/{name}", self._file(name)) for name in FILES),
        ]
        self.rooms = [Route("/{room}", self._page)]  # behind all others

    async def _page(self, request: Request) -> Response:
        root = request.scope.get("root_path", "")
        shown = self._read["index.html"].replace(b"{root}", root.encode()).replace(b"{room}", self._room.encode())
        shown = shown.replace(b"{login}", self._login)
        return Response(shown, headers=HEADERS, media_type="text/html")

    async def _login_page(self, request: Request) -> Response:
        root = request.scope.get("root_path", "")
        shown = self._read["login.html"].replace(b"{root}", root.encode()).replace(b" data-provider", self._provider)
        return Response(shown, headers=HEADERS, media_type="text/html")

    def _file(self, name: str) -> Any:
        async def answer(request: Request) -> Response:
            return Response(self._read[name], headers=HEADERS, media_type=TYPES[name.rpartition(".")[2]])

        return answer


def _content(name: str) -> bytes:
    return (resources.files("zchat.web") / "static" / name).read_bytes()
