"""The pane of messages: the lines of a window, and where one looks.

Rules of this file
1. It is at the end, and stays there, until somebody scrolls up; then nothing moves what is read.
2. Near an end of what is in memory it asks for more.
"""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from zchat.chat.core.conversation import Conversation
from zchat.chat.core.laying import LaidLine, Layout, Shape, shape_of
from zchat.chat.screen.painting import Painter

KEPT_STRIPS = 600


class MessagePane(ScrollView, can_focus=False):
    """What is said in a conversation."""

    DEFAULT_CSS = """
    MessagePane { height: 1fr; scrollbar-size-vertical: 1; background: $background; overflow-x: hidden; }
    """

    class Wanted(Message):
        """More is wanted, at one end."""

        def __init__(self, *, is_older: bool) -> None:
            super().__init__()
            self.is_older = is_older

    class Moved(Message):
        """Somebody looks elsewhere."""

    def __init__(self, painter: Painter) -> None:
        super().__init__(id="messages")
        self._painter = painter
        self._conversation: Conversation | None = None
        self._layout_of_lines = Layout(cell_len)
        self._shape = Shape(0, 0)
        self._strips: dict[int, tuple[LaidLine, Strip]] = {}  # by the identity of the line, which is held
        self._tail: list[Strip] = []
        self._found = 0  # the offset of a record that stands out
        self._places: dict[str, tuple[int, int]] = {}  # where somebody looked, by conversation
        self._is_placing = False

    def paint_with(self, painter: Painter) -> None:
        """In other colours."""
        self._painter = painter
        self._strips.clear()
        self.update()

    def show(self, conversation: Conversation, found: int = 0) -> None:
        """Another conversation, where it was left; or at the record with that offset."""
        if self._conversation is not None and not self._conversation.is_followed:
            self._places[self._conversation.name] = self._layout_of_lines.number_at(round(self.scroll_y))
        self._conversation, self._found = conversation, found
        self._strips.clear()
        self._lay()
        place = self._places.pop(conversation.name, None)
        if found:
            conversation.is_followed = False
            window = conversation.window
            number = next((n for n, record in enumerate(window.records) if record.offset == found), 0)
            place = (window.first + number, -self.size.height // 2)
        if place is None:
            conversation.is_followed = True
        self._place(place)

    def update(self) -> None:
        """Something of the conversation has changed."""
        conversation = self._conversation
        if conversation is None or not self.size.width:
            return
        top = None if conversation.is_followed else self._layout_of_lines.number_at(round(self.scroll_y))
        self._lay()
        self._place(top)
        self.refresh()

    def go_to_end(self) -> None:
        """Look at the end, and stay there."""
        if self._conversation is not None:
            self._conversation.is_followed, self._found = True, 0
            self._strips.clear()
            self.update()

    def scroll_pages(self, pages: float) -> None:
        """Up or down."""
        self.scroll_to(y=self.scroll_y + pages * max(1, self.size.height - 2), animate=False, force=True)

    def render_line(self, y: int) -> Strip:
        """As it is on the screen now."""
        width, at = self._shape.width, y + round(self.scroll_y)
        found = self._layout_of_lines.line_at(at)
        if found is None:
            tail = at - self._layout_of_lines.height
            strip = self._tail[tail] if 0 <= tail < len(self._tail) else self._painter.blank(width)
        else:
            laid, line = found
            held = self._strips.get(id(line))
            if held is not None:
                strip = held[1]
            else:
                if len(self._strips) > KEPT_STRIPS:
                    self._strips.clear()
                strip = self._painter.strip(laid, line, self._shape, self._found)
                self._strips[id(line)] = line, strip
        return strip.crop_extend(0, self.size.width, self._painter.background)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Somebody scrolled, or the pane did itself."""
        super().watch_scroll_y(old_value, new_value)
        conversation = self._conversation
        if self._is_placing or conversation is None:
            return
        conversation.is_followed = new_value >= self.max_scroll_y and conversation.window.is_at_end
        self.want()
        self.post_message(self.Moved())

    def want(self) -> None:
        """Ask for more where it is near."""
        conversation = self._conversation
        if conversation is None:
            return
        if self.scroll_y < self.size.height and not conversation.window.is_at_beginning:
            self.post_message(self.Wanted(is_older=True))
        if self.scroll_y > self.max_scroll_y - self.size.height and not conversation.window.is_at_end:
            self.post_message(self.Wanted(is_older=False))

    def on_resize(self, event: events.Resize) -> None:
        """Another width has other lines."""
        self.update()

    # --- parts ------------------------------------------------------------------------------

    def _lay(self) -> None:
        conversation = self._conversation
        if conversation is None:
            return
        shape = shape_of(max(8, self.scrollable_content_region.width))
        if shape != self._shape:
            self._shape = shape
            self._strips.clear()
        self._layout_of_lines.lay(conversation.window, shape, conversation.new_after)
        self._tail = [strip for unsent in conversation.typed.unsent for strip in self._painter.unsent(unsent, shape)]
        self._is_placing = True
        self.virtual_size = Size(shape.width, self._layout_of_lines.height + len(self._tail))
        self._is_placing = False

    def _place(self, place: tuple[int, int] | None) -> None:
        """Look at the end, or have a record at the top."""
        y = self.max_scroll_y if place is None else self._layout_of_lines.line_of(place[0]) + place[1]
        self._is_placing = True
        self.scroll_to(y=max(0, y), animate=False, force=True)
        self._is_placing = False
        self.want()
        self.refresh()
