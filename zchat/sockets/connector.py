"""A client's connection as its monitor tells of it, and the way back where libzmq gives up.

Rules of this file: it belongs to the I/O thread (client.py). It is read often: `changes`, then `go_on`.

When a connection ends, libzmq makes it again. Not so when the other side did not keep to ZMTP, or sent a frame above
MAXMSGSIZE: then it is silent for ever. One wrong byte would end a client without a word, so we connect it again.

Source: libzmq 4.3.5, session_base_t::engine_error. Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import zmq

from zchat.core.pauses import Pause
from zchat.sockets import context, options

GIVEN_UP_SECONDS = 1.0  # libzmq says at once that it tries again; then it will not


class Connector:
    """One socket that connects to one endpoint at a time."""

    def __init__(self, socket: zmq.Socket[bytes], endpoint: str = "") -> None:
        self.socket = socket
        self.monitor = options.open_monitor(context.shared(), socket, options.CLIENT_MONITORED)
        self.endpoint = endpoint
        self._ended = False  # and libzmq has not said that it tries again
        self._look_at = 0.0  # then it has given up
        self._pause = Pause()
        if endpoint:
            socket.connect(endpoint)

    def connect(self, endpoint: str) -> None:
        """To that endpoint, and to no other."""
        if endpoint == self.endpoint:
            return
        self._disconnect()
        self.socket.connect(endpoint)
        self.endpoint = endpoint

    def changes(self) -> Iterator[int]:
        """What happened to the connection, as EVENT_HANDSHAKE_SUCCEEDED, _DISCONNECTED or _CONNECT_RETRIED."""
        while (event := options.read_event(self.monitor)) is not None:
            kind, _value = event
            self._ended = kind == zmq.EVENT_DISCONNECTED
            self._look_at = 0.0
            yield kind

    def go_on(self, seconds: float) -> None:
        """Where libzmq has given up, connect again, after a pause that grows."""
        if not self._ended:
            return
        if not self._look_at:
            self._pause.begin(seconds)
            self._look_at = max(seconds + GIVEN_UP_SECONDS, self._pause.until)
        elif seconds >= self._look_at:
            self._ended = False
            self._disconnect()
            self.socket.connect(self.endpoint)

    def close(self, linger_ms: int | None = None) -> None:
        """End it."""
        options.close_monitor(self.socket, self.monitor)
        self.socket.close(linger=linger_ms)

    def _disconnect(self) -> None:
        if self.endpoint:
            try:
                self.socket.disconnect(self.endpoint)
            except zmq.ZMQError:
                pass  # libzmq has forgotten it already
