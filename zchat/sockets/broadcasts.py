"""What is broadcast on the XPUB, and who has no room for it.

Rules of this file
1. libzmq drops a message for a subscriber whose queue is full; or refuses to send it to anybody, if that is set.
2. So a batch that may wait is refused while a subscriber of it is full. One that may not is sent to all others, and who
   is full loses it, and all that follow until half of its queue is empty: then nobody waits for it, either.

Spec: docs/design.md, "The broker's sockets". Tests: tests/sockets/test_broadcasts.py.
"""

from __future__ import annotations

from collections.abc import Iterable

import zmq

from zchat import wire
from zchat.sockets.options import DONTWAIT, SNDMORE, sender


class Broadcasts:
    """The XPUB's way out."""

    def __init__(self, xpub: zmq.Socket[bytes]) -> None:
        self._xpub = xpub
        self._send = sender(xpub)
        self.bytes = 0  # of frames, so far
        xpub.setsockopt(zmq.XPUB_NODROP, 1)

    def send(self, broadcasts: Iterable[tuple[bytes, bytes]], *, patient: bool) -> set[bytes]:
        """(topic, frame), in order. Returns the frames that were refused: volatile batches, when `patient`."""
        send, refused, full = self._send, set[bytes](), set[bytes]()
        for topic, frame in broadcasts:
            may_wait = patient and frame[1] == wire.VOLATILE_MESSAGES
            if may_wait and topic in full:
                refused.add(frame)
                continue
            try:
                send(topic, SNDMORE | DONTWAIT)
                send(frame, DONTWAIT)
            except zmq.Again:
                if may_wait:
                    refused.add(frame)
                    full.add(topic)
                    continue
                self._send_to_others(topic, frame)
            self.bytes += len(frame)
        return refused

    def _send_to_others(self, topic: bytes, frame: bytes) -> None:
        """Whose queue is full loses it."""
        xpub = self._xpub
        xpub.setsockopt(zmq.XPUB_NODROP, 0)
        xpub.send(topic, SNDMORE)
        xpub.send(frame)
        xpub.setsockopt(zmq.XPUB_NODROP, 1)
