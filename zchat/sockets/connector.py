"""A client's connection: dialled by us, as `core/dialling.py` says, and told of by its monitor.

Rules of this file: it belongs to whoever drives the engine (client.py). It is read often: `changes`, then `go_on`.

libzmq would make a connection that ended again by itself, but always to the number that it was given, and not at all
where the other side did not keep to ZMTP, or sent a frame above MAXMSGSIZE. So it is told never to; then what comes
out of a socket after `go_on` has connected it is of that connection, and nothing of the one before it.

Source: libzmq 4.3.5, session_base_t::engine_error. Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from math import inf
from typing import TYPE_CHECKING

import zmq

from zchat.address import Address
from zchat.core.dialling import LOOK_UP, LOOKING, UP, Dial
from zchat.errors import KEY_CODES, KeyRefused
from zchat.sockets import context, curve, options
from zchat.sockets.fitting import Fitting
from zchat.sockets.resolve import Resolver, is_number

if TYPE_CHECKING:
    from zchat.keys import Credentials

ENDED = "it ended the handshake: it has another key, or has just gone"
CAME_UP, WENT_DOWN, IN_VAIN = "came up", "went down", "in vain"


class Connector:
    """One socket that connects to one address at a time."""

    def __init__(self, socket: zmq.Socket[bytes], credentials: Credentials | None, wake: Callable[[], object]) -> None:
        self.socket = socket
        watched = options.CLIENT_MONITORED | curve.HANDSHAKE_FAILED
        self.monitor = options.open_monitor(context.shared(), socket, watched)
        self._fitting = Fitting(credentials, wake)
        self.address: Address | None = None
        self.seen = ""  # what happened last on the way there
        self._wake = wake
        self._endpoint = ""  # that libzmq has
        self._dial: Dial | None = None
        self._resolver: Resolver | None = None

    def aim(self, address: Address) -> None:
        """Connect there, and nowhere else."""
        if address == self.address:
            return
        self._disconnect()
        self.address, self.seen = address, ""
        is_fixed = address.scheme == "ipc" or is_number(address.host)
        self._dial = Dial(iter(random.random, None), (address.host or address.path) if is_fixed else "")
        self._resolver = None if is_fixed else Resolver(address.host, self._wake)

    @property
    def number(self) -> str:
        """The host's number that it is connected to, or tries."""
        return self._dial.current if self._dial is not None else ""

    @property
    def refusal(self) -> KeyRefused | None:
        """Why the broker's key and ours do not fit, if they do not."""
        return self._fitting.refusal

    @property
    def due(self) -> float:
        """When `go_on` is to be called at the latest."""
        if self._fitting.has_answer or (self._resolver is not None and self._resolver.has_answer):
            return 0.0
        return inf if self._dial is None else self._dial.due

    def changes(self, seconds: float) -> Iterator[str]:
        """What happened to the connection."""
        has_failed = False
        while (event := options.read_event(self.monitor)) is not None:
            kind, value = event
            dial = self._dial
            if dial is None or not dial.current:
                continue  # of a connection that was given up
            if kind & curve.HANDSHAKE_FAILED:  # its end follows
                assert self.address is not None, "it was dialled"
                self._fitting.failed(kind, value, self.address.at(dial.current))
                has_failed = True
                continue
            if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.seen = ""
                self._fitting.fits()
                dial.came_up(seconds)
                yield CAME_UP
            else:  # DISCONNECTED; or CONNECT_RETRIED, in which libzmq says that it will not for years
                was_up = dial.state == UP
                self.seen = "the connection was lost" if was_up else "connection refused, or nobody there"
                if self.refusal is not None:
                    self.seen = KEY_CODES[self.refusal.code]
                elif has_failed:
                    self.seen = ENDED
                dial.failed(seconds)
                if has_failed and self._fitting.has_other_key:
                    dial.at_once(seconds)
                yield WENT_DOWN if was_up else IN_VAIN

    def go_on(self, seconds: float) -> None:
        """Look up, connect, or give up what says nothing, when it is time."""
        dial, resolver = self._dial, self._resolver
        if dial is None or self.address is None:
            return
        if self._fitting.has_answer:
            self._fitting.look(self.address)
        while resolver is not None and (answer := resolver.take()) is not None:
            if not answer.numbers:
                self.seen = answer.why
            dial.looked_up(answer.numbers, seconds)
        while seconds >= dial.due and (step := dial.turn(seconds)) is not None:
            self._disconnect()
            if step is LOOK_UP and resolver is not None:
                resolver.look_up()
            elif isinstance(step, str):
                self._endpoint = self.address.at(step).endpoint
                self._fitting.prove(self.socket)
                self.socket.connect(self._endpoint)

    def refuse(self, seconds: float) -> None:
        """The connection is worth nothing: make another one."""
        self._disconnect()
        if self._dial is not None:
            self._dial.refused(seconds)

    def proved(self) -> None:
        """What it is connected to is what was looked for."""
        if self._dial is not None:
            self._dial.proved()

    def hurry(self, seconds: float) -> None:
        """There is reason to think that a try would not be in vain now."""
        if self._dial is not None:
            self._dial.hurry(seconds)

    @property
    def why(self) -> str:
        """What keeps it from being connected."""
        if self._dial is not None and self._dial.state == LOOKING and not self.seen and self.address is not None:
            return f"no name server tells the number of {self.address.host}"
        return self.seen

    def close(self, linger_ms: int | None = None) -> None:
        """End it."""
        options.close_monitor(self.socket, self.monitor)
        self.socket.close(linger=linger_ms)

    def _disconnect(self) -> None:
        if self._endpoint:
            endpoint, self._endpoint = self._endpoint, ""
            try:
                self.socket.disconnect(endpoint)
            except zmq.ZMQError:
                pass  # libzmq has forgotten it already
