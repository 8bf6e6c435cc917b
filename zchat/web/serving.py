"""The application on uvicorn: bounds on connections that say nothing, signals, a ready line.

Rules of this file
1. Who connects and does not send the head of a request in time is cut off; so is the newest above the limit.
2. A connection can be ended at once, whatever waits to be written to it: its scope has a function for that (guard.py).

Source: uvicorn's Config and Server, and the classes of its protocols. Tests: tests/web/test_serving.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from ssl import SSLContext
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from zchat.errors import StartError
from zchat.web.application import SOCKET_IO, WebApplication
from zchat.web.core.bounds import WebLimits
from zchat.web.guard import ABORT
from zchat.web.queues import LeanEvent, LeanQueue

FRAME_BYTES_SPARE = 65_536  # above the largest event: names and offsets are around it
HEAD_BYTES_MAX = 16_384
STOP_SECONDS = 3
BACKLOG = 4_096


def http_protocol(limits: WebLimits) -> type[asyncio.Protocol]:
    """HTTP, with a time for the head of a request."""

    class BoundedHttp(H11Protocol):
        _silent: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections_max:
                transport.abort()
                return
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._silent is not None:
                self._silent.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            taken_or_ended(super().data_received, data, self.transport)
            if self.transport.get_protocol() is self:
                self._watch()

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            if self._silent is not None:
                self._silent.cancel()  # it has said what it wants: the timer would keep all of this for its time
            super().handle_websocket_upgrade(event)

        def _watch(self) -> None:
            """From its first byte on the head of a request has its time, also of a second one on the connection."""
            is_asked = self.cycle is not None and not self.cycle.response_complete
            if is_asked and self._silent is not None:
                self._silent.cancel()
                self._silent = None
            elif not is_asked and self._silent is None and not self.transport.is_closing():
                self._silent = self.loop.call_later(limits.silent_seconds, self._is_silent)

        def _is_silent(self) -> None:
            self._silent = None
            is_asked = self.cycle is not None and not self.cycle.response_complete
            if not is_asked and not self.transport.is_closing():
                self.transport.abort()

    return BoundedHttp


class LeanWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that can be ended at once, and that keeps nothing of its request once it was accepted.

    Thousands of them are open, and most of them are silent: an empty `asyncio.Queue` and an empty `asyncio.Event` take
    3 kB, the head of the request and of the answer 4 kB.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.queue = LeanQueue()  # type: ignore[assignment]
        self.writable = LeanEvent()  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Take it."""
        taken_or_ended(super().data_received, data, self.transport)

    def handle_connect(self, event: Request) -> None:
        """Serve it; its task begins after this."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][ABORT] = self.transport.abort  # type: ignore[assignment]  # a function, as ASGI may

    def start_keepalive(self) -> None:
        """It is accepted."""
        self.scope["headers"] = []
        self.request.headers.clear()
        self.response.headers.clear()
        if not self.scope["path"].startswith(SOCKET_IO):  # which has pings of its own
            super().start_keepalive()


def taken_or_ended(take: Callable[[bytes], None], data: bytes, transport: asyncio.Transport) -> None:
    """Have a protocol take what came; whatever it raises is because of that, and ends the connection without a word.

    No handler of ours runs in here. What h11 and websockets raise when they are to refuse in the middle of an answer,
    or of a close, would be told as a traceback, as often as anybody likes.
    """
    try:
        take(data)
    except Exception:
        transport.abort()


class WebServer(uvicorn.Server):
    """Says when it is ready; signals are the command's."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._ready()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=False)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)  # its own text names the address once more
        raise StartError(f"cannot listen on {shown(host, port)}: {why}") from error
    # What it accepts has it too. asyncio sets it only where a socket names its protocol: else the second half of an
    # answer waits for the acknowledgement of the first, 40 ms, on every connection that is used again.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def shown(host: str, port: int) -> str:
    """An address as it is written."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve(
    app: WebApplication, at: socket.socket, ready: Callable[[], None], context: SSLContext | None = None
) -> int:
    """Serve until a signal comes; returns which. Raises ZchatError where the broker is not there at the start."""
    await app.gateway.start()
    config = uvicorn.Config(
        app,
        http=http_protocol(app.limits),
        ws=LeanWebSocket,
        ws_max_size=app.limits.event_bytes_max + FRAME_BYTES_SPARE,
        ws_per_message_deflate=False,  # a context of some 100 kB for each connection
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_context_factory=None if context is None else lambda config, default: context,
    )
    server = WebServer(config, ready)
    came: list[int] = []

    def stop(signum: int) -> None:
        server.force_exit = bool(came)
        came.append(signum)
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            loop.add_signal_handler(signum, stop, signum)
    await server._serve([at])
    return came[0] if came else 0
