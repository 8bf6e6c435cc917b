"""What a program of the operator does with events, before they are published: `zchat web --app chat:handlers`.

    from zchat.web import Handlers

    handlers = Handlers()

    @handlers.on("clientmessage")
    def clientmessage(caller, data):
        caller.broadcast("message", {"name": caller.user, "message": data["message"]})  # to all but the caller
        caller.reply("message", {"name": "me", "message": data["message"]})  # to the caller alone

Rules of this file: what has a handler is published by it or not at all; what it returns is its acknowledgement.
Spec: docs/web.md, "A server of your own". Tests: tests/web/test_socketio.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from zchat.web.core import events

F = TypeVar("F", bound=Callable[..., Any])

CONNECT, DISCONNECT = "connect", "disconnect"


class EventCaller(Protocol):
    """The client that an event came from, as handlers get it."""

    @property
    def user(self) -> str:
        """Who it is."""

    @property
    def room(self) -> str:
        """Where it speaks."""

    def broadcast(self, event: str, *args: Any, volatile: bool = False) -> None:
        """Publish an event in its room: to all who hear it, but not to this client. Raises UsageError.

        `volatile`: to who is there now, and it is not stored.
        """

    def reply(self, event: str, *args: Any) -> None:
        """Send an event to this client alone. Raises UsageError."""


class Handlers:
    """Handlers of events, by name. `connect` and `disconnect` are called with the client alone."""

    def __init__(self) -> None:
        self._of: dict[str, Callable[..., Any]] = {}

    def on(self, event: str) -> Callable[[F], F]:
        """Make a function, plain or async, the handler of an event. Raises UsageError for the gateway's own."""
        if event not in (CONNECT, DISCONNECT):
            events.check_name(event)

        def put(function: F) -> F:
            self._of[event] = function
            return function

        return put

    def __contains__(self, event: str) -> bool:
        """Whether it has one."""
        return event in self._of

    async def call(self, event: str, caller: EventCaller, *args: Any) -> Any:
        """Have an event handled. Returns what it is acknowledged with."""
        handler = self._of.get(event)
        if handler is None:
            return None
        result = handler(caller, *args)
        return await result if inspect.isawaitable(result) else result
