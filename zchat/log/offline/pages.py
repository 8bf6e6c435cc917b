"""The batches of a log from the pages of its file, where the tree over them is damaged.

Rules of this file
1. Nothing is trusted: a page is taken for a leaf of a table because its first byte says so, a cell for a
   batch because its CRC proves it. One bad pointer above, at worst in the root, so hides nothing.
2. A page that is newer in the WAL is read from there, up to the last commit in it.
3. Pages that are free hold batches that retention has removed; whoever knows the rooms leaves those out.

    page    13 | … | number of cells (2) | … | pointers to cells (2 each) | … | cells
    cell    bytes of the record | base | record, as far as it lies here | first overflow page (4), if it goes on
    record  bytes of this header | type of each column | room | kind | records | time | crc | frame

The format: https://sqlite.org/fileformat2.html, "B-tree Pages", "Record Format", "The Write-Ahead Log".
Tests: tests/log/offline/test_pages.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path
from types import TracebackType

from zchat.log.sqlite.schema import PAGE_BYTES
from zchat.log.sqlite.stored import BatchRow, is_sound

TABLE_LEAF = 13
LEAF_HEADER_BYTES = 8
WAL_MAGICS = (0x377F0682, 0x377F0683)
WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
COLUMNS = 7  # of `batches`; the first is the key, which is not in the record
INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # by the type of a column
CONSTANTS = {8: 0, 9: 1}
BLOB = 12  # and above, where it is even: twice its length more

# Of a record, so much lies in its cell at most; of one that is longer, as the format says.
LOCAL_MAX = PAGE_BYTES - 35
LOCAL_MIN = (PAGE_BYTES - 12) * 32 // 255 - 23
OVERFLOW_BYTES = PAGE_BYTES - 4


class _Broken(Exception):
    """What should be a cell is none."""


class DatabasePages:
    """The pages of a database, as its last commit left them. Read only; a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = path.open("rb")
        self.count = -(-path.stat().st_size // PAGE_BYTES)
        self._wal_file = None
        self._in_wal: dict[int, int] = {}  # number of a page -> where it lies in the WAL
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists():
            self._wal_file = wal.open("rb")
            self._read_wal(wal.stat().st_size)
            self.count = max([self.count, *self._in_wal])

    def __enter__(self) -> DatabasePages:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self._file.close()
        if self._wal_file is not None:
            self._wal_file.close()

    def page(self, number: int) -> bytes:
        """That page, the first one being 1; shorter where the file ends or a sector is bad."""
        file, at = self._file, (number - 1) * PAGE_BYTES
        if number in self._in_wal and self._wal_file is not None:
            file, at = self._wal_file, self._in_wal[number]
        try:
            file.seek(at)
            return file.read(PAGE_BYTES)
        except (OSError, ValueError, OverflowError):
            return b""

    def _read_wal(self, size: int) -> None:
        """Find the newest of each page, as far as commits go."""
        assert self._wal_file is not None
        header = self._wal_file.read(WAL_HEADER_BYTES)
        if len(header) < WAL_HEADER_BYTES:
            return
        magic, _, page_bytes, _, *salts, _, _ = struct.unpack(">8I", header)
        if magic not in WAL_MAGICS or page_bytes != PAGE_BYTES:
            return
        uncommitted: dict[int, int] = {}
        for at in range(WAL_HEADER_BYTES, size, FRAME_HEADER_BYTES + PAGE_BYTES):
            self._wal_file.seek(at)
            frame = self._wal_file.read(FRAME_HEADER_BYTES)
            if len(frame) < FRAME_HEADER_BYTES or size - at < FRAME_HEADER_BYTES + PAGE_BYTES:
                return
            number, committed, *frame_salts, _, _ = struct.unpack(">6I", frame)
            if frame_salts != salts:  # of what was written before this WAL was begun anew
                return
            uncommitted[number] = at + FRAME_HEADER_BYTES
            if committed:
                self._in_wal |= uncommitted
                uncommitted = {}


def batches(path: Path) -> Iterator[BatchRow]:
    """Every batch in the pages of that database that is what was written, in order, each once. Raises OSError."""
    with DatabasePages(path) as pages:
        leaves = sorted(
            (min(bases), number) for number in range(2, pages.count + 1) if (bases := _bases(pages, number))
        )
        ahead: list[tuple[int, int, bytes]] = []  # base, place, page; of leaves that begin before what comes next
        done = 0
        for first, number in [*leaves, (None, 0)]:
            while ahead and (first is None or ahead[0][0] < first):
                base, at, page = heappop(ahead)
                if base != done and (row := _row(pages, page, at)):
                    done = base
                    yield row
            page = pages.page(number) if number else b""
            for base, at in _cells(page):
                heappush(ahead, (base, at, page))


# --- leaves -------------------------------------------------------------------------------------


def _bases(pages: DatabasePages, number: int) -> list[int]:
    return [base for base, _ in _cells(pages.page(number))]


def _cells(page: bytes) -> Iterator[tuple[int, int]]:
    """Base and place of the cells of a page; none where it is no leaf of a table."""
    if len(page) < LEAF_HEADER_BYTES or page[0] != TABLE_LEAF:
        return
    count = min(int.from_bytes(page[3:5]), (len(page) - LEAF_HEADER_BYTES) // 2)
    for (at,) in struct.iter_unpack(">H", page[LEAF_HEADER_BYTES : LEAF_HEADER_BYTES + 2 * count]):
        try:
            _, behind = _varint(page, at)
            base, _ = _varint(page, behind)
        except _Broken:
            continue
        if base > 0:
            yield base, at


def _row(pages: DatabasePages, page: bytes, at: int) -> BatchRow | None:
    """The batch whose cell is there; None: it is none, or not what was written."""
    try:
        size, at = _varint(page, at)
        base, at = _varint(page, at)
        columns = _columns(_record(pages, page, at, size))
    except _Broken:
        return None
    if columns is None or not is_sound(base, *columns):
        return None
    return BatchRow(base, *columns)


def _record(pages: DatabasePages, page: bytes, at: int, size: int) -> bytes:
    """The record that begins there, with what lies of it in other pages."""
    if size <= LOCAL_MAX:
        return page[at : at + size]
    if size > pages.count * PAGE_BYTES:
        raise _Broken
    local = LOCAL_MIN + (size - LOCAL_MIN) % OVERFLOW_BYTES
    if local > LOCAL_MAX:
        local = LOCAL_MIN
    parts, missing = [page[at : at + local]], size - local
    following = int.from_bytes(page[at + local : at + local + 4])
    while missing > 0:
        overflow = pages.page(following) if 1 < following <= pages.count else b""
        part = overflow[4 : 4 + min(missing, OVERFLOW_BYTES)]
        if not part:
            raise _Broken
        parts.append(part)
        missing -= len(part)
        following = int.from_bytes(overflow[:4])
    return b"".join(parts)


def _columns(record: bytes) -> tuple[int, int, int, int, int, bytes] | None:
    """Room, kind, records, time, CRC and frame, when they are of the types that they should be."""
    behind_header, at = _varint(record, 0)
    types: list[int] = []
    while at < behind_header and len(types) <= COLUMNS:
        kind, at = _varint(record, at)
        types.append(kind)
    if len(types) != COLUMNS or types[0] != 0 or types[-1] < BLOB or types[-1] % 2:
        return None
    at, numbers = behind_header, []
    for kind in types[1:-1]:
        if kind in CONSTANTS:
            numbers.append(CONSTANTS[kind])
        elif kind in INTEGER_BYTES:
            numbers.append(int.from_bytes(record[at : at + INTEGER_BYTES[kind]], signed=True))
            at += INTEGER_BYTES[kind]
        else:
            return None
    room, kind, records, time, crc = numbers
    return room, kind, records, time, crc, record[at : at + (types[-1] - BLOB) // 2]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number there, and where the next thing begins."""
    value = 0
    try:
        for place in range(at, at + 8):
            byte = data[place]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, place + 1
        value = value << 8 | data[at + 8]
    except IndexError:
        raise _Broken from None
    return (value if value < 1 << 63 else value - (1 << 64)), at + 9
