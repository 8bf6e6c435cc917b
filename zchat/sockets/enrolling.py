"""Handing a broker another public key, over a connection that a key or an invite opens: ENROLL, and nothing else.

Rules of this file: it needs no session, and waits until a deadline, as `connect` does.
Spec: docs/protocol.md, "Keys". Tests: tests/sockets/test_keys.py.
"""

from __future__ import annotations

from time import monotonic

from zchat import wire
from zchat.address import Address
from zchat.errors import Refused, Unreachable, WireError
from zchat.keys import Credentials
from zchat.sockets.port import SocketPort

REQUEST = 1
REPEAT_SECONDS = 1.0  # without an answer it is said again
SLEEP_SECONDS = 0.05


def enrol(address: Address, credentials: Credentials, key: str, keep_seconds: int, wait: float) -> None:
    """Have `key` let in, too. Raises KeyRefused, Refused, Unreachable, WireError."""
    frame = wire.encode(wire.Enroll(REQUEST, bytes.fromhex(key), keep_seconds))
    port = SocketPort(address, credentials)
    deadline, said_at, is_up = monotonic() + wait, 0.0, False
    try:
        while (now := monotonic()) < deadline:
            for change in port.changes(now):
                is_up, said_at = change, 0.0
            if port.refusal is not None:
                raise port.refusal
            if is_up and now - said_at > REPEAT_SECONDS:
                port.send([frame], away=False)
                said_at = now
            if any([_is_done(reply) for reply in port.replies()]):
                return
            port.go_on(now)
            port.sleep(SLEEP_SECONDS)
            port.look()
        raise Unreachable(str(address), wait, port.seen)
    finally:
        port.close()


def _is_done(reply: bytes) -> bool:
    """Whether that is the answer. Raises Refused."""
    try:
        message = wire.decode_broker(reply)
    except WireError:
        return False  # of a newer broker: nothing that was asked for
    if isinstance(message, wire.Error):
        raise Refused(message.code, message.text)
    return isinstance(message, wire.Done) and message.request == REQUEST
