"""What is stored, read page by page up to a head: what is asked next, and what came, in the order of offsets.

    request ─► Position, Page … ─► take: deliveries and gaps ─► request … ─► None

Rules of this file
1. Each page is checked (answers.py), and it comes to an end whatever the broker answers.
2. A gap is told where it lies: after the records below it, before those above it.
3. What is read is of one log: another one, or an older copy, has other messages at the same offsets.

Spec: docs/protocol.md, "Reading history". Tests: tests/core/test_history.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core.answers import EMPTY_PAGES_MAX, Answer, Missing, Stored, given, parts_of
from zchat.core.deliveries import Delivery, Start
from zchat.core.fill import page_after
from zchat.core.gaps import Notice
from zchat.core.timeline import shared
from zchat.errors import Refused, WireError
from zchat.names import matcher

PAGE_RECORDS = 64  # the first page has about so many, for whoever wants to see some now,
PAGE_RECORDS_MAX = 4_096  # each one four times more than the one before, until they are full


class Pages:
    """Ask `fetch`, give the page to `take`, until there is nothing to ask."""

    def __init__(
        self, patterns: list[str], after: int, until: int, *, begins_small: bool = False, last_per_room: int = 0
    ) -> None:
        self.fetch: wire.Fetch | wire.Latest | None = None  # what to ask now
        self._last_per_room = last_per_room
        self._is_asked = matcher(patterns)
        self._empty_pages = 0  # in a row
        if after < until:
            self.fetch = page_after(patterns, after, until, last_per_room, PAGE_RECORDS if begins_small else 0)

    def take(self, page: wire.Page) -> list[Stored | Missing]:
        """What the page brings. Raises WireError."""
        fetch = self.fetch
        if fetch is None:
            return []
        parts = parts_of(page, fetch, self._is_asked)
        self._empty_pages = 0 if parts else self._empty_pages + 1
        if self._empty_pages > EMPTY_PAGES_MAX:
            raise WireError("bad-frame", f"{EMPTY_PAGES_MAX} pages of the broker bring nothing, and promise more")
        self.fetch = None
        if page.more and page.upto < fetch.until:
            limit = 0 if isinstance(fetch, wire.Latest) else fetch.limit
            records = 4 * limit if 0 < limit < PAGE_RECORDS_MAX else 0
            self.fetch = page_after(fetch.patterns, page.upto, fetch.until, self._last_per_room, records)
        return parts


class History:
    """From a start up to the head of then, at most `limit` messages. Ask `request`, give the answer to `take`."""

    def __init__(self, patterns: list[str], start: Start, presence: bool, limit: int) -> None:
        self.request: wire.Seek | wire.Fetch | wire.Latest | None = start.seek(patterns, presence)  # what to ask now
        self._patterns = patterns
        self._start = start
        self._presence = presence
        self._left = limit  # messages; joins and leaves come on top
        self._welcome: wire.Welcome | None = None  # of the broker whose log is read
        self._pages: Pages | None = None  # once it is known where it begins
        self._after = self._head = 0  # what has been read whole, and what is to be
        self._reached = 0  # by batches, whatever the broker says that it has told

    def take(self, answer: Answer, asked: wire.Welcome, welcome: wire.Welcome) -> list[Delivery | Notice]:
        """What came, in order. `asked`: the WELCOME of when `request` was asked; and the one that was said last.

        Raises Refused, WireError.
        """
        pages, known = self._pages, self._welcome or welcome
        if pages is not None and pages.fetch is not None:
            self._after = pages.fetch.after
            self._reached = max(self._reached, self._after)
        if welcome is not known:
            _check_log(known, welcome, self._after)
        if (asked.log_id, asked.starts) != (welcome.log_id, welcome.starts):
            return []  # nobody knows of which log it is: it is asked again
        if pages is None:
            self._begin(given(answer, wire.Position), welcome)
            return []
        page = given(answer, wire.Page)
        found: list[Delivery | Notice] = []
        for part in pages.take(page):
            if self._left <= 0:
                break
            item = self._gap(part) if isinstance(part, Missing) else self._delivery(part)
            if item is not None:
                found.append(item)
        self.request = pages.fetch if self._left > 0 else None
        return found

    # --- parts ------------------------------------------------------------------------------

    def _begin(self, position: wire.Position, welcome: wire.Welcome) -> None:
        self._after, self._head, self._welcome = self._start.found(position), position.head, welcome
        of_each = self._start.last_per_room or 0
        self._pages = Pages(self._patterns, self._after, self._head, begins_small=True, last_per_room=of_each)
        self.request = self._pages.fetch if self._left > 0 else None

    def _gap(self, gap: Missing) -> Notice | None:
        first, last = max(gap.first, self._after + 1), min(gap.last, self._head)
        return Notice("gap", first, last, gap.room, reason=gap.reason) if first <= last else None

    def _delivery(self, part: Stored) -> Delivery | None:
        is_message = part.batch.kind == wire.MESSAGES
        if not is_message and not (part.batch.kind == wire.PRESENCE and self._presence):
            return None  # not asked for, or of a newer broker
        first, last = max(part.batch.base, self._reached + 1), min(part.last, self._head)
        self._reached = max(self._reached, part.last)
        if is_message:
            last = min(last, first - 1 + self._left)
            self._left -= max(0, last - first + 1)
        return Delivery(part.room, part.batch, first, last, part.size) if first <= last else None


def _check_log(known: wire.Welcome, now: wire.Welcome, upto: int) -> None:
    """Raise Refused where what was read so far, up to that offset, is not in the log that the broker has now."""
    if known.log_id != now.log_id:
        raise Refused("other-log", f"the broker has log {now.log_id} now, what was read is of log {known.log_id}")
    same = shared(known.starts, now.starts, upto)
    if same is None or same < upto:
        raise Refused("other-log", f"the log {known.log_id} went back, and has other messages now than were read")
