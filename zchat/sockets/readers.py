"""The broker's reader threads: FETCH, SEEK and the search for a repeated publish, answered from the log.

Rules of this file
1. A reader touches the log and no socket; what it found it hands to the broker's loop.
2. Whatever is raised becomes an answer, and the operator is told, once a minute; a thread ends with the broker only.

Which read is next is the core's business (`core/reads.py`). Tests: tests/sockets/test_readers.py.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from math import inf

from zchat import wire
from zchat.core import Instant
from zchat.core.broker import BrokerCore, Lookup, Read
from zchat.core.reads import READERS
from zchat.errors import LogError
from zchat.log import Log, Sliced

TOLD_SECONDS = 60.0

Finished = Callable[[Instant], None]


class Readers:
    """A few threads that read the log."""

    def __init__(
        self,
        log: Log,
        core: BrokerCore,
        send: Callable[[bytes, bytes, Instant], None],
        finish: Callable[[Finished], None],
        tell: Callable[[str], object],
    ) -> None:
        """`finish` has the broker's loop run something; `send` and the core are used there only."""
        self._log = log
        self._core = core
        self._send = send
        self._finish = finish
        self._tell = tell
        self._told = -inf
        self._is_closed = False
        self._reads: queue.SimpleQueue[Read | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="zchat-read", daemon=True) for _ in range(READERS)]
        for thread in self._threads:
            thread.start()

    def submit(self, read: Read) -> None:
        """Work on it for a slice; then the core is told."""
        self._reads.put(read)

    def close(self) -> None:
        """End the threads; what waits is not answered."""
        self._is_closed = True
        for _ in self._threads:
            self._reads.put(None)
        for thread in self._threads:
            thread.join()

    # --- on a reader thread -----------------------------------------------------------------

    def _work(self) -> None:
        while (read := self._reads.get()) is not None and not self._is_closed:
            began = time.monotonic()
            finished = self._go_on(read)
            self._finish(partial(finished, time.monotonic() - began))

    def _go_on(self, read: Read) -> Callable[[float, Instant], None]:
        """For a slice."""
        failed = partial(self._failed, read)  # made before it is needed: memory may be what is missing then
        try:
            if read.left is None:
                read.left = self._answer(read.request)
            next(read.left)
        except StopIteration as end:
            return partial(self._finished, read, end.value)
        except Exception as error:  # also of memory or depth: who asked has to be told, and the thread goes on
            read.left = error.with_traceback(None)
            return failed
        return partial(self._gave_way, read)

    def _answer(self, request: wire.Fetch | wire.Seek | Lookup) -> Sliced[Answered]:
        log = self._log
        if isinstance(request, Lookup):
            found: list[tuple[int, int, str]] = []
            for seq in request.seqs:
                offset = yield from log.find(request.session, seq)
                found.append((seq, offset, ""))
            return found
        if isinstance(request, wire.Seek):
            # What is committed and not broadcast yet comes live: it is no history.
            head = self._core.head
            after = yield from log.seek(request.patterns, request.last, request.since, request.presence)
            return wire.encode(wire.Position(request.request, min(after, head), head))
        bytes_max = self._core.settings.page_bytes_max
        page = yield from log.read(request.patterns, request.after, request.until, request.limit, bytes_max)
        batches = [(room, wire.raw(frame)) for room, frame in page.batches]
        return wire.encode(wire.Page(request.request, batches, page.upto, page.more, page.gaps))

    # --- in the broker's loop ---------------------------------------------------------------

    def _gave_way(self, read: Read, seconds: float, now: Instant) -> None:
        self._core.read_gave_way(read, seconds)

    def _finished(self, read: Read, answered: Answered, seconds: float, now: Instant) -> None:
        if not self._core.read_done(read, seconds):
            return
        if isinstance(answered, bytes):
            self._send(read.connection, answered, now)
            return
        assert isinstance(read.request, Lookup)
        for seq, offset, failure in answered:
            self._core.found(read.request.session, seq, offset, failure)

    def _failed(self, read: Read, seconds: float, now: Instant) -> None:
        error, request = read.left, read.request
        code = error.code if isinstance(error, LogError) else "log-failed"
        text = str(error) if isinstance(error, LogError) else f"{type(error).__name__}: {error}"[:200]
        if now.seconds - self._told >= TOLD_SECONDS:
            self._told = now.seconds
            self._tell(f"the log cannot be read: {text}")
        if isinstance(request, Lookup):
            answered: Answered = [(seq, 0, text) for seq in request.seqs]
        else:
            answered = wire.encode(wire.Error("request", request.request, code, text))
        self._finished(read, answered, seconds, now)


Answered = bytes | list[tuple[int, int, str]]  # a frame; or of each publish: `seq`, offset, why that is not known
