"""The client's side of a connection: its own session, the others on its channels, and what all of them listen to.

    DEALER  --received--> its own session, or by FOR the one on a channel
    SUB     --broadcast-> who listens, whosever session that is

Spec: docs/protocol.md. Tests: tests/core/test_client.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer as Answer
from zchat.core.calling import Calling
from zchat.core.client_session import AWAY as AWAY
from zchat.core.client_session import CLOSED as CLOSED
from zchat.core.client_session import GREETING as GREETING
from zchat.core.client_session import READY as READY
from zchat.core.client_session import Request as Request
from zchat.core.client_session import SessionCore
from zchat.core.gate import Gate
from zchat.core.greeting import Greeting
from zchat.core.introductions import introduction
from zchat.core.listening import Listening
from zchat.core.publishing import Publishing
from zchat.core.sessions import Sessions
from zchat.core.timeline import Break, Timeline
from zchat.core.working import Receiver, Working

if TYPE_CHECKING:
    from zchat.core.listener import Listener

Deliveries: TypeAlias = list[tuple[Receiver, list[Any]]]  # of each what its consumer takes


class ClientCore(SessionCore):
    """One connection and its own session. Feed it what happens, then do what it says."""

    def __init__(self, user: str, info: dict[str, str], nonces: Iterator[bytes]) -> None:
        greeting, listening = Greeting(user, info, wire.TTL_MS), Listening(nonces)
        super().__init__(user, greeting, Publishing(), listening, Timeline(), Gate(), Working(), Calling())
        self.info = info
        self.sessions = Sessions(self)

    def go_on(self, session: str, token: bytes, seq: int) -> None:
        """Before it is connected: as the session that a process before had, whose last publish had that `seq`."""
        self._greeting.former = (session, token)
        self._publishing.begin(seq)

    # --- what happened ----------------------------------------------------------------------

    def disconnected(self, reason: str) -> None:
        """The DEALER's connection is gone. What was in it may or may not have arrived. Then take deliveries."""
        if self.state == CLOSED:
            return
        self._gate.clear()
        super().disconnected(reason)
        self.sessions.disconnected(reason)
        self.listening.lost(reason)

    def unsubscribed(self, now: Instant) -> None:
        """The SUB's connection is gone. It subscribes again by itself; a fresh SYNC is asked for, to say when."""
        self.listening.unsubscribed(now)

    def broadcast(self, topic: bytes, frame: bytes, now: Instant) -> None:
        """A batch, WATERMARK or SYNC came on the SUB. Then take everything."""
        message = self.listening.heard(topic, frame)
        if isinstance(message, wire.Sync):
            self.listening.synced(message, self.welcome if self.state == READY else None, now)
            self._news = True

    def elapsed(self, now: Instant) -> None:
        """Time has passed: repeat what had no answer. Then take everything."""
        super().elapsed(now)
        self.sessions.elapsed(now)
        if self.state != READY or self._leaving:
            return
        listening = self.listening
        listening.elapsed(now)
        self._news |= bool(listening.trouble)
        if self.welcome is not None:
            for listener, cursor in listening.take_cursors(self.welcome.log_id, now):
                listener.progress.number = self._asks(listener, cursor, now)
        for session, report in listening.take_reports(now):
            self._of(session).report(report)

    # --- what to do -------------------------------------------------------------------------

    @property
    def has_more(self) -> bool:
        """Whether what came has left something to be taken besides deliveries and answers, or the broker refuses it."""
        if self._sends or self._news or self.refusal is not None:
            return True
        return bool(self.sessions.touched or self.sessions.changed or self.listening.has_subscriptions)

    def take_sends(self) -> list[bytes]:
        """Frames for the DEALER, in order."""
        sends, self._sends = self._sends, []
        if self.sessions.touched:
            sends += self.sessions.take_sends()
        return sends

    def take_subscriptions(self) -> list[tuple[bool, bytes]]:
        """(subscribe or unsubscribe, topic) for the SUB, in order."""
        return self.listening.take_subscriptions()

    def deliver(self, now: Instant) -> Deliveries:
        """What each listener gets; what it misses and subscribes to is asked for. Then take sends."""
        deliveries: Deliveries = []
        if self.listening.has_deliveries:
            for session in self.listening.subscribe(now):
                self._of(session)
            for listener, question in self.listening.take_questions(now):
                self._of(listener.session).forget(listener.asked)  # a broker that stops and says so does not answer it
                listener.asked = self._asks(listener, question, now)
            deliveries += self.listening.take_deliveries()
        if self.working.has_some:
            deliveries += self.working.take()
        return deliveries

    def bye(self) -> None:
        """End the session, and before it those on its channels; GOODBYE is answered under number 0."""
        self._leaving = True
        if self.state == READY and self.sessions.leave():
            self.all_left()

    def all_left(self) -> None:
        """Nobody is on its channels any more, and it said that it is leaving."""
        self._sends.append(wire.encode(wire.Bye()))

    # --- parts ------------------------------------------------------------------------------

    def _break_of(self, welcome: wire.Welcome) -> Break | None:
        for listener in self.listening.listeners:
            self._timeline.saw(listener.ordering.highest)
        self._publishing.window.told(welcome.limits)
        self.listening.welcomed(welcome)
        self.listening.handshake.introduction = partial(introduction, welcome.session, welcome.token)
        return self._timeline.welcomed(welcome)

    def _is_back(self, known: wire.Welcome | None, broken: Break | None, now: Instant) -> None:
        if known is not None:
            assert self.welcome is not None
            self.listening.back(now, broken, self.welcome.log_id)
        self.sessions.welcomed(broken)

    def _said_on_channel(self, message: wire.For, now: Instant) -> None:
        self.sessions.received(message, now)

    def _said_goodbye(self, goodbye: wire.Goodbye, now: Instant) -> None:
        if goodbye.reason == "bye":
            super()._said_goodbye(goodbye, now)
        else:
            self.listening.stopping("the broker is stopping", now)

    def _forgotten(self, now: Instant) -> None:
        self.sessions.waits()
        super()._forgotten(now)

    def _leave(self, welcome: wire.Welcome) -> None:
        """Nothing but BYE is said any more, and not even that to a broker that knew nothing of the session."""
        if welcome.resumed:
            super()._leave(welcome)
        else:
            self.state = CLOSED
            self._answers.append((0, wire.Goodbye("bye")))

    def _of(self, session: object) -> SessionCore:
        """That session of the connection, which has something to send soon."""
        if session is self or not isinstance(session, SessionCore):
            return self
        self.sessions.touch(session)
        return session

    def _asks(self, listener: Listener, question: Request, now: Instant) -> int:
        return self._of(listener.session).ask_for(listener, question, now)
