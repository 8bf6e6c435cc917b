"""Full text search in a log: newest first, by an index of words as far as there is one, else by looking through.

    SEARCH ─► what is newer than the index: looked through, a window at a time ─► what the index names ─► FOUND

Rules of this file
1. The index only says where to look: each message is read from the log, and looked at, before it is told. So what was
   trimmed is not found, and an index that is wrong finds too little, never what is not there.
2. An answer is bounded by what was looked at, too: it says down to where it looked, and who wants more asks on.
3. An index that fails is no failure of the search.

Spec: docs/protocol.md, "Search". Tests: tests/core/test_search.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from msgspec import Raw

from zchat import wire
from zchat.core.answers import EMPTY_PAGES_MAX, given, wrong
from zchat.core.log import LogPage, Sliced, WordIndex
from zchat.core.steps import Ask, Steps
from zchat.core.words import Finder, asked_for, searched
from zchat.errors import LogError, WireError
from zchat.message import Message, messages
from zchat.names import matcher, user_key

WINDOW_OFFSETS = 8_192  # that are looked through at a time
WINDOWS_MAX = 64  # in one answer
NAMED_MAX = 256  # offsets that the index names at a time,
LOOKED_AT_MAX = 2_048  # and that are looked at for one answer
FOUND_MAX = 1_000  # messages in one answer
RECORDS_A_SLICE = 512  # are looked at, some milliseconds
READ_BYTES = 1 << 20


class Searchable(Protocol):
    """What a search needs of a log; see `Log`."""

    def read(self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int) -> Sliced[LogPage]:
        """A page."""

    def seek(self, patterns: list[str], last: int, since: int, presence: bool) -> Sliced[int]:
        """Where to begin."""


def search(
    log: Searchable, index: WordIndex | None, asked: wire.Search, head: int, bytes_max: int
) -> Sliced[wire.Found]:
    """The answer to SEARCH; nothing above `head` is in it. Raises LogError."""
    one = _Looking(log, asked, bytes_max)
    after = (yield from log.seek(asked.patterns, 0, asked.since, False)) if asked.since else 0
    below = min(asked.below or head + 1, head + 1)
    known = 0
    if index is not None:
        known = index.upto()
        below = yield from one.by_looking(max(after, known), below)
        try:
            while below > after + 1 and below <= known + 1 and not one.is_over:
                below = yield from one.by_index(index, after, below)
        except LogError:
            known = 0
    if not known:
        below = yield from one.by_looking(after, below)
    downto = below - 1
    return wire.Found(asked.request, one.found, downto, downto > after, known)


class _Looking:
    """One answer, and what it has cost so far."""

    def __init__(self, log: Searchable, asked: wire.Search, bytes_max: int) -> None:
        self.found: list[tuple[str, Raw]] = []
        self._log = log
        self._asked = asked
        self._phrases = asked_for(asked.words)
        self._finder = Finder(self._phrases)
        self._user = user_key(asked.user) if asked.user else ""
        self._count = min(asked.last, FOUND_MAX)
        self._bytes_left = bytes_max
        self._windows = WINDOWS_MAX
        self._looks = LOOKED_AT_MAX

    @property
    def is_over(self) -> bool:
        """Whether the answer is full, or has cost enough."""
        return len(self.found) >= self._count or self._bytes_left <= 0 or not self._windows or self._looks <= 0

    def by_looking(self, after: int, below: int) -> Sliced[int]:
        """Look through what is between, from its end. Returns below what has not been looked at."""
        while below > after + 1 and not self.is_over:
            self._windows -= 1
            first = max(after, below - 1 - WINDOW_OFFSETS)
            found = yield from self._looked_through(first, below - 1)
            below = first + 1
            for room, batch in reversed(found):
                if self.is_over:
                    below = batch.base + 1
                    break
                self._add(room, batch)
        return below

    def by_index(self, index: WordIndex, after: int, below: int) -> Sliced[int]:
        """The same by the index, for some of what it names."""
        offsets = yield from index.find(self._phrases, self._asked.patterns, self._user, after, below, NAMED_MAX)
        for offset in offsets:
            if self.is_over:
                return offset + 1
            self._looks -= 1
            for room, batch in (yield from self._looked_through(offset - 1, offset)):
                self._add(room, batch)
        return offsets[-1] if len(offsets) == NAMED_MAX else after + 1

    # --- parts ------------------------------------------------------------------------------

    def _add(self, room: str, batch: wire.Batch) -> None:
        frame = wire.encode(batch)
        self.found.append((room, wire.raw(frame)))
        self._bytes_left -= len(frame)

    def _looked_through(self, after: int, until: int) -> Sliced[list[tuple[str, wire.Batch]]]:
        """The messages between that are wanted, each in a batch of its own, in order."""
        found: list[tuple[str, wire.Batch]] = []
        looked_at, more = 0, True
        while more and after < until:
            page = yield from self._log.read(self._asked.patterns, after, until, 0, READ_BYTES)
            for room, frame in page.batches:
                try:
                    batch = wire.decode_batch(frame)
                except WireError:
                    continue  # nobody could read it
                found += ((room, one) for one in self._wanted(batch, after, until))
                looked_at += sum(len(entry.records) for entry in batch.entries)
                if looked_at >= RECORDS_A_SLICE:
                    looked_at = 0
                    yield
            more, after = page.more and page.upto > after, page.upto
        return found

    def _wanted(self, batch: wire.Batch, after: int, until: int) -> Iterator[wire.Batch]:
        if batch.kind != wire.MESSAGES:
            return
        finds, end = self._finder.finds, batch.base
        for entry in batch.entries:
            begin, end = end, end + len(entry.records)
            if begin > until or end <= after or (self._user and user_key(entry.user) != self._user):
                continue
            for offset, record in enumerate(entry.records, begin):
                if after < offset <= until and batch.time >= self._asked.since and finds(searched(record)):
                    alone = wire.Entry(entry.user, entry.session, entry.seq, [record])
                    yield wire.Batch(wire.MESSAGES, offset, 0, batch.time, [alone])


# --- the client's -------------------------------------------------------------------------------


def searching(asked: wire.Search) -> Steps[list[Message]]:
    """Ask until as many are found, or nothing is left. Raises Refused, WireError."""
    is_asked = matcher(asked.patterns)
    found: list[Message] = []
    below, empty = 0, 0
    while True:
        left, before = asked.last - len(found), below
        answer = given(
            (yield Ask(wire.Search(0, asked.words, asked.patterns, left, below, asked.user, asked.since))), wire.Found
        )
        for room, frame in answer.batches:
            batch = wire.decode_batch(frame)
            if not is_asked(room) or (below and batch.base >= below) or not batch.base:
                raise wrong(f"a message at {batch.base} of {room}, which was not searched")
            below = batch.base
            found += list(messages(room, batch, batch.base))[:1]
        empty = 0 if answer.batches else empty + 1
        if len(found) >= asked.last or not answer.more:
            return found[: asked.last]
        does_not_go_on = before and answer.downto + 1 >= before
        if does_not_go_on or (below and answer.downto >= below) or empty > EMPTY_PAGES_MAX:
            raise wrong(f"searched down to {answer.downto} below {below}, and more")
        below = answer.downto + 1
