"""What the request of a Socket.IO client says, and what is kept of it.

Rules of this file: it is python-engineio's `environ`, as it makes it of the scope of ASGI.
Tests: tests/web/test_lean.py, tests/web/test_socketio.py.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from zchat.web.guard import Scope

KEPT = ("asgi.scope", "HTTP_USER_AGENT", "QUERY_STRING")


def sid(scope: Scope) -> str:
    """Whose connection of Engine.IO it goes on with; empty: a new one."""
    found: str = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("sid", [""])[0]
    return found


def query(environ: dict[str, Any]) -> dict[str, str]:
    """What stands behind the `?`."""
    return {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}


def is_npm(environ: dict[str, Any], auth: Any) -> bool:
    """Whether it may be npm's client: not python-socketio's, whose handlers take the arguments that they expect."""
    agent = str(environ.get("HTTP_USER_AGENT", ""))
    return auth != {} and not agent.startswith(("Python/", "python-"))


def forget(environ: dict[str, Any]) -> None:
    """Keep what the next CONNECT on its connection needs: the rest is 6 kB for as long as it is open."""
    kept = {name: environ[name] for name in KEPT if name in environ}
    environ.clear()
    environ |= kept
