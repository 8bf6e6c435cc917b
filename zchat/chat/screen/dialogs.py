"""What stands above the chat for a moment: a text, or what a search found."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.theme import Theme
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from zchat.chat.core.colours import colour_of
from zchat.chat.core.grouping import clock_of, day_of
from zchat.chat.core.laying import text_of
from zchat.chat.core.shown import Shown
from zchat.chat.screen.themes import users_colours

DIALOG_CSS = """
    TextDialog, FoundDialog { align: center middle; }
    .dialog {
        width: 80; max-width: 100%; height: auto; max-height: 90%;
        border: round $primary; background: $surface; padding: 0 1;
    }
    .dialog OptionList { height: auto; max-height: 100%; background: $surface; }
    .dialog VerticalScroll { height: auto; max-height: 100%; background: $surface; }
"""


class TextDialog(ModalScreen[None]):
    """A text, until a key is pressed."""

    BINDINGS = [Binding("escape,enter,q,f1", "close", "Close")]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """The text."""
        with Vertical(classes="dialog") as box:
            box.border_title = self._title
            box.border_subtitle = "Esc"
            with VerticalScroll():
                yield Static(Text(self._text), markup=False)

    def action_close(self) -> None:
        """It was read."""
        self.dismiss(None)


class FoundDialog(ModalScreen[tuple[str, int] | None]):
    """What was found, newest first; Enter goes there."""

    BINDINGS = [Binding("escape", "close", "Close")]

    def __init__(self, words: str, hits: list[tuple[str, Shown]], theme: Theme) -> None:
        super().__init__()
        self._words = words
        self._hits = hits
        self._theme = theme

    def compose(self) -> ComposeResult:
        """The list."""
        with Vertical(classes="dialog") as box:
            box.border_title = f"{len(self._hits)} found: {self._words}".replace("[", r"\[")
            box.border_subtitle = "Enter goes there, Esc closes"
            yield OptionList(*(Option(self._line(name, record)) for name, record in self._hits), compact=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go there."""
        name, record = self._hits[event.option_index]
        self.dismiss((name, record.offset))

    def action_close(self) -> None:
        """Stay here."""
        self.dismiss(None)

    def _line(self, name: str, record: Shown) -> Text:
        dim = Style(color=self._theme.variables.get("dim"))
        user = Style(color=users_colours(self._theme)[colour_of(record.user)], bold=True)
        where = name if name.startswith("@") else f"#{name}"
        day = day_of(record.time).partition(", ")[2]
        head = [(f"{where}  {day} {clock_of(record.time)}\n", dim), (f"{record.user} ", user)]
        return Text.assemble(*head, text_of(record).replace("\n", " ")[:200])
