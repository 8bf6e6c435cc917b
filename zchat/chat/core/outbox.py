"""What was typed and is not in the conversation yet: on its way, stored, or refused.

    typed ─► pending ─► stored ─► (the message comes, and it is one of the conversation)
                   └──► failed ─► /retry ─► pending

Rules of this file: a message is told by its offset; where it comes before its offset is known, by its text, as what one
session says comes in the order in which it was said.
Tests: tests/chat/core/test_outbox.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["pending", "stored", "failed"]


@dataclass(eq=False)
class Unsent:
    """Something typed."""

    text: str
    event: str = "message"
    state: State = "pending"
    reason: str = ""  # why it failed
    offset: int = 0


class TypedTexts:
    """All of a conversation that is not in it yet, in order."""

    def __init__(self) -> None:
        self.unsent: list[Unsent] = []
        self._came: set[int] = set()  # offsets of the own messages that came last

    def add(self, text: str, event: str = "message") -> Unsent:
        """It is on its way."""
        unsent = Unsent(text, event)
        self.unsent.append(unsent)
        return unsent

    def stored(self, unsent: Unsent, offset: int) -> None:
        """The broker has it."""
        unsent.state, unsent.offset = "stored", offset
        if offset in self._came:
            self._came.discard(offset)
            self._remove(unsent)

    def failed(self, unsent: Unsent, reason: str) -> None:
        """It was refused."""
        unsent.state, unsent.reason = "failed", reason

    def came(self, offset: int, text: str, event: str) -> None:
        """One of the own messages came."""
        for unsent in self.unsent:
            if unsent.offset == offset or (
                not unsent.offset and unsent.state == "pending" and (unsent.text, unsent.event) == (text, event)
            ):
                self._remove(unsent)
                return
        if self.unsent:
            self._came.add(offset)

    def again(self) -> list[Unsent]:
        """What failed, taken out to be sent again."""
        failed = [unsent for unsent in self.unsent if unsent.state == "failed"]
        for unsent in failed:
            self._remove(unsent)
        return failed

    def _remove(self, unsent: Unsent) -> None:
        if unsent in self.unsent:
            self.unsent.remove(unsent)
        if not self.unsent:
            self._came.clear()
