"""Blocks as lines of the screen: how many there are, and which one is where.

    wide     12:34        ben │ Morning!             narrow    ben 12:34
                              │ and more                        Morning!

Rules of this file
1. What was laid out is kept: what comes at either end costs what came, whatever is there already.
2. A line knows its record by a number that never changes (window.py), so lines that come above move nobody.

Tests: tests/chat/core/test_laying.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import tzinfo
from typing import NamedTuple

from zchat.chat.core.grouping import Block, blocks, folded
from zchat.chat.core.shown import PRESENCE, Shown
from zchat.chat.core.window import LoadedPart
from zchat.chat.core.wrapping import TextRow, rows_of

WIDE = 58  # columns: from here on names stand beside the text
NAME_COLUMNS, NAME_COLUMNS_MORE = 10, 14
MORE = 90
CLOCK_COLUMNS = 7  # ` 12:34 `
BAR_COLUMNS = 3  # ` │ `
STACKED_INDENT = 2


class Shape(NamedTuple):
    """How wide things are."""

    width: int
    name: int  # 0: names stand above the text

    @property
    def indent(self) -> int:
        """Columns left of the text."""
        return CLOCK_COLUMNS + self.name + BAR_COLUMNS if self.name else STACKED_INDENT

    @property
    def text(self) -> int:
        """Columns of the text."""
        return max(8, self.width - self.indent - 1)


class LaidLine(NamedTuple):
    """A line: `kind` is day, new, name, fold or text."""

    kind: str
    row: TextRow = TextRow(0, 0)
    is_first: bool = False  # of its block


class LaidBlock(NamedTuple):
    """A block, its text, and its lines."""

    block: Block
    text: str
    lines: list[LaidLine]


def shape_of(width: int) -> Shape:
    """For a pane so wide."""
    if width < WIDE:
        return Shape(width, 0)
    return Shape(width, NAME_COLUMNS if width < MORE else NAME_COLUMNS_MORE)


def text_of(record: Shown) -> str:
    """What stands in the place of its text."""
    if record.kind == "action":
        return f"{record.user} {record.text}"
    if record.kind == "topic":
        return f"{record.user} set the topic: {record.text}"
    if record.kind == "event":
        return f"[{record.event}] {record.text}"
    if record.kind == "file":
        return f"▤ {record.text}"
    return record.text


class Layout:
    """The lines of a window."""

    def __init__(self, cells: Callable[[str], int], zone: tzinfo | None = None) -> None:
        self.laid: list[LaidBlock] = []
        self.height = 0
        self._cells = cells
        self._zone = zone
        self._tops: list[int] = []  # the first line of each block
        self._shape = Shape(80, 0)
        self._made_for: tuple[object, ...] = ()

    def lay(self, window: LoadedPart, shape: Shape, new_after: int | None) -> None:
        """Be the lines of that window now."""
        made_for = (id(window), window.drops, shape, new_after)
        laid, first, end = self.laid, window.first, window.end
        self._shape = shape
        if made_for != self._made_for or not laid or laid[0].block.first > end or laid[-1].block.end < first:
            self._made_for = made_for
            self.laid = self._lay(window, first, end, new_after)
        else:
            self._lay_ends(window, first, end, new_after)
        at, self._tops = 0, []
        for each in self.laid:
            self._tops.append(at)
            at += len(each.lines)
        self.height = at

    def line_at(self, y: int) -> tuple[LaidBlock, LaidLine] | None:
        """The line, and the block that it is of."""
        if not 0 <= y < self.height:
            return None
        at = bisect_right(self._tops, y) - 1
        return self.laid[at], self.laid[at].lines[y - self._tops[at]]

    def number_at(self, y: int) -> tuple[int, int]:
        """The number of the record at a line, and how many lines below its first it is."""
        if not self.laid:
            return 0, 0
        at = max(0, bisect_right(self._tops, max(0, min(y, self.height - 1))) - 1)
        return self.laid[at].block.first, y - self._tops[at]

    def line_of(self, number: int) -> int:
        """The first line of the record with that number, or of the nearest that is there."""
        if not self.laid:
            return 0
        at = bisect_right([each.block.first for each in self.laid], number) - 1
        return self._tops[max(0, at)]

    # --- parts ------------------------------------------------------------------------------

    def _lay_ends(self, window: LoadedPart, first: int, end: int, new_after: int | None) -> None:
        laid = self.laid
        if laid[0].block.first != first:
            gone = 0
            while gone < len(laid) - 1 and laid[gone].block.end <= first:
                gone += 1
            until = min(end, laid[gone].block.end)
            laid[: gone + 1] = self._lay(window, first, until, new_after)
        if laid and laid[-1].block.end != end:
            while len(laid) > 1 and laid[-1].block.first >= end:
                laid.pop()
            begin = laid.pop().block.first
            laid += self._lay(window, max(first, begin), end, new_after)

    def _lay(self, window: LoadedPart, begin: int, end: int, new_after: int | None) -> list[LaidBlock]:
        records, at = window.records, begin - window.first
        before = records[at - 1] if at > 0 else None
        found = blocks(records[at : end - window.first], begin, before, new_after, self._zone)
        return [self._laid(block) for block in found]

    def _laid(self, block: Block) -> LaidBlock:
        record = block.records[0]
        lines: list[LaidLine] = []
        if block.day:
            lines.append(LaidLine("day"))
        if block.is_new:
            lines.append(LaidLine("new"))
        is_fold = record.kind in PRESENCE
        text = folded(block.records) if is_fold else text_of(record)
        if not self._shape.name and block.is_named and not is_fold:
            lines.append(LaidLine("name"))
        rows = rows_of(text, self._shape.text, self._cells)
        kind = "fold" if is_fold else "text"
        lines += [LaidLine(kind, row, number == 0) for number, row in enumerate(rows)]
        return LaidBlock(block, text, lines)
