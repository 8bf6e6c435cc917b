"""What a client takes from a broker: whether an answer can be true of what was asked.

Rules of this file
1. A broker may be broken, or lie. What could harm who asked raises WireError: an answer of another kind, a page that
   does not go on, batches of other rooms or out of order. Nothing was changed by then.
2. What a newer broker may add passes: kinds of batches, limits, reasons of gaps.
3. A batch that makes no sense is a gap, as one that the broker could not read: its place is in its head.

    FETCH after 40 until 90   PAGE upto 70, more     -> taken; the next FETCH is after 70
                              PAGE upto 40, more     -> it would be asked for ever: WireError
                              a batch from 35 to 39  -> nobody asked for it; left out by who knows what it has
                              a batch from 95 on     -> WireError

Spec: docs/protocol.md, "What a client should not believe". Tests: tests/core/test_answers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias, TypeVar

from msgspec import Raw

from zchat import wire
from zchat.errors import Refused, WireError
from zchat.names import ROOM_BYTES_MAX

EMPTY_PAGES_MAX = 10_000  # in a row, that bring nothing and promise more: a broker may pass over millions in each
TEXT_MAX = 500  # characters of what a broker says for people
NAME_MAX = 256  # characters of a session, log or reason; bytes of a token
LIMIT_MAX = 1 << 40
LIMITS_MIN = {"record_bytes_max": 1, "window_bytes": 1, "session_kept_seconds": 0}  # of those that a client acts on
PORT_MAX = 65_535


class AllReplies(NamedTuple):
    """All replies to a request that servers answer."""

    replies: list[wire.Replied]


Answer: TypeAlias = (
    wire.Done
    | wire.Page
    | wire.Position
    | wire.HeadsAre
    | wire.Present
    | wire.RoomsAre
    | wire.CursorsAre
    | wire.GroupsAre
    | wire.Found
    | wire.ScheduledAre
    | AllReplies
    | wire.Goodbye
    | wire.Error
    | WireError  # one that makes no sense
)
Request: TypeAlias = (
    wire.Join
    | wire.Part
    | wire.Fetch
    | wire.Seek
    | wire.Heads
    | wire.Who
    | wire.Rooms
    | wire.Cursors
    | wire.SetCursor
    | wire.DropCursor
    | wire.Latest
    | wire.Purge
    | wire.Subscribe
    | wire.JoinGroup
    | wire.Settle
    | wire.Groups
    | wire.SetGroup
    | wire.Search
    | wire.Schedule
    | wire.Cancel
    | wire.Scheduled
    | wire.Serve
)
A = TypeVar("A", bound=Answer)

ANSWERS: dict[type, type] = {
    wire.Join: wire.Done,
    wire.Part: wire.Done,
    wire.Fetch: wire.Page,
    wire.Seek: wire.Position,
    wire.Heads: wire.HeadsAre,
    wire.Who: wire.Present,
    wire.Rooms: wire.RoomsAre,
    wire.Cursors: wire.CursorsAre,
    wire.SetCursor: wire.Done,
    wire.DropCursor: wire.Done,
    wire.Latest: wire.Page,
    wire.Purge: wire.Done,
    wire.Search: wire.Found,
    wire.Subscribe: wire.Done,
    wire.JoinGroup: wire.Done,
    wire.Settle: wire.Done,
    wire.Groups: wire.GroupsAre,
    wire.SetGroup: wire.Done,
    wire.Schedule: wire.Done,
    wire.Cancel: wire.Done,
    wire.Scheduled: wire.ScheduledAre,
    wire.Serve: wire.Done,
}
"""Which answer belongs to which request; each may have an ERROR instead."""


class Stored(NamedTuple):
    """A batch of a page."""

    room: str
    batch: wire.Batch
    last: int  # offset of its last record
    size: int  # bytes


class Missing(NamedTuple):
    """A gap of a page."""

    room: str
    first: int
    last: int
    reason: str


def check_kind(request: Request, answer: Answer) -> None:
    """Raise WireError for an answer that makes no sense, or to something else."""
    if isinstance(answer, WireError):
        raise answer
    if not isinstance(answer, (ANSWERS[type(request)], wire.Error)):
        raise wrong(f"{type(answer).__name__} in answer to {type(request).__name__}")


def given(answer: Answer, kind: type[A]) -> A:
    """What was asked for. Raises Refused where the broker refuses it, WireError for an answer that makes no sense."""
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, wire.Error):
        raise Refused(answer.code, answer.text)
    raise answer if isinstance(answer, WireError) else wrong(f"{type(answer).__name__} where {kind.__name__} is due")


def may_be_later(answer: Answer) -> bool:
    """Whether what is refused now may be granted later: the log is in trouble, or there was too much of it."""
    if isinstance(answer, wire.Error):
        return answer.code in ("busy", "over-limit") or answer.code.startswith("log-")
    return isinstance(answer, WireError)


def refusal(error: wire.Error | WireError) -> str:
    """What is told of one to who has asked nothing himself."""
    if isinstance(error, WireError):
        return str(error)
    return f"the broker refuses: {error.text or error.code} [{error.code}]"


def is_name(room: str) -> bool:
    """Whether a room may be called so, as far as it matters to memory: what its letters may be, the broker decides."""
    return 0 < len(room) <= ROOM_BYTES_MAX


def check_welcome(welcome: wire.Welcome) -> None:
    """Raise WireError for one that no client can go by."""
    if welcome.version != wire.VERSION:
        raise wrong(f"a WELCOME of protocol version {welcome.version}, and {wire.VERSION} was asked for")
    if max(welcome.publish_port, welcome.port) > PORT_MAX:
        raise wrong(f"a WELCOME with port {max(welcome.publish_port, welcome.port)}")
    if max(len(welcome.session), len(welcome.log_id), len(welcome.token), len(welcome.publish_host)) > NAME_MAX:
        raise wrong("a WELCOME with a name, token or host of more than 256 characters")
    for name, least in LIMITS_MIN.items():
        limit = welcome.limits.get(name)
        if limit is not None and not least <= limit <= LIMIT_MAX:
            raise wrong(f"a WELCOME with {name} {limit}")


def count(batch: wire.Batch) -> int:
    """The records of a batch."""
    entries = batch.entries
    return len(entries[0].records) if len(entries) == 1 else sum([len(entry.records) for entry in entries])


def last_of(batch: wire.Batch) -> int:
    """The offset of its last record. Raises WireError for a batch that has no place in an order."""
    last = batch.base - 1 + count(batch)
    if not (batch.prev_message or 0) <= batch.prev < batch.base <= last <= wire.OFFSET_MAX:
        raise wrong(f"a batch from {batch.base} to {last} behind {batch.prev}")
    return last


def broadcast_of(frame: bytes) -> wire.Batch | wire.Watermark | wire.Sync:
    """What was broadcast. Raises WireError, also for a batch that has no place in an order."""
    message = wire.decode_broadcast(frame)
    if isinstance(message, wire.Batch) and message.kind != wire.VOLATILE_MESSAGES:
        last_of(message)
    return message


def prev_of(batch: wire.Batch, *, presence: bool) -> int:
    """The last offset of its room before it, for who hears joins and leaves too, or for who does not."""
    return batch.prev if presence or batch.prev_message is None else batch.prev_message


def lasts(heads: wire.HeadsAre, *, presence: bool) -> Iterator[tuple[str, int]]:
    """Each room, and the last offset of it for who hears joins and leaves too, or for who does not."""
    return ((room, last if presence else last_message) for room, last, last_message in heads.rooms)


def parts_of(
    page: wire.Page, fetch: wire.Fetch | wire.Latest, is_asked: Callable[[str], bool]
) -> list[Stored | Missing]:
    """What a page brings, in the order of offsets. Raises WireError."""
    until = fetch.until or wire.OFFSET_MAX
    if page.more and page.upto <= fetch.after:
        raise wrong(f"a page upto {page.upto} in answer to FETCH after {fetch.after}, and more")
    if page.upto > until:
        raise wrong(f"a page upto {page.upto} in answer to FETCH until {until}")
    parts: list[Stored | Missing] = []
    gaps = sorted(page.gaps, key=_first, reverse=True)
    reached = begun = 0
    for room, frame in page.batches:
        part = _batch(room, frame)
        begins = part.batch.base if isinstance(part, Stored) else part.first
        if not reached < begins <= until or not (is_name(room) and is_asked(room)):
            raise wrong(f"a batch at {begins} behind {reached} in answer to FETCH until {until}")
        if parts and isinstance(before := parts[-1], Missing) and before.last == 0:
            parts[-1] = before._replace(last=begins - 1)
        while gaps and gaps[-1][1] <= begins:
            parts.append(_gap(*gaps.pop()))
        parts.append(part)
        begun, reached = begins, max(begins, part.last)
    if page.more and page.upto < begun:
        raise wrong(f"a page upto {page.upto}, and more, with a batch at {begun}")
    end = max(page.upto, reached)
    if parts and isinstance(before := parts[-1], Missing) and before.last == 0:
        parts[-1] = before._replace(last=end)
    parts += [_gap(*gap) for gap in reversed(gaps)]
    for room, first, last, _ in page.gaps:
        if not 0 < first <= last <= end or not (is_name(room) and is_asked(room)):
            raise wrong(f"a gap from {first} to {last} in a page upto {page.upto}")
    return parts


def _batch(room: str, frame: Raw) -> Stored | Missing:
    """A batch, or where it makes no sense the gap that it leaves: `last` 0, for nobody knows how long it was."""
    try:
        batch = wire.decode_batch(frame)
        return Stored(room, batch, last_of(batch), memoryview(frame).nbytes)
    except WireError:
        pass
    try:
        return Missing(room, wire.decode_head(frame).base, 0, "damaged")
    except WireError as error:
        raise wrong(error) from error


def _gap(room: str, first: int, last: int, reason: str) -> Missing:
    return Missing(room, first, last, reason[:NAME_MAX])


def _first(gap: tuple[str, int, int, str]) -> int:
    return gap[1]


def wrong(what: object) -> WireError:
    """An error about an answer."""
    return WireError("bad-frame", f"the broker's answer makes no sense: {what}")
