"""Where publishes are stored that are sent again: the newest batches are scanned once for all of a session.

Rules of this file
1. A broker looks for what one before it has answered: first back from where the log ended when it was
   opened, then in what was stored since, which grows as it looks.
2. What a scan passes of the session is remembered. A client repeats all that it has unacked, oldest first,
   so the first scan answers the others; with a scan for each, readers did nothing else for seconds.
3. Offsets do not change, so what is remembered stays true. A scan goes on where the last one stopped, also in
   the next slice.

Tests: tests/log/sqlite/test_deduplication.py.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict

from zchat import wire
from zchat.core.log import Sliced
from zchat.errors import WireError
from zchat.log.slices import Slice
from zchat.log.sqlite.scans import Scanner
from zchat.log.sqlite.schema import Snapshot

RECENT_BATCHES = 4_096  # of a stretch are scanned,
RECENT_BYTES = 256 << 20  # as far as they have no more bytes than this: about 0.1 s,
RECENT_PUBLISHES = 16_384  # and as far as no more publishes of the session are met
SESSIONS_KEPT = 64
CHUNK_ROWS = 64  # are looked into at once,
CHUNK_BYTES = 4 << 20  # as far as they have no more bytes


_NEWEST = "SELECT base FROM batches NOT INDEXED WHERE base BETWEEN ? AND ? ORDER BY base DESC LIMIT ?"


class Stretch:
    """Offsets that are still to be scanned, from `high` down to `low`."""

    __slots__ = ("batches", "bytes", "high", "low")

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.batches = self.bytes = 0  # scanned

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left, or no more of it is to be scanned."""
        return self.high < self.low or self.batches >= RECENT_BATCHES or self.bytes > RECENT_BYTES


class SessionPublishes:
    """What is known of one session."""

    __slots__ = ("head", "offsets", "session", "stretches")

    def __init__(self, session: str, opened: int) -> None:
        self.session = session
        self.offsets: dict[int, int] = {}  # `seq` -> offset
        self.stretches = [Stretch(1, opened)]
        self.head = opened  # what is above it is in no stretch yet

    def begin(self, seq: int, head: int) -> None:
        """That publish is looked for in what the log has up to `head`."""
        if head > self.head and seq not in self.offsets:
            self.stretches.append(Stretch(self.head + 1, head))
            self.head = head

    def go_on(self, connection: sqlite3.Connection, seq: int) -> bool:
        """Look into a few more batches. Returns whether it is found, or nothing is left to look into."""
        if seq not in self.offsets and self.stretches:
            stretch = self.stretches[0]
            if stretch.is_over:
                del self.stretches[0]
            else:
                self._scan(connection, Scanner(connection), stretch, seq)
        return seq in self.offsets or not self.stretches

    def _scan(self, connection: sqlite3.Connection, scanner: Scanner, stretch: Stretch, seq: int) -> None:
        """Some batches of a stretch, or up to the publish."""
        needle = self.session.encode()
        found = connection.execute(_NEWEST, (stretch.low, stretch.high, CHUNK_ROWS)).fetchall()
        enough = stretch.bytes + CHUNK_BYTES
        if not found:
            stretch.high = 0
        for (base,) in found:
            row = scanner.at(base)
            stretch.high = base - 1
            stretch.batches += 1
            if row is None:
                continue
            stretch.bytes += len(row.frame)
            if needle in row.frame:
                self.offsets.update(_offsets_in(row.frame, self.session))
                if len(self.offsets) > RECENT_PUBLISHES:
                    stretch.high = 0
            if stretch.is_over or seq in self.offsets or stretch.bytes > enough:
                return


class Deduplication:
    """The sessions that were asked for last. Used by any thread."""

    def __init__(self, opened: int) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, SessionPublishes] = OrderedDict()

    def find(self, snapshot: Snapshot, session: str, seq: int, head: int) -> Sliced[int]:
        """The offset of the first record of that publish; 0: it is not in the newest batches."""
        with self._lock:
            known = self._sessions.pop(session, None) or SessionPublishes(session, self._opened)
            self._sessions[session] = known
            if len(self._sessions) > SESSIONS_KEPT:
                self._sessions.popitem(last=False)
            known.begin(seq, head)
        while True:
            with snapshot() as connection:
                begun, is_done = Slice(), False
                while not is_done:
                    with self._lock:  # another thread may look for another publish of the session
                        is_done = known.go_on(connection, seq)
                    if begun.is_over:
                        break
            if is_done:
                return known.offsets.get(seq, 0)
            yield


def _offsets_in(frame: bytes, session: str) -> dict[int, int]:
    """`seq` -> offset of the publishes of a session in a batch."""
    found: dict[int, int] = {}
    try:
        batch = wire.decode_raw_batch(frame)
        offset = batch.base
        for entry in batch.entries:
            if entry.session == session:
                found[entry.seq] = offset
            offset += len(wire.decode_records(entry.records))
    except WireError:
        pass
    return found
