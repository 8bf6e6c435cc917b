"""What a broker asks of its log, and the rows that go in and come out. No log lives here; `cli/serving.py` picks one.

A log is the broker's memory: batches of records in offset order, and the sessions that wrote them.
One contract suite, tests/log/contract.py, runs on every implementation; `log/memory.py` is the
executable specification, `log/sqlite/log.py` the log on disk.

Tests: tests/core/test_log.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from zchat.core.words import Phrase
from zchat.errors import LogError
from zchat.settings import RetentionRule as RetentionRule
from zchat.wire import Gap as Gap

T = TypeVar("T")
May: TypeAlias = Callable[[str], bool]  # whether a room may be read; one that is given twice is the same question
Sliced: TypeAlias = Generator[None, None, T]  # a read: yields where it gives way; its answer is what it returns

USERS_SEEN_KEPT = 20_000  # of users who have gone; more than a broker asks for, and without a bound it only grew


class StoredBatch(NamedTuple):
    """One batch on its way to the log; `frame` is what is stored and what is broadcast.

    Its `prev` is the offset of the room's last record before it (0: there was none), as `Log.rooms` says or the
    batch before it in the same commit, also when that record was trimmed since. By `prev` alone a read sees
    that something is missing: one that is too low hides a loss, one that is too high makes one up.
    """

    base: int  # offset of its first record; bases rise from batch to batch
    room: str
    kind: int  # wire.MESSAGES or wire.PRESENCE
    records: int  # how many: it covers the offsets base … base + records - 1
    time: int  # microseconds since 1970; never below that of the batch before
    frame: bytes  # the encoded wire.RawBatch


class SessionRow(NamedTuple):
    """What outlives the broker of one session."""

    session: str
    user: str
    last_seq: int
    seen: int  # microseconds since 1970
    rooms: dict[str, int]  # rooms it is a member of -> since (microseconds)


class SeenRow(NamedTuple):
    """A user who has gone."""

    user: str
    seen: int  # microseconds since 1970: when something last came from one of the user's sessions


class CursorRow(NamedTuple):
    """How far a reader of a user has got, under a name that the user chose."""

    user: str  # its key
    name: str
    offset: int
    time: int  # microseconds since 1970: when it was set


class GroupRow(NamedTuple):
    """How far a group of a room has got with its work."""

    room: str
    name: str
    upto: int  # all of the room up to here was handed out, once at least
    max_deliveries: int  # of one record; 0: no bound
    time: int  # microseconds since 1970: when it was made or set
    pending: list[tuple[int, int, int]]  # first, last, deliveries: what of it is not done, in the order of offsets


class ScheduledRow(NamedTuple):
    """A message that is to be sent later; without records, one that was sent, or taken back."""

    owner: str  # the user's key
    id: str
    user: str
    session: str
    room: str
    due: int  # microseconds since 1970; once it is done, when that was
    origin: str  # where it came from, as it is counted
    records: bytes  # encoded: one


class LogStart(NamedTuple):
    """One start of a broker on a log."""

    start: str  # random
    head: int  # of the log at that time


class Append(NamedTuple):
    """One commit: all of it is kept, or nothing."""

    batches: list[StoredBatch]
    sessions: list[SessionRow]  # inserted, or replacing the row of the same session
    ended: list[str]  # sessions whose row goes
    seen: dict[str, int]  # user -> last seen (microseconds), for users who have gone
    cursors: list[CursorRow] = []  # inserted, or replacing the one of the same user and name
    dropped: list[tuple[str, str]] = []  # (user, name): cursors whose row goes; none is in `cursors` too
    groups: list[GroupRow] = []  # inserted, or replacing the one of the same room and name
    removed: list[tuple[str, str]] = []  # (room, name): groups whose row goes; none is in `groups` too
    scheduled: list[ScheduledRow] = []  # inserted, or replacing the one of the same owner and id
    forgotten: list[tuple[str, str]] = []  # (owner, id): of these the row goes; none is in `scheduled` too


class LogPage(NamedTuple):
    """Answer to `read`."""

    batches: list[tuple[str, bytes]]  # (room, frame) in offset order
    upto: int  # everything that matches up to here is in `batches`, in `gaps`, or does not exist; go on from here
    more: bool  # something that matches is above `upto` (and not above `until`), or that is not known yet
    gaps: list[Gap]


class LogFacts(NamedTuple):
    """What a broker must know of its log when it starts."""

    log_id: str
    secret: bytes
    head: int
    last_time: int
    rooms: dict[str, int]
    sessions: list[SessionRow]
    users_seen: list[SeenRow]
    cursors: list[CursorRow] = []
    starts: list[LogStart] = []  # the present one last
    groups: list[GroupRow] = []
    empty_rooms: list[str] = []
    scheduled: list[ScheduledRow] = []


def facts_of(log: Log, users_seen_max: int) -> LogFacts:
    """Ask the log for all of it."""
    return LogFacts(
        log.log_id,
        log.secret,
        log.head(),
        log.last_time(),
        log.rooms(),
        log.sessions(),
        log.users_seen(users_seen_max),
        log.cursors(),
        log.starts(),
        log.groups(),
        log.empty_rooms(),
        log.scheduled(),
    )


class WordIndex(Protocol):
    """Where words are in a log: an index beside it, filled behind it. Any thread may ask."""

    def upto(self) -> int:
        """All messages up to that offset are in it; 0: none, or it cannot be read."""

    def find(
        self, phrases: Sequence[Phrase], patterns: list[str], user: str, after: int, below: int, count: int
    ) -> Sliced[list[int]]:
        """Offsets between, newest first, `count` at most, of messages that may have all phrases; `user`: a user's key,
        or empty. All that have them are among those, or below the last one. Raises LogError."""


class Log(Protocol):
    """Keeps batches and sessions.

    `append` is called from one thread, one at a time: the next one only after `done` was called. The
    reads may be called from any thread, at any time. Every error comes out as LogError.

    `read`, `latest`, `seek` and `find` may take long, and are worked on in slices: `whole(log.read(…))` is the
    answer, and who has others to serve too goes on with it by `next`, from any thread, one at a time. Between two
    slices the log may be written and trimmed; nothing of it is held.
    """

    log_id: str  # random, made with the log
    secret: bytes  # 32 random bytes, made with the log: the key of the resume tokens

    def append(self, append: Append, done: Callable[[LogError | None], None]) -> None:
        """Keep all of it, then call `done(None)`; or keep none of it and call `done(error)`.

        Returns at once; `done` may be called from another thread, or before this returns.
        """

    def append_now(self, append: Append) -> bool:
        """Keep all of it before this returns, by the thread that calls `append`, if that is likely to take a moment.

        False: nothing was tried, `append` it. Raises LogError when it was tried, and none of it is kept.
        """

    def read(
        self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """Batches with a record in `after < offset <= until` (0: no end) in rooms that match a pattern, and that `may`
        be read: for `latest` and `seek`, too, there are no others. None: all may be.

        Batches come whole, also when they reach over an end: the reader leaves out the records that it has or did
        not ask for. Stops when `limit` records (0: none) or `bytes_max` bytes are reached, yet not before the first
        batch. `upto` is the last offset of the last batch returned when `more`; else `until`, or the log's head
        where `until` is 0 or above it. A batch that cannot be read or whose checksum is wrong is a gap, never
        returned; so is what was trimmed of a room, as far as it lies in the range. Gaps end at `upto`. What is
        trimmed between two slices of it is a gap too, or was read before; what is appended meanwhile is not in it.

        Where a damaged index leaves only the table to scan, a page may end early, after many batches of other
        rooms: with `more`, an `upto` above `after`, and fewer batches than asked for or none.
        """

    def latest(
        self, patterns: list[str], after: int, until: int, count: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """The last `count` messages of each room that matches, of those in `after < offset <= until`; paged as `read`.

        Joins and leaves are none. A batch that has more than is wanted comes cut: its end, as a batch of its own, which
        has the offset of its first record as its base. So a page takes as much as it says, and not what the batches
        have. What was trimmed is missing without a word: nobody asked for it. What cannot be read is a gap.
        """

    def seek(self, patterns: list[str], last: int, since: int, presence: bool, may: May | None = None) -> Sliced[int]:
        """The offset after which the last `last` records start, or (last = 0) those not older than `since`.

        `last` counts messages; with `presence`, joins and leaves too. Fewer than `last` are left, or none were ever
        written: 0. The offset may lie inside of a batch, whose records up to it are not meant. A batch that cannot
        be read does not count.

        `since` is a time as batches have it (microseconds since 1970). All that is at or below the offset, of any
        room, is older; what lies above it may be older only as far as nothing is left to tell. Nothing is as young:
        the head. Of the rooms that match, what was trimmed and is not older, or is not known to be, lies above it:
        a read from there tells it as a gap. What was trimmed and is older makes none.

        More than there is of the rooms is answered at once. Between two slices the oldest may be trimmed: it has
        counted, and a read from there tells it as a gap.
        """

    def find(self, session: str, seq: int) -> Sliced[int]:
        """The offset of the first record of that publish, 0 when it is not in the newest batches.

        One that was found once may be found again when it is not there any more.
        """

    def head(self) -> int:
        """The highest offset that was kept; 0 for none. It never goes back, also when all is trimmed."""

    def last_time(self) -> int:
        """The highest batch time that was kept; 0 for none."""

    def rooms(self) -> dict[str, int]:
        """Room -> offset of its last record."""

    def empty_rooms(self) -> list[str]:
        """Those that have no record any more."""

    def sessions(self) -> list[SessionRow]:
        """All session rows."""

    def users_seen(self, limit: int) -> list[SeenRow]:
        """The users who were seen last, latest first. Nothing is promised of more than `USERS_SEEN_KEPT`."""

    def cursors(self) -> list[CursorRow]:
        """All cursors."""

    def groups(self) -> list[GroupRow]:
        """All groups."""

    def scheduled(self) -> list[ScheduledRow]:
        """All that is to be sent later, and what was of late."""

    def starts(self) -> list[LogStart]:
        """Its starts, the present one last; of the older ones not more than `wire.STARTS_MAX` are known."""

    def trim(self, rules: list[RetentionRule], now: int) -> None:
        """Remove what no rule keeps, in steps between commits; returns at once. `now`: microseconds since 1970.

        Whole batches go, oldest first, and a room's newest batch stays, but for a rule that names an offset: then
        all that ends at or below it goes, and is read as a gap "purged"; what else is removed as "trimmed".
        Trouble is not told: what could not be removed is removed the next time.
        """

    def close(self) -> None:
        """End threads, close files. What `append` took is kept first."""


def whole(sliced: Sliced[T]) -> T:
    """The answer of a read, without giving way."""
    while True:
        try:
            next(sliced)
        except StopIteration as end:
            answer: T = end.value
            return answer
