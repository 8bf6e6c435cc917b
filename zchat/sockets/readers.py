"""The broker's reader threads: FETCH, SEEK and the search for a repeated publish, answered from the log.

Rules of this file: a reader touches the log and no socket; what it found it hands to the broker's loop.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from zchat import wire
from zchat.core import Instant
from zchat.core.broker import BrokerCore, Read
from zchat.errors import LogError
from zchat.log import Log

READERS = 2

Finished = Callable[[Instant], None]


class Readers:
    """A few threads that read the log."""

    def __init__(self, log: Log, core: BrokerCore, send: Callable[[bytes, bytes, Instant], None]) -> None:
        self._log = log
        self._core = core
        self._send = send
        self._threads = ThreadPoolExecutor(READERS, "zchat-read")

    def submit(self, read: Read, finish: Callable[[Finished], None]) -> None:
        """Answer it on a thread, then have the loop run what `finish` gets."""
        self._threads.submit(lambda: finish(self._read(read)))

    def close(self) -> None:
        """End the threads; what waits is not answered."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _read(self, read: Read) -> Finished:
        connection, request = read
        if isinstance(request, tuple):
            session, seq = request
            try:
                offset = self._log.find(session, seq)
            except LogError:
                offset = 0
            return lambda now: self._core.found(session, seq, offset)
        try:
            frame = self._answer(request)
        except LogError as error:
            frame = wire.encode(wire.Error("request", request.request, error.code, str(error)))
        return lambda now: self._answered(connection, frame, now)

    def _answer(self, request: wire.Fetch | wire.Seek) -> bytes:
        if isinstance(request, wire.Seek):
            # What is committed and not broadcast yet comes live: it is no history.
            head = self._core.head
            after = self._log.seek(request.patterns, request.last, request.since, request.presence)
            return wire.encode(wire.Position(request.request, min(after, head), head))
        page = self._log.read(
            request.patterns, request.after, request.until, request.limit, self._core.settings.page_bytes_max
        )
        batches = [(room, wire.raw(frame)) for room, frame in page.batches]
        return wire.encode(wire.Page(request.request, batches, page.upto, page.more, page.gaps))

    def _answered(self, connection: bytes, frame: bytes, now: Instant) -> None:
        self._core.read_done(connection)
        self._send(connection, frame, now)
