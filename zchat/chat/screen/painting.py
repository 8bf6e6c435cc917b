"""Lines of the layout as strips of the screen.

Rules of this file
1. A line is painted when it is looked at. All text passed `printable` before it came here (core/shown.py).
2. A link is one for the terminal, too (OSC 8), so that it can be opened where the terminal is, in whole, however it
   is broken.
"""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.theme import Theme

from zchat.chat.core.colours import colour_of
from zchat.chat.core.grouping import clock_of
from zchat.chat.core.laying import CLOCK_COLUMNS, LaidBlock, LaidLine, Shape
from zchat.chat.core.mentions import mentions
from zchat.chat.core.outbox import Unsent
from zchat.chat.core.shown import Shown
from zchat.chat.core.wrapping import TextRow, TextSpan, rows_of, spans_of
from zchat.chat.screen.themes import users_colours
from zchat.names import user_key
from zchat.printable import printable

SIGNS = {"action": "∗", "topic": "✎", "gap": "!", "note": "–"}
UNSENT_CHARACTERS_MAX = 2_000  # that are shown
UNSENT_SIGNS = {"pending": "◌", "stored": "✓", "failed": "✗"}


class Painter:
    """Paints in the colours of a theme, for a user."""

    def __init__(self, theme: Theme, me: str) -> None:
        background = theme.background or "#000000"
        self._me = me
        self._users = [Style(color=colour, bold=True) for colour in users_colours(theme)]
        self.background = Style(bgcolor=background)
        self._plain = Style(color=theme.foreground)
        self._dim = Style(color=theme.variables.get("dim"))
        self._bar = Style(color=theme.variables.get("dim"), dim=theme.name != "contrast")
        self._new = Style(color=theme.accent, bold=True)
        self._error = Style(color=theme.error)
        self._pending = Style(color=theme.variables.get("dim"), italic=True)
        self._code = Style(bgcolor=theme.variables.get("code"))
        self._link = Style(color=theme.primary, underline=True)
        self._mark = Style(color=theme.accent, bold=True)
        self._speaks = Style(bgcolor=theme.variables.get("speaks"))
        self._found = Style(bgcolor=theme.variables.get("found"))

    def strip(self, laid: LaidBlock, line: LaidLine, shape: Shape, found: int) -> Strip:
        """A line. `found`: the offset of a record that stands out."""
        record, width = laid.block.records[0], shape.width
        if line.kind == "day":
            return self._rule(f" {laid.block.day} ", self._dim, width)
        if line.kind == "new":
            return self._rule(" new ", self._new, width)
        if line.kind == "name":
            clock = clock_of(record.time)
            return self._strip(
                [Segment(self._name(record), self._user(record)), Segment(f" {clock}", self._dim)], width
            )
        segments = self._left(laid, line, shape)
        if line.kind == "fold":
            segments.append(Segment(laid.text[line.row.begin : line.row.end], self._dim))
            return self._strip(segments, width)
        segments += self._text(record, laid.text, line.row, shape)
        return self._strip(segments, width, self._behind(record, found))

    def unsent(self, unsent: Unsent, shape: Shape) -> list[Strip]:
        """What is typed and not in the conversation yet."""
        style = self._error if unsent.state == "failed" else self._pending
        text = printable(unsent.text[:UNSENT_CHARACTERS_MAX], newlines=True).expandtabs(4)
        if unsent.state == "failed":
            text += f"\nnot sent: {printable(unsent.reason)}; ctrl+r sends it again"
        sign = UNSENT_SIGNS[unsent.state]
        strips = []
        for number, row in enumerate(rows_of(text, shape.text, cell_len)):
            left = f" {sign}" if number == 0 else ""
            strips.append(
                self._strip(
                    [Segment(left.ljust(shape.indent), style), Segment(text[row.begin : row.end], style)], shape.width
                )
            )
        return strips

    def blank(self, width: int) -> Strip:
        """Nothing."""
        return Strip.blank(width, self.background)

    # --- parts ------------------------------------------------------------------------------

    def _left(self, laid: LaidBlock, line: LaidLine, shape: Shape) -> list[Segment]:
        """What stands beside the text."""
        record = laid.block.records[0]
        if not shape.name:
            return [Segment(" " * shape.indent)]
        is_named = line.is_first and (laid.block.is_named or line.kind == "fold")
        clock = f" {clock_of(record.time)} " if is_named else ""
        name = ""
        if is_named:
            name = "·" if line.kind == "fold" else SIGNS.get(record.kind, self._name(record))
        wide = cell_len(name)
        if wide > shape.name:
            name = set_cell_size(name, shape.name - 1) + "…"
        name = " " * (shape.name - cell_len(name)) + name
        return [
            Segment(clock.ljust(CLOCK_COLUMNS), self._dim),
            Segment(name, self._dim if line.kind == "fold" else self._user(record)),
            Segment(" │ ", self._bar),
        ]

    def _text(self, record: Shown, text: str, row: TextRow, shape: Shape) -> list[Segment]:
        if record.kind in ("gap", "note"):
            return [Segment(text[row.begin : row.end], self._dim)]
        if row.is_code:
            shown = text[row.begin : row.end]
            return [Segment(f" {shown}".ljust(shape.text), self._code + self._plain)]
        return self._spanned(text, row, spans(text))

    def _spanned(self, text: str, row: TextRow, found: tuple[TextSpan, ...]) -> list[Segment]:
        segments, at = [], row.begin
        for span in found:
            begin, end = max(span.begin, row.begin), min(span.end, row.end)
            if begin >= end:
                continue
            if begin > at:
                segments.append(Segment(text[at:begin], self._plain))
            segments.append(Segment(text[begin:end], self._style_of(text, span)))
            at = end
        if at < row.end:
            segments.append(Segment(text[at : row.end], self._plain))
        return segments

    def _style_of(self, text: str, span: TextSpan) -> Style:
        part = text[span.begin : span.end]
        if span.kind == "link":
            return self._link + Style(link=part) if part.isascii() else self._link
        if span.kind == "code":
            return self._code + self._plain
        if part.startswith("@"):
            return self._mark if user_key(part[1:]) == user_key(self._me) else self._users[colour_of(part[1:])]
        return self._link

    def _name(self, record: Shown) -> str:
        return record.user or SIGNS.get(record.kind, "")

    def _user(self, record: Shown) -> Style:
        return self._users[colour_of(record.user)] if record.user else self._new

    def _rule(self, text: str, style: Style, width: int) -> Strip:
        left = max(1, (width - cell_len(text)) // 2)
        whole = "─" * left + text
        return self._strip([Segment(whole + "─" * max(0, width - cell_len(whole)), style)], width)

    def _behind(self, record: Shown, found: int) -> Style:
        """The background of a record: another one where it was looked for, and where it speaks to the user."""
        if found and record.offset == found:
            return self._found
        is_other = user_key(record.user) != user_key(self._me)
        speaks = is_other and record.kind in ("said", "action") and mentions(record.text, self._me)
        return self._speaks if speaks else self.background

    def _strip(self, segments: list[Segment], width: int, behind: Style | None = None) -> Strip:
        behind = behind or self.background
        return Strip(segments).adjust_cell_length(width, behind).apply_style(behind)


@lru_cache(maxsize=512)
def spans(text: str) -> tuple[TextSpan, ...]:
    """As `spans_of`; a text is painted line by line."""
    return tuple(spans_of(text))
