"""What the conversations tell whoever shows them: the plain terminal, or the screen.

Rules of this file: it is called in the event loop, often; it notes what has changed, and draws later.
"""

from __future__ import annotations

from typing import Protocol

from zchat.chat.core.conversation import Conversation
from zchat.chat.core.shown import Shown


class ChatFace(Protocol):
    """Who shows the conversations."""

    def came(self, conversation: Conversation, record: Shown, *, speaks: bool) -> None:
        """A record came; `speaks`: it speaks to the user, and is new."""

    def changed(self, conversation: Conversation | None) -> None:
        """Something else of a conversation is another now; None: the list, or the connection."""

    def tell(self, text: str, *, is_error: bool = False) -> None:
        """A line for the user, of the chat itself."""

    def show(self, name: str) -> None:
        """Go to a conversation."""

    def found(self, words: str, hits: list[tuple[str, Shown]]) -> None:
        """What a search found, newest first: of which conversation, and what."""

    def help(self) -> None:
        """Show the commands, and the keys where there are some."""

    def quit(self) -> None:
        """End."""
