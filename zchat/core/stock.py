"""Records that a group is about to hand out: batches of its room as they are stored, from which runs are cut.

Rules of this file
1. A batch that is handed out whole goes as the frame that is stored; of one that is cut, entries go as their bytes.
2. Nothing is done for each record in Python: an entry that has to be cut is cut in C, and split once.

    batch 40…49, entries of 4, 1 and 5 records: cut(42, 46) -> the last two of the first, the second, two of the third

Spec: docs/protocol.md, "Groups". Tests: tests/core/test_stock.py.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from zchat import wire


class StockBatch:
    """One batch of a room."""

    __slots__ = ("_bases", "_batch", "_split", "base", "frame", "last", "size")

    def __init__(self, frame: bytes, base: int, records: int, batch: wire.RawBatch | None = None) -> None:
        self.frame = frame
        self.base = base
        self.last = base + records - 1
        self.size = len(frame)  # bytes
        self._batch = batch
        self._bases: list[int] = []  # where each entry begins
        self._split: tuple[int, list[msgspec.Raw]] = (-1, [])  # the entry that was cut last, and its records

    @classmethod
    def of_frame(cls, frame: bytes) -> StockBatch | None:
        """Of a stored batch; None where it has no messages. Raises WireError."""
        if wire.decode_head(frame).kind != wire.MESSAGES:
            return None
        batch = wire.decode_raw_batch(frame)
        return cls(frame, batch.base, sum([wire.count_of(entry.records) for entry in batch.entries]), batch)

    def cut(self, first: int, last: int) -> bytes:
        """The batch of those records alone. Raises WireError."""
        if first == self.base and last == self.last:
            return self.frame
        time = self._decoded().time
        return wire.encode(wire.RawBatch(wire.MESSAGES, first, 0, time, self.entries(first, last)))

    def entries(self, first: int, last: int) -> list[wire.RawEntry]:
        """What `cut` has in it. Raises WireError."""
        batch, bases = self._decoded(), self._bases
        found = []
        for number in range(bisect_right(bases, first) - 1, bisect_right(bases, last)):
            entry, begin, end = batch.entries[number], bases[number], bases[number + 1]
            if begin < first or end > last + 1:
                split = self._records_of(number)[max(first - begin, 0) : last + 1 - begin]
                entry = wire.RawEntry(entry.user, entry.session, entry.seq, wire.joined_records(split))
            found.append(entry)
        return found

    def _decoded(self) -> wire.RawBatch:
        if self._batch is None:
            self._batch = wire.decode_raw_batch(self.frame)
        if not self._bases:
            base = self.base
            for entry in self._batch.entries:
                self._bases.append(base)
                base += wire.count_of(entry.records)
            self._bases.append(base)
        return self._batch

    def _records_of(self, number: int) -> list[msgspec.Raw]:
        if self._split[0] != number:
            self._split = number, wire.split_records(self._decoded().entries[number].records)
        return self._split[1]
