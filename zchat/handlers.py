"""Functions that a program has called for events: of messages by what they say, and of its own connection.

    @client.on("deploy")
    def deployed(message): ...

    client.run("ops")

Rules of this file
1. A message calls what is there for its event, in the order in which it was said; the next one waits for it.
2. `connect`, `disconnect` and `gap` are the program's own: no message of another calls those, whatever its event is.
   `join` and `leave` are the broker's.

Docs: docs/client.md, "Handlers". Tests: tests/test_handlers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from zchat.core.gaps import Notice
from zchat.errors import UsageError
from zchat.message import Message
from zchat.names import inbox

F = TypeVar("F", bound=Callable[..., Any])

OF_NOTICES = {"live": "connect", "back": "connect", "lost": "disconnect", "gap": "gap"}
LOCAL = frozenset(OF_NOTICES.values())
PRESENCE = frozenset(("join", "leave"))


class EventHandlers:
    """Of one client."""

    def __init__(self, checked: Callable[[str, Callable[..., Any]], object]) -> None:
        """`checked` refuses what cannot be called for an event."""
        self._checked = checked
        self._of: dict[str, list[Callable[[Any], Any]]] = {}

    @property
    def want_presence(self) -> bool:
        """Whether joins and leaves call anything."""
        return not PRESENCE.isdisjoint(self._of)

    def on(self, event: str) -> Callable[[F], F]:
        """A decorator: the function is called for this event. Raises UsageError."""
        if not isinstance(event, str) or not event:
            raise UsageError("an event is text")

        def add(function: F) -> F:
            if not callable(function):
                raise UsageError(f"what is called for {event} is a function")
            self._checked(event, function)
            self._of.setdefault(event, []).append(function)
            return function

        return add

    def of(self, message: Message) -> list[Callable[[Any], Any]]:
        """What a message calls."""
        event = message.event
        return self._of.get(event, []) if event not in LOCAL else []

    def noticed(self, notice: Notice) -> None:
        """Something happened to the connection."""
        event = OF_NOTICES.get(notice.kind)
        for function in list(self._of.get(event or "", [])):
            function(notice)


def reply_to(message: Message) -> tuple[str, dict[str, str]]:
    """Where an answer for its sender alone goes, and the headers that say what it answers."""
    answers = {"reply-room": message.room}
    if message.offset:
        answers["reply-offset"] = str(message.offset)
    return inbox(message.user), answers
