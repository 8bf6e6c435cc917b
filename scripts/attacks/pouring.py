"""Many connections that send what they have at a rate, read or do not read, and come back when they are cut off.

Rules of this file
1. One thread, no waiting: a connection whose other side takes nothing holds up no other.
2. What is sent is made by generators, a chunk of whole messages at a time; nothing is made that is not sent soon.
3. The rate is that of all connections together.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from attacks import zmtp
from attacks.peers import Place

SENT_BYTES = 1 << 16  # at most in one call
ROUND_SENDS = 200  # of one connection before the next one has its turn
READ_BYTES = 1 << 18
BACK_SECONDS = 0.1  # who was cut off comes back after so long
PONG_SECONDS = 0.5  # a broker that pings hears from each one at least so often
DIALS_MAX = 50  # in one round

Makes = Callable[[int, str], Iterator[bytes]]  # chunks, of the number of the connection and the id of the broker's log


@dataclass(frozen=True)
class Source:
    """What some connections of one kind do."""

    makes: Makes  # after the last chunk the connection stays
    count: int = 1
    publisher: bool = False  # the port of the XPUB
    kind: bytes = b"DEALER"
    name: bytes | None = None  # its routing id
    greets: bool = True
    reads: bool = True
    segment: int = SENT_BYTES  # bytes of one call, and so of one TCP segment
    every_seconds: float = 0.0  # between two chunks


class Stream:
    """One connection of a source, in all its lives."""

    def __init__(self, source: Source, number: int, log_id: str) -> None:
        self.source = source
        self.socket: socket.socket | None = None
        self.dial_at = 0.0
        self._number, self._log_id = number, log_id

    def dial(self, place: Place) -> bool:
        """Begin a life."""
        source = self.source
        link = socket.socket()
        try:
            link.settimeout(1.0)
            link.connect((place.host, place.publisher if source.publisher else place.router))
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setblocking(False)
        except OSError:
            link.close()
            return False
        self.socket = link
        self._chunks = source.makes(self._number, self._log_id)
        self._pending = memoryview(zmtp.handshake(source.kind, source.name) if source.greets else b"")
        self._chunk_at = self._pong_at = 0.0
        self._greeted = 0  # bytes of the other side's greeting: what is sent before its READY is refused
        return True

    @property
    def is_ready(self) -> bool:
        """Whether both have greeted."""
        return self._greeted > zmtp.GREETING_BYTES or not self.source.greets

    def write(self, now: float, allowed: int) -> int:
        """Send what the other side takes, up to that many bytes; how many it were. Raises OSError at its end."""
        assert self.socket is not None
        sent = 0
        for _ in range(ROUND_SENDS):
            if sent >= allowed or (not self._pending and not self._more(now)):
                break
            try:
                count = self.socket.send(self._pending[: self.source.segment])
            except BlockingIOError:
                break
            self._pending = self._pending[count:]
            sent += count
        return sent

    def read(self) -> bool:
        """Take what came. False at its end."""
        assert self.socket is not None
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._greeted += len(data)
        return bool(data)

    def has_more(self, now: float) -> bool:
        """Whether there is something to send."""
        return bool(self._pending) or (self.is_ready and now >= self._chunk_at)

    def _more(self, now: float) -> bool:
        if not self.is_ready:
            return False
        if now >= self._pong_at and self.source.greets:
            self._pong_at = now + PONG_SECONDS
            self._pending = memoryview(zmtp.pong())
            return True
        if now < self._chunk_at:
            return False
        chunk = next(self._chunks, None)
        if chunk is None:
            self._chunk_at = now + PONG_SECONDS
            return False
        self._chunk_at = now + self.source.every_seconds
        self._pending = memoryview(chunk)
        return True


class Pour:
    """All connections of some sources."""

    def __init__(self, place: Place, sources: list[Source], bytes_per_second: float, log_id: str) -> None:
        place.check()
        self.counts: Counter[str] = Counter()
        self._place = place
        self._rate = bytes_per_second
        self._streams = [Stream(source, number, log_id) for source in sources for number in range(source.count)]
        self._by_descriptor: dict[int, Stream] = {}
        self._poll = select.epoll()

    def run(self, goes_on: Callable[[], bool]) -> None:
        """Until told otherwise."""
        tokens, at = 0.0, time.monotonic()
        first = 0
        streams = self._streams
        while goes_on():
            now = time.monotonic()
            tokens = min(tokens + (now - at) * self._rate, self._rate * 0.05 + SENT_BYTES)
            at = now
            self._dial(now)
            self._read(0.0 if tokens > 0 and any(s.socket and s.has_more(now) for s in streams) else 0.002)
            first = (first + 1) % len(streams)
            sent = 0
            for stream in streams[first:] + streams[:first]:
                if tokens <= sent:
                    break
                if stream.socket is not None:
                    sent += self._write(stream, now, int(tokens - sent) + 1)
            tokens -= sent
            if not sent:
                time.sleep(0.001)

    def close(self) -> None:
        """All leave at once."""
        for stream in self._streams:
            if stream.socket is not None:
                stream.socket.close()
        self._poll.close()

    def _dial(self, now: float) -> None:
        dials = 0
        for stream in self._streams:
            if stream.socket is None and now >= stream.dial_at and dials < DIALS_MAX:
                dials += 1
                stream.dial_at = now + BACK_SECONDS
                if stream.dial(self._place):
                    assert stream.socket is not None
                    self.counts["connections"] += 1
                    self._by_descriptor[stream.socket.fileno()] = stream
                    self._poll.register(stream.socket.fileno(), select.EPOLLIN)
                else:
                    self.counts["refused"] += 1

    def _read(self, seconds: float) -> None:
        for descriptor, events in self._poll.poll(seconds):
            stream = self._by_descriptor[descriptor]
            if events & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP) or not stream.read():
                self._ended(stream)
            elif stream.is_ready and not stream.source.reads:
                self._poll.modify(descriptor, select.EPOLLRDHUP)

    def _write(self, stream: Stream, now: float, allowed: int) -> int:
        try:
            sent = stream.write(now, allowed)
        except OSError:
            self._ended(stream)
            return 0
        self.counts["bytes"] += sent
        return sent

    def _ended(self, stream: Stream) -> None:
        assert stream.socket is not None
        self.counts["cut off"] += 1
        self._by_descriptor.pop(stream.socket.fileno(), None)
        stream.socket.close()
        stream.socket = None
        stream.dial_at = time.monotonic() + BACK_SECONDS
