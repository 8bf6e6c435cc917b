"""Who is let in: libzmq asks before it takes a connection, and this answers (ZAP, RFC 27).

    a peer's key ──► libzmq ──► inproc://zeromq.zap.01 ──► `answer` ──► 200, 400 (unknown) or 500 (revoked)

Rules of this file
1. It never raises, and answers whatever can be answered: libzmq lets nobody in whom nobody has answered for.
2. It is the broker's loop that answers, between two turns, so within some 20 ms however busy it is. libzmq's own
   thread does not wait for it.
3. Before a listener is bound, it is shown on sockets of the same options that a key which nobody knows is kept out:
   where that fails, the broker does not start.

A peer sees 400 and 500 on its socket's monitor (`HANDSHAKE_FAILED_AUTH`), and nothing else travels: so they tell apart
a key that is unknown and one that is revoked. Spec: docs/protocol.md, "Keys". Tests: tests/sockets/test_zap.py.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import zmq

from zchat.core import Instant
from zchat.core.identity import KEY_BYTES, Identities
from zchat.errors import StartError
from zchat.keys import KeyPair, short
from zchat.sockets import curve, options
from zchat.sockets.options import DONTWAIT

VERSION = b"1.0"
STATUSES = {"": b"200", "unknown-key": b"400", "revoked-key": b"500"}
ANSWERED_MAX = 64  # in one go: then the loop goes on
SHOWN_SECONDS = 10.0  # within which a key that nobody knows has to be refused, on a machine that is busy
LOOK_SECONDS = 0.02


class ZapHandler:
    """Of one broker's Context."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: KeyPair, identities: Identities) -> None:
        self._context = context
        self._keys = keys
        self._identities = identities
        self._audit = identities.audit
        self.socket = curve.open_handler(context)

    def answer(self, now: Instant) -> bool:
        """Answer what was asked. Returns whether there may be more."""
        for _ in range(ANSWERED_MAX):
            try:
                frames = self.socket.recv_multipart(DONTWAIT)
            except zmq.Again:
                return False
            reply = self._reply(frames, now)
            if reply:
                try:
                    self.socket.send_multipart(reply, DONTWAIT)
                except zmq.ZMQError:
                    pass  # who asked has gone
        return True

    def show(self, now: Callable[[], Instant]) -> None:
        """Show that it is asked, and that its No holds. Raises StartError."""
        with tempfile.TemporaryDirectory(prefix="zchat-") as folder:
            context, keys = self._context, self._keys
            router, dealer = options.broker_router(context, keys), options.client_dealer(context)
            self._show(f"ipc://{folder}/router", router, dealer, now)
            xpub, sub = options.broker_xpub(context, keys), options.client_sub(context)
            self._show(f"ipc://{folder}/xpub", xpub, sub, now)
        self._audit.take()  # of strangers of our own nobody is told

    def close(self) -> None:
        """Nobody is let in any more."""
        self.socket.close(linger=0)

    # --- parts ------------------------------------------------------------------------------

    def _reply(self, frames: list[bytes], now: Instant) -> list[bytes]:
        """Frames of the answer; none to what is no question."""
        try:
            end = frames.index(b"")
            version, request, domain, address, _identity, mechanism, *proofs = frames[end + 1 :]
        except ValueError:
            return []
        status, user, text = b"400", b"", b"no key"
        if version == VERSION and mechanism == b"CURVE" and len(proofs) == 1 and len(proofs[0]) == KEY_BYTES:
            key = proofs[0].hex()
            code = (self._identities.hears if domain == curve.SUBSCRIBERS else self._identities.admits)(
                key, now.micros / 1e6
            )
            status, text = STATUSES.get(code, b"400"), code.encode()
            if code:
                self._note(key, address, code, now)
            else:
                user = key.encode()
        return [*frames[: end + 1], VERSION, request, status, text, user, b""]

    def _note(self, key: str, address: bytes, code: str, now: Instant) -> None:
        where = address.decode(errors="replace").removeprefix("::ffff:")
        self._audit.note("refused", now, key=short(key), address=where, code=code)

    def _show(
        self, at: str, listener: zmq.Socket[bytes], stranger: zmq.Socket[bytes], now: Callable[[], Instant]
    ) -> None:
        curve.prove(stranger, curve.new_pair(), self._keys.public)
        monitor = options.open_monitor(self._context, stranger, options.CLIENT_MONITORED | curve.HANDSHAKE_FAILED)
        try:
            listener.bind(at)
            stranger.connect(at)
            if not self._is_kept_out(monitor, now):
                raise StartError("libzmq does not keep a stranger's key out: the broker does not start")
        except zmq.ZMQError as error:
            raise StartError(f"cannot try whether keys keep strangers out: {error.strerror}") from error
        finally:
            options.close_monitor(stranger, monitor)
            stranger.close(linger=0)
            listener.close(linger=0)

    def _is_kept_out(self, monitor: zmq.Socket[bytes], now: Callable[[], Instant]) -> bool:
        deadline = time.monotonic() + SHOWN_SECONDS
        while time.monotonic() < deadline:
            self.socket.poll(int(LOOK_SECONDS * 1000))
            self.answer(now())
            while (event := options.read_event(monitor)) is not None:
                if event[0] == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    return True
                if event[0] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    return False
        return False
