"""A gateway for Socket.IO clients, browsers and plain HTTP, as an ASGI application.

    import zchat.web

    app = zchat.web.app(broker="tcp://127.0.0.1:5555")          # uvicorn module:app
    fastapi.mount("/chat", zchat.web.app())                     # or in an application of yours

It needs `pip install 'zchat[web]'`. Spec: docs/web.md.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from zchat.web.hooks import EventCaller, Handlers

if TYPE_CHECKING:
    from zchat.web.application import WebApplication

__all__ = ["EventCaller", "Handlers", "app"]


def app(
    broker: str | None = None,
    *,
    room: str = "general",
    handlers: Handlers | None = None,
    origins: Iterable[str] = (),
    tokens: str | os.PathLike[str] | None = None,
) -> WebApplication:
    """The application. `room` is where clients are who name none; `origins` whose pages may use it besides its own.
    With `tokens`, a file that `zchat tokens` makes, nobody comes in without one of these.

    It connects to the broker with its first request, and ends with the server's life; where it is mounted in another
    application, `await app.close()` in that one's. Raises BadName, UsageError, OSError.
    """
    from zchat.tokens import TokenFile
    from zchat.web.application import WebApplication  # with python-socketio and starlette, which are of an extra

    known = None if tokens is None else TokenFile(Path(tokens), logging.getLogger("zchat.web").warning).load()
    return WebApplication(broker, room=room, handlers=handlers, origins=origins, tokens=known)
