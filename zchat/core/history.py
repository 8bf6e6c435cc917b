"""What is stored, read page by page up to a head.

Rules of this file: each page is checked (answers.py), and it comes to an end whatever the broker answers.
Spec: docs/protocol.md, "Reading history". Tests: tests/core/test_history.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core.answers import EMPTY_PAGES_MAX, Missing, Stored, parts_of
from zchat.errors import WireError
from zchat.names import matcher

PAGE_RECORDS = 64  # the first page has about so many, for whoever wants to see some now,
PAGE_RECORDS_MAX = 4_096  # each one four times more than the one before, until they are full


class History:
    """Ask `fetch`, give the page to `take`, until there is nothing to ask."""

    def __init__(self, patterns: list[str], after: int, until: int, *, begins_small: bool = False) -> None:
        self.fetch: wire.Fetch | None = None  # what to ask now
        self._is_asked = matcher(patterns)
        self._empty_pages = 0  # in a row
        if after < until:
            self.fetch = wire.Fetch(0, patterns, after, until, PAGE_RECORDS if begins_small else 0)

    def take(self, page: wire.Page) -> list[Stored | Missing]:
        """What the page brings. Raises WireError."""
        fetch = self.fetch
        assert fetch is not None, "a page was asked for"
        parts = parts_of(page, fetch, self._is_asked)
        self._empty_pages = 0 if parts else self._empty_pages + 1
        if self._empty_pages > EMPTY_PAGES_MAX:
            raise WireError("bad-frame", f"{EMPTY_PAGES_MAX} pages of the broker bring nothing, and promise more")
        self.fetch = None
        if page.more and page.upto < fetch.until:
            records = 4 * fetch.limit if 0 < fetch.limit < PAGE_RECORDS_MAX else 0
            self.fetch = wire.Fetch(0, fetch.patterns, page.upto, fetch.until, records)
        return parts
