"""What one listener misses between two offsets, fetched page by page.

    FETCH after 40, until 90 --> a page upto 60, and more --> FETCH after 60, until 90 --> a page upto 90: done

Spec: docs/protocol.md, "Gaps". Tests: tests/core/test_fill.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import answers
from zchat.core.answers import EMPTY_PAGES_MAX, Missing, Stored
from zchat.errors import WireError
from zchat.names import matcher


class Fill:
    """Ask `fetch`, give the page to `take`, until it is done."""

    def __init__(self, patterns: list[str], after: int, until: int, low: int) -> None:
        """`low`: up to where nothing is missing in any room once it is done; 0: it is for one room alone."""
        self.fetch = wire.Fetch(0, patterns, after, until)
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
            self.fetch = wire.Fetch(0, fetch.patterns, page.upto, fetch.until)
            return parts
        self.is_done = True
        self.is_short = page.upto < fetch.until
        self.low = min(self.low, page.upto)
        return parts
