"""The line that is typed: its text, where the cursor is, and how it is shown in one row of the terminal.

Rules of this file
1. It is one row: what is longer is shown around the cursor. So it can be taken away by going to the row's beginning.
2. What is pasted may have control characters; what is shown of it has none. A newline is shown as ⏎.

Tests: tests/chat/plain/test_editing.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zchat.chat.core.completion import Offer
from zchat.chat.core.recall import Recall
from zchat.printable import cells, printable

NEWLINE_SHOWN = "⏎"


class Drawn(NamedTuple):
    """The row as it is shown."""

    text: str
    column: int  # of the cursor


class LineEditor:
    """A line. `press` takes keys; `text` is what is typed."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0  # of the cursor
        self.recall = Recall()
        self._offers: Sequence[Offer] = ()
        self._offered = -1
        self._cut = ""

    def set(self, text: str) -> None:
        """Have another text in it, the cursor at its end."""
        self.text, self.at = text, len(text)
        self._offers = ()

    def taken(self) -> str:
        """The text, and an empty line in its place."""
        text = self.text
        self.recall.add(text)
        self.set("")
        return text

    def insert(self, text: str) -> None:
        """It is typed."""
        self.text = self.text[: self.at] + text + self.text[self.at :]
        self.at += len(text)
        self._offers = ()

    def press(self, name: str) -> bool:
        """A key that edits. False where it does not."""
        action = _ACTIONS.get(name)
        if action is None:
            return False
        self._offers = ()
        action(self)
        return True

    def complete(self, offers: Sequence[Offer], step: int = 1) -> None:
        """Put the first offer in its place, or, pressed again, the next one."""
        if not self._offers:
            self._offers, self._offered = offers, -1 if step > 0 else 0
        if not self._offers:
            return
        held = self._offers
        self._offered = (self._offered + step) % len(held)
        offer = held[self._offered]
        self.text = self.text[: offer.begin] + offer.text + self.text[self.at :]
        self.at = offer.begin + len(offer.text)
        self._offers = held

    def drawn(self, prompt: str, width: int) -> Drawn:
        """The prompt and as much of the text as there is room for, around the cursor."""
        before = _shown(self.text[: self.at])
        behind = _shown(self.text[self.at :])
        room = max(4, width - 1 - cells(prompt))
        while cells(before) > room:
            before = before[max(1, len(before) // 8) :]
        left = room - cells(before)
        while cells(behind) > left:
            behind = behind[: -max(1, len(behind) // 8)]
        return Drawn(prompt + before + behind, cells(prompt) + cells(before))

    # --- keys -------------------------------------------------------------------------------

    def _delete(self, begin: int, end: int, *, keeps: bool = False) -> None:
        begin, end = max(0, begin), min(len(self.text), end)
        if keeps:
            self._cut = self.text[begin:end]
        self.text, self.at = self.text[:begin] + self.text[end:], begin

    def _word_before(self) -> int:
        return self.text[: self.at].rstrip().rfind(" ") + 1

    def _word_behind(self) -> int:
        rest = self.text[self.at :]
        skipped = len(rest) - len(rest.lstrip())
        space = rest.find(" ", skipped)
        return len(self.text) if space < 0 else self.at + space

    def _move(self, at: int) -> None:
        self.at = max(0, min(len(self.text), at))

    def _older(self) -> None:
        if (line := self.recall.older(self.text)) is not None:
            self.set(line)

    def _newer(self) -> None:
        if (line := self.recall.newer()) is not None:
            self.set(line)


def drawn_anew(before: Drawn, now: Drawn) -> str:
    """What to write where the row was drawn so before: one character, where that is all."""
    added = now.text[len(before.text) :]
    is_at_end = before.text and before.column == cells(before.text) and now.column == cells(now.text)
    if is_at_end and len(added) == 1 and now.text.startswith(before.text):
        return added
    back = cells(now.text) - now.column
    return f"\r{now.text}\x1b[K" + (f"\x1b[{back}D" if back else "")


def _shown(text: str) -> str:
    return printable(text.replace("\n", NEWLINE_SHOWN)).replace("\t", " ")


_ACTIONS = {
    "left": lambda line: line._move(line.at - 1),
    "ctrl+b": lambda line: line._move(line.at - 1),
    "right": lambda line: line._move(line.at + 1),
    "ctrl+f": lambda line: line._move(line.at + 1),
    "home": lambda line: line._move(0),
    "ctrl+a": lambda line: line._move(0),
    "end": lambda line: line._move(len(line.text)),
    "ctrl+e": lambda line: line._move(len(line.text)),
    "ctrl+left": lambda line: line._move(line._word_before()),
    "alt+b": lambda line: line._move(line._word_before()),
    "ctrl+right": lambda line: line._move(line._word_behind()),
    "alt+f": lambda line: line._move(line._word_behind()),
    "backspace": lambda line: line._delete(line.at - 1, line.at),
    "delete": lambda line: line._delete(line.at, line.at + 1),
    "ctrl+u": lambda line: line._delete(0, line.at, keeps=True),
    "ctrl+k": lambda line: line._delete(line.at, len(line.text), keeps=True),
    "ctrl+w": lambda line: line._delete(line._word_before(), line.at, keeps=True),
    "alt+backspace": lambda line: line._delete(line._word_before(), line.at, keeps=True),
    "ctrl+y": lambda line: line.insert(line._cut),
    "alt+enter": lambda line: line.insert("\n"),
    "up": lambda line: line._older(),
    "ctrl+p": lambda line: line._older(),
    "down": lambda line: line._newer(),
    "ctrl+n": lambda line: line._newer(),
}
