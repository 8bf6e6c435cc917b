"""What one listener misses between two offsets, fetched page by page: all of it, or the last messages of each room.

    FETCH after 40, until 90 --> a page upto 60, and more --> FETCH after 60, until 90 --> a page upto 90: done

Spec: docs/protocol.md, "Gaps". Tests: tests/core/test_fill.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import answers
from zchat.core.answers import EMPTY_PAGES_MAX, Missing, Stored
from zchat.errors import WireError
from zchat.names import matcher


def page_after(
    patterns: list[str], after: int, until: int, last_per_room: int = 0, limit: int = 0
) -> wire.Fetch | wire.Latest:
    """The question for the page behind `after`."""
    if last_per_room:
        return wire.Latest(0, patterns, after, until, last_per_room)
    return wire.Fetch(0, patterns, after, until, limit)


class Fill:
    """Ask `fetch`, give the page to `take`, until it is done."""

    def __init__(self, patterns: list[str], after: int, until: int, low: int, last_per_room: int = 0) -> None:
        """`low`: up to where nothing is missing in any room once it is done; 0: it is for one room alone."""
        self.last_per_room = last_per_room  # so many messages of each room, or 0: all
        self.fetch = page_after(patterns, after, until, last_per_room)
        self.low = low
        self.room = "" if low else patterns[0]  # of which it is; empty: of all
        self.upto = after  # what has been fetched
        self.is_done = False
        self.is_short = False  # something was said to be there, and is not
        self._is_asked = matcher(patterns)
        self._empty_pages = 0  # in a row

    def take(self, page: wire.Page) -> list[Stored | Missing]:
        """What the page brings. Raises WireError; the same is to be asked again then."""
        fetch = self.fetch
        parts = answers.parts_of(page, fetch, self._is_asked)
        self._empty_pages = 0 if parts else self._empty_pages + 1
        if page.more and self._empty_pages > EMPTY_PAGES_MAX:
            self._empty_pages = 0
            raise WireError("bad-frame", f"{EMPTY_PAGES_MAX} pages that bring nothing, and promise more")
        self.upto = page.upto
        if page.more:
            self.fetch = page_after(fetch.patterns, page.upto, fetch.until, self.last_per_room)
            return parts
        self.is_done = True
        self.is_short = page.upto < fetch.until
        self.low = min(self.low, page.upto)
        return parts
