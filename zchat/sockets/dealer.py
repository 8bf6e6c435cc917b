"""The client's DEALER socket: what it could not take yet, and what its monitor says.

Rules of this file: it belongs to whoever drives the engine (client.py), and decides nothing.
Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING

import zmq

from zchat.address import Address
from zchat.errors import KeyRefused
from zchat.sockets import context, options
from zchat.sockets.connector import CAME_UP, WENT_DOWN, Connector
from zchat.sockets.options import DONTWAIT, EVENTS, POLLIN

if TYPE_CHECKING:
    from zchat.keys import Credentials

RECEIVED_MAX = 256  # replies per turn, …
RECEIVED_SECONDS_MAX = 0.1  # … or as many as this takes: then it is time to deliver and send


class Dealer:
    """The way to the broker."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None,
        wake: Callable[[], object],
        is_dry: Callable[[], object],
    ) -> None:
        """`is_dry` is called when all that has come was received."""
        self.connector = Connector(options.client_dealer(context.shared()), credentials, wake)
        self.connector.aim(address)
        self.socket, self.monitor = self.connector.socket, self.connector.monitor
        self.go_on, self.proved = self.connector.go_on, self.connector.proved
        self._send = options.sender(self.socket)
        self._is_dry = is_dry
        self._unsent: deque[bytes] = deque()
        self.read_seconds = RECEIVED_SECONDS_MAX
        self.is_lone = False  # the last one came alone: the next is had before it is asked whether more came

    @property
    def number(self) -> str:
        """The host's number that it is connected to, or tries."""
        return self.connector.number

    @property
    def seen(self) -> str:
        """What happened last on the way to the broker."""
        return self.connector.why

    @property
    def refusal(self) -> KeyRefused | None:
        """Why the broker's key and ours do not fit, if they do not."""
        return self.connector.refusal

    @property
    def is_full(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._unsent)

    def changes(self, seconds: float) -> Iterator[bool]:
        """Each time that the connection came up (True) or went down. What was unsent is void then."""
        for kind in self.connector.changes(seconds):
            if kind in (CAME_UP, WENT_DOWN):
                self._unsent.clear()
                yield kind == CAME_UP

    def send(self, frames: Iterable[bytes], *, away: bool) -> bool:
        """Send in order, as much as it takes; what it does not take is void while the broker is away.

        Returns whether there was anything.
        """
        unsent = self._unsent
        unsent.extend(frames)
        if not unsent:
            return False
        try:
            while unsent:
                self._send(unsent[0], DONTWAIT)
                unsent.popleft()
        except zmq.Again:
            if away:
                unsent.clear()
        return True

    def received(self) -> Iterator[bytes]:
        """What is there, up to a bound. Frames that came together are taken one by one."""
        receive, events, until = self.socket.recv, self.socket.getsockopt, monotonic() + self.read_seconds
        try:
            for before in range(RECEIVED_MAX):
                yield receive(DONTWAIT)
                if self.is_lone:
                    return
                if not int(events(EVENTS)) & POLLIN:  # an exception costs six times as much
                    self.is_lone = not before
                    break
                if monotonic() > until:
                    return
            else:
                return
        except zmq.Again:
            pass
        self._is_dry()

    def close(self) -> None:
        """End it."""
        self.connector.close(linger_ms=500)  # for a BYE that nobody waited for
