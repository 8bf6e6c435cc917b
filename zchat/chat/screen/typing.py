"""The field where one types: Enter says it, Alt+Enter begins a line, Tab completes, Up and Down bring back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from zchat.chat.core.completion import Offer
from zchat.chat.core.recall import Recall

PASTED_MAX = 50_000  # characters: what is longer is a file
NEW_LINE_KEYS = ("alt+enter", "ctrl+j", "shift+enter")


class ChatInput(TextArea):
    """A field of some lines."""

    class Said(Message):
        """Enter was pressed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Offered(Message):
        """Tab was pressed: these may stand here, and that one does now; none: no more."""

        def __init__(self, offers: Sequence[Offer], at: int) -> None:
            super().__init__()
            self.offers = offers
            self.at = at

    class Left(Message):
        """Esc was pressed."""

    def __init__(self, offer: Callable[[str], Sequence[Offer]]) -> None:
        super().__init__(id="input", compact=True, highlight_cursor_line=False, tab_behavior="focus")
        self._offer = offer
        self._recall = Recall()
        self._offers: Sequence[Offer] = ()
        self._offered = 0
        self._recalled = ""  # what was brought back last

    def set(self, text: str) -> None:
        """Have another text in it, the cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)
        self._no_offers()

    async def _on_key(self, event: events.Key) -> None:
        key = event.key
        if key in ("tab", "shift+tab"):
            self._complete(1 if key == "tab" else -1)
        elif key == "enter":
            text = self.text
            self._recall.add(text)
            self.set("")
            self.post_message(self.Said(text))
        elif key in NEW_LINE_KEYS:
            self.insert("\n")
        elif key == "escape":
            if not self._no_offers():
                self.post_message(self.Left())
        elif key == "up" and (self.cursor_location[0] == 0 or self.text == self._recalled):
            self._bring(self._recall.older(self.text))
        elif key == "down" and (self.cursor_location[0] == self.document.line_count - 1 or self.text == self._recalled):
            self._bring(self._recall.newer())
        else:
            self._no_offers()
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()

    def _bring(self, line: str | None) -> None:
        """What was typed before; until it is changed, Up and Down go on, whatever line of it the cursor is in."""
        if line is not None:
            self.set(line)
            self._recalled = line

    async def _on_paste(self, event: events.Paste) -> None:
        if len(event.text) <= PASTED_MAX:
            await super()._on_paste(event)
            return
        event.stop()
        event.prevent_default()
        self.app.notify(f"that is {len(event.text):,} characters: send it with /file", severity="error", markup=False)

    def _complete(self, step: int) -> None:
        row, column = self.cursor_location
        line = self.document[row]
        if not self._offers:
            # a command stands at the beginning of the whole text
            before = line[:column] if row == 0 else f" {line[:column]}"
            shift = 0 if row == 0 else 1
            self._offers = [offer._replace(begin=offer.begin - shift) for offer in self._offer(before)]
            self._offered = -1 if step > 0 else 0
        if not self._offers:
            return
        self._offered = (self._offered + step) % len(self._offers)
        offer = self._offers[self._offered]
        self.replace(offer.text, (row, offer.begin), (row, column))
        self.move_cursor((row, offer.begin + len(offer.text)))
        self.post_message(self.Offered(self._offers, self._offered))

    def _no_offers(self) -> bool:
        had, self._offers = bool(self._offers), ()
        if had:
            self.post_message(self.Offered((), 0))
        return had
