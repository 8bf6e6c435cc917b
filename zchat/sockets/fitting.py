"""Whether a client's key and the broker's fit, as far as the client can find out: its monitor says what failed.

    HANDSHAKE_FAILED_AUTH       400 the broker does not know our key, 500 it is revoked
    …_PROTOCOL                  the other side has another mechanism, or speaks no ZMTP at all
    …_NO_DETAIL                 it ended it: for that, or our first word is not for its key, or it has just gone

Rules of this file: what is certain is said at once. Where it is not, the other side is asked for its mechanism
(probe.py). If one of the two has keys and the other none, that is said; if both have, and it ends two handshakes for
each key that it is known by, it has another key.

Source: libzmq 4.3.5, curve_client.cpp and zmtp_engine.cpp. Tests: tests/sockets/test_keys.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import zmq

from zchat.address import Address
from zchat.errors import KeyRefused
from zchat.sockets import curve
from zchat.sockets.probe import MechanismProbe

if TYPE_CHECKING:
    from zchat.keys import Credentials

REVOKED_STATUS = 500  # of ZAP; see zap.py
TRIES = 2  # for each key of the broker

AUTH = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
NO_DETAIL = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
OTHER_MECHANISM = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
NULL, CURVE = "NULL", "CURVE"


class Fitting:
    """Of one socket that connects. `refusal` says why they do not fit, once that is certain."""

    def __init__(self, credentials: Credentials | None, wake: Callable[[], object]) -> None:
        self.refusal: KeyRefused | None = None
        self._credentials = credentials
        self._wake = wake
        self._server = ""  # the broker's key that is tried
        self._ended = 0  # handshakes in a row that the other side has ended
        self._probe: MechanismProbe | None = None  # is under way
        self._said = ""  # the mechanism of the other side

    def prove(self, socket: zmq.Socket[bytes]) -> None:
        """Before it connects: with our key, if we have one, to who has the broker's."""
        if self._credentials is not None:
            servers = self._credentials.servers
            self._server = servers[self._ended % len(servers)]
            curve.prove(socket, self._credentials.pair, self._server)

    def fits(self) -> None:
        """The handshake succeeded."""
        self._ended, self._said, self.refusal = 0, "", None
        if self._credentials is not None:
            self._credentials.proven(self._server)

    @property
    def has_other_key(self) -> bool:
        """Whether the broker is known by a key that was not tried since the first one did not fit."""
        return self._credentials is not None and self._ended % len(self._credentials.servers) > 0

    def failed(self, event: int, value: int, address: Address) -> None:
        """It failed like that, there."""
        if event == AUTH:
            self.refusal = _unknown(value == REVOKED_STATUS, self._credentials)
        elif event == NO_DETAIL or value == OTHER_MECHANISM:
            self._ended += event == NO_DETAIL
            if not self._said and self._probe is None:
                self._probe = MechanismProbe(address, self._wake)
            self._conclude(address)

    @property
    def has_answer(self) -> bool:
        """Whether the other side has said something of itself; then `look`."""
        return self._probe is not None and self._probe.answer is not None

    def look(self, address: Address) -> None:
        """Take it. Where it said nothing, it is asked again the next time."""
        if self._probe is not None and self._probe.answer is not None:
            self._said, self._probe = self._probe.answer, None
            self._conclude(address)

    def _conclude(self, address: Address) -> None:
        has_key = self._credentials is not None
        servers = self._credentials.servers if self._credentials is not None else []
        if self._said == CURVE and not has_key:
            self.refusal = _no_key(str(address))
        elif self._said == NULL and has_key:
            self.refusal = _without_keys(str(address))
        elif self._said == CURVE and self._ended >= TRIES * len(servers):
            self.refusal = _another(str(address), servers[0])


def _unknown(is_revoked: bool, credentials: Credentials | None) -> KeyRefused:
    ours = f"it is {credentials.pair.public}" if credentials is not None else ""
    ask = "who runs the broker can let in another one: zchat keys invite"
    return KeyRefused("revoked-key" if is_revoked else "unknown-key", f"{ours}; {ask}")


def _no_key(address: str) -> KeyRefused:
    return KeyRefused("no-key", f"{address}: ask who runs it for an invite, and give that to zchat join")


def _without_keys(address: str) -> KeyRefused:
    text = f"{address}: it is another one, or runs without --keys; your zchat.toml has a key for it"
    return KeyRefused("broker-without-keys", text)


def _another(address: str, server: str) -> KeyRefused:
    text = (
        f"{address} is known by {server}. Somebody may be in between who is not that broker, or its keys are new. "
        "Ask who runs it; if they are new, take it out of your zchat.toml, and zchat join with a new invite"
    )
    return KeyRefused("wrong-server-key", text)
