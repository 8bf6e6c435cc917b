"""CURVE on sockets, and keys made: what of libzmq's security zchat uses.

Rules of this file
1. libzmq without a ZAP handler lets every key in. So a listener is never bound before there is one (zap.py), and says
   that it wants one.
2. Keys come in as `zchat.keys` writes them, and go to libzmq as 32 bytes.

Source: the libzmq 4.3 manual, zmq_curve(7); RFC 26 and 27. Tests: tests/sockets/test_zap.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from zchat.errors import StartError

if TYPE_CHECKING:
    from zchat.keys import KeyPair

HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
CLIENTS, SUBSCRIBERS = b"zchat", b"zchat.pub"  # ZAP domains: which socket somebody comes to
FRAME_BYTES = 33  # that CURVE adds to each frame
HANDSHAKE_BYTES_MAX = 512  # a listener takes no less: libzmq counts what a handshake says as a message


def protect(listener: zmq.Socket[bytes], keys: KeyPair) -> None:
    """Before it is bound: only who is let in by the handler gets in, and by CURVE alone."""
    listener.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    listener.setsockopt(zmq.CURVE_SERVER, 1)
    listener.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(keys.secret))


def prove(connector: zmq.Socket[bytes], pair: KeyPair, server: str) -> None:
    """Before it connects: with that key, to the broker that has that one."""
    connector.setsockopt(zmq.CURVE_PUBLICKEY, bytes.fromhex(pair.public))
    connector.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(pair.secret))
    connector.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(server))


def open_handler(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket on which libzmq asks who is let in (RFC 27)."""
    handler = context.socket(zmq.ROUTER)
    handler.rcvhwm = handler.sndhwm = 0  # one question for each handshake: they have their own bound
    handler.bind("inproc://zeromq.zap.01")
    return handler


def new_pair() -> KeyPair:
    """A new key. Raises StartError under a libzmq that has no CURVE."""
    from zchat.keys import KeyPair

    check_curve()
    public, secret = zmq.curve_keypair()
    return KeyPair(_hexadecimal(public), _hexadecimal(secret))


def pair_of(secret: str) -> KeyPair:
    """The whole of it. Raises StartError."""
    from zmq.utils import z85

    from zchat.keys import KeyPair

    check_curve()
    return KeyPair(_hexadecimal(zmq.curve_public(z85.encode(bytes.fromhex(secret)))), secret)


def check_curve() -> None:
    """Raise StartError under a libzmq that was built without CURVE."""
    if not zmq.has("curve"):
        raise StartError("this libzmq has no CURVE, so there can be no keys: pip install --upgrade pyzmq")


def _hexadecimal(key: bytes) -> str:
    from zmq.utils import z85  # only who makes keys needs it

    return z85.decode(key).hex()
