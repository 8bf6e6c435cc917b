"""What is read from the log beside the loop: FETCH, SEEK, LATEST and the search for a repeated publish, in slices.

    the loop --submit--> port.work: a slice of the read --later--> the loop: the core is told, the answer is sent

Rules of this file
1. What works on a read touches the log and nothing else; what it found it hands to the broker's loop.
2. Whatever is raised becomes an answer, and the operator is told, once a minute.

Which read is next is the core's business (`core/reads.py`). Tests: tests/core/test_read_worker.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

from zchat import wire
from zchat.core import Instant
from zchat.core.broker import BrokerCore, Lookup, Read
from zchat.core.broker_port import BrokerPort
from zchat.core.channels import reply_to
from zchat.core.log import Log, Sliced, WordIndex
from zchat.core.reads import ReadRequest
from zchat.core.search import search
from zchat.core.stock import StockBatch
from zchat.core.stocking import READ_BYTES, StockPage, StockRead
from zchat.core.views import View
from zchat.errors import LogError

TOLD_SECONDS = 60.0

Later = Callable[[Instant], None]
# A frame; of each publish `seq`, offset, why that is not known; or what a group needs, None where it cannot be had.
ReadAnswer = bytes | list[tuple[int, int, str]] | StockPage | None


class ReadWorker:
    """Reads the log for a broker."""

    def __init__(
        self,
        log: Log,
        core: BrokerCore,
        port: BrokerPort,
        later: Callable[[Later], None],
        tell: Callable[[str], object],
        index: WordIndex | None,
    ) -> None:
        """`later` has the broker's loop run something; the core and the port's `send` are used there only."""
        self._log = log
        self._index = index
        self._core = core
        self._port = port
        self._later = later
        self._tell = tell
        self._told = -inf

    def submit(self, read: Read) -> None:
        """Work on it for a slice; then the core is told."""
        self._port.work(partial(self._work, read))

    # --- beside the loop --------------------------------------------------------------------

    def _work(self, read: Read) -> None:
        began = self._port.seconds()
        finished = self._go_on(read)
        self._later(partial(finished, self._port.seconds() - began))

    def _go_on(self, read: Read) -> Callable[[float, Instant], None]:
        """For a slice."""
        failed = partial(self._failed, read)  # made before it is needed: memory may be what is missing then
        try:
            if read.left is None:
                read.left = self._answer(read)
            next(read.left)
        except StopIteration as end:
            return partial(self._finished, read, end.value)
        except Exception as error:  # also of memory or depth: who asked has to be told, and the thread goes on
            read.left = error.with_traceback(None)
            return failed
        return partial(self._gave_way, read)

    def _answer(self, read: Read) -> Sliced[ReadAnswer]:
        log, request, view = self._log, read.request, read.view
        if isinstance(request, StockRead):
            return (yield from self._stock(request))
        if isinstance(request, Lookup):
            found: list[tuple[int, int, str]] = []
            for seq in request.seqs:
                offset = yield from log.find(request.session, seq)
                found.append((seq, offset, ""))
            return found
        assert view is not None, "of a session"
        return (yield from self._read(request, view))

    def _read(self, request: ReadRequest, view: View) -> Sliced[bytes]:
        log = view.history(self._log)
        if isinstance(request, wire.Seek):
            # What is committed and not broadcast yet comes live: it is no history.
            head = self._core.head
            after = yield from log.seek(request.patterns, request.last, request.since, request.presence)
            return wire.encode(wire.Position(request.request, min(after, head), head))
        bytes_max = self._core.settings.page_bytes_max
        if isinstance(request, wire.Search):
            return wire.encode((yield from search(log, self._index, request, self._core.head, bytes_max)))
        if isinstance(request, wire.Latest):
            # What is committed and not broadcast yet would come twice.
            until = min(request.until or self._core.head, self._core.head)
            page = yield from log.latest(request.patterns, request.after, until, request.count, bytes_max)
        else:
            page = yield from view.fetched(self._log, request, bytes_max)
        batches = [(room, wire.raw(frame)) for room, frame in page.batches]
        return wire.encode(wire.Page(request.request, batches, page.upto, page.more, page.gaps))

    def _stock(self, read: StockRead) -> Sliced[StockPage]:
        page = yield from self._log.read([read.group.room], read.after, read.until, 0, READ_BYTES)
        batches = [StockBatch.of_frame(frame) for _, frame in page.batches]
        return StockPage([batch for batch in batches if batch is not None], page.upto, page.gaps)

    # --- in the broker's loop ---------------------------------------------------------------

    def _gave_way(self, read: Read, seconds: float, now: Instant) -> None:
        if isinstance(read.request, StockRead):
            self.submit(read)
        else:
            self._core.read_gave_way(read, seconds)

    def _finished(self, read: Read, answered: ReadAnswer, seconds: float, now: Instant) -> None:
        if isinstance(read.request, StockRead):
            if isinstance(answered, StockPage):
                self._core.groups.read(read.request, answered, now)
            else:
                self._core.groups.unread(read.request, now)
            return
        if read.view is not None and read.view.table is not self._core.rights.table:
            if (refusal := self._core.renew(read)) is None:  # other rules hold: it is read by those
                self.submit(read)
                return
            answered = refusal
        if not self._core.read_done(read, seconds):
            return
        if isinstance(answered, bytes):
            self._port.send([reply_to(read.endpoint, answered)], now)
            return
        assert isinstance(read.request, Lookup) and isinstance(answered, list)
        for seq, offset, failure in answered:
            self._core.found(read.request.session, seq, offset, failure)

    def _failed(self, read: Read, seconds: float, now: Instant) -> None:
        error, request = read.left, read.request
        code = error.code if isinstance(error, LogError) else "log-failed"
        text = str(error) if isinstance(error, LogError) else f"{type(error).__name__}: {error}"[:200]
        if now.seconds - self._told >= TOLD_SECONDS:
            self._told = now.seconds
            self._tell(f"the log cannot be read: {text}")
        answered: ReadAnswer = None
        if isinstance(request, Lookup):
            answered = [(seq, 0, text) for seq in request.seqs]
        elif not isinstance(request, StockRead):
            answered = wire.encode(wire.Error("request", request.request, code, text))
        self._finished(read, answered, seconds, now)
