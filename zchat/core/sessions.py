"""The sessions on channels of a client's connection: who says HELLO when, and what each has to say.

    the connection's own session --welcomed--> they say HELLO, some at a time --> each lives as any session does

Rules of this file
1. They are there while the connection's own session is: its WELCOME comes before their HELLO, their BYE before its.
2. Only so many wait for a WELCOME or GOODBYE at a time: the broker drops answers that nobody reads.
3. What is idle costs nothing: time passes for who waits for something, and who was touched is looked at.
4. What one is refused with concerns no other.

Spec: docs/protocol.md, "Channels". Tests: tests/core/test_sessions.py.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING

from zchat import wire
from zchat.core import Instant, answers
from zchat.core.client_session import AWAY, CLOSED, GREETING, READY, SessionCore
from zchat.core.greeting import Greeting
from zchat.core.publishing import Publishing
from zchat.core.timeline import Break
from zchat.errors import Refused

if TYPE_CHECKING:
    from zchat.core.client import ClientCore

MOVING_MAX = 64  # sessions whose HELLO or BYE has no answer


class ChannelCore(SessionCore):
    """One session on a channel."""

    def __init__(self, own: ClientCore, user: str, channel: int) -> None:
        """On a channel of the connection whose `own` session that is."""
        greeting, publishing = Greeting(user, own.info, 0), Publishing(own._publishing.window)
        super().__init__(user, greeting, publishing, own.listening, own._timeline, own._gate, own.working, own.calling)
        self.channel = channel
        self.broken: Break | None = None  # how the log differs from what it was at the last WELCOME
        self._own = own

    @property
    def is_moving(self) -> bool:
        """Whether a HELLO or BYE of it has no answer."""
        return self.refusal is None and (self.state == GREETING or self.has_said_bye)

    def may_ask(self, number: int) -> None:
        """It has waited until its connection had less to ask."""
        super().may_ask(number)
        self._own.sessions.touch(self)

    def _complete(self, welcome: wire.Welcome) -> None:
        """What it leaves out is as the connection was told."""
        own = self._own.welcome
        if own is None or welcome.log_id != own.log_id:
            raise answers.wrong(f"a WELCOME of log {welcome.log_id} on a channel")
        welcome.log_id, welcome.starts = own.log_id, own.starts
        kept = welcome.limits.get("session_kept_seconds")
        is_same = kept is None or kept == own.limits.get("session_kept_seconds")
        welcome.limits = own.limits if is_same else own.limits | welcome.limits

    def _of_log(self) -> wire.Welcome | None:
        return self._own.welcome  # the connection may have met another one, of which this session is not told yet

    def _break_of(self, welcome: wire.Welcome) -> Break | None:
        broken, self.broken = self.broken, None
        return broken

    def _forgotten(self, now: Instant) -> None:
        if self._leaving:
            self.state = CLOSED
        else:
            super()._forgotten(now)

    def _not_now(self, refused: Refused, now: Instant) -> None:
        """Who asked for it is told; one that there was before comes back later."""
        if self.welcome is None:
            self.refusal = refused
        elif self.state == GREETING:
            self._greeting.pause(now)


class Sessions:
    """Those of one connection beside its own."""

    def __init__(self, own: ClientCore) -> None:
        self._own = own
        self._numbers = count(1)
        self._of: dict[int, ChannelCore] = {}
        self._waiting: OrderedDict[ChannelCore, None] = OrderedDict()  # to say HELLO, or BYE
        self._moving: dict[ChannelCore, None] = {}  # have said it
        self._active: dict[ChannelCore, None] = {}  # for whom time passes
        self.touched: dict[SessionCore, None] = {}  # may have something to take
        self.changed: dict[ChannelCore, None] = {}  # or something else to take
        self._is_leaving = False

    def __len__(self) -> int:
        """How many."""
        return len(self._of)

    # --- what happened ----------------------------------------------------------------------

    def open(self, user: str) -> ChannelCore:
        """One more: it says HELLO when it is its turn."""
        channel = next(self._numbers)
        session = self._of[channel] = ChannelCore(self._own, user, channel)
        self._waiting[session] = None
        self._fill()
        return session

    def remove(self, session: ChannelCore, error: Exception) -> None:
        """It has ended; what it has unacked stays unknown."""
        if self._of.pop(session.channel, None) is None:
            return
        for of in (self._waiting, self._moving, self._active, self.changed):
            of.pop(session, None)
        self.touched.pop(session, None)
        session.listening.forget(session)
        session.working.forget(session)
        is_there = session.state in (GREETING, READY) and session.refusal is None and self._own.is_ready
        if is_there and not session.has_said_bye:
            # Given up before it was welcomed, or told of that: nobody else would say BYE, as the connection stays.
            self._own.say(wire.From(session.channel, wire.raw(wire.encode(wire.Bye()))))
        session.close(error)
        self._fill()
        if self._is_leaving and not self._of and self._own.is_ready:
            self._own.all_left()

    def received(self, message: wire.For, now: Instant) -> None:
        """Something was said on a channel."""
        session = self._of.get(message.channel)
        if session is not None:
            session.received(bytes(message.message), now)
            self.touched[session] = None

    def welcomed(self, broken: Break | None) -> None:
        """The connection is there: all say HELLO. `broken`: the log is not what it was."""
        for session in self._of.values():
            session.broken = broken or session.broken
        self._waiting.update(dict.fromkeys(self._of.values()))
        self._fill()

    def disconnected(self, reason: str) -> None:
        """The connection is gone, and with it all of them."""
        self._waiting.clear()
        self._moving.clear()
        for session in self._of.values():
            session.disconnected(reason)
            self.touched[session] = None

    def waits(self) -> None:
        """The connection's own session has to say HELLO again, and so have all."""
        self._waiting.clear()
        self._moving.clear()
        for session in self._of.values():
            session.waits()
            self.touched[session] = None

    def elapsed(self, now: Instant) -> None:
        """Time has passed."""
        for session in self._active:
            session.elapsed(now)
            self.touched[session] = None

    def leave(self) -> bool:
        """All say BYE, before the connection's own session does. Returns whether there is none."""
        self._is_leaving = True
        self._waiting.update(dict.fromkeys(self._of.values()))
        self._fill()
        return not self._of

    # --- what to do -------------------------------------------------------------------------

    def touch(self, session: SessionCore) -> None:
        """There may be something to take from it."""
        self.touched[session] = None

    def take_sends(self) -> list[bytes]:
        """Frames for the DEALER: those of each session in order."""
        sends: list[bytes] = []
        while self.touched:
            touched, self.touched = self.touched, {}
            for session in touched:
                if isinstance(session, ChannelCore) and session.channel in self._of:
                    head = wire.from_channel(session.channel)
                    sends += [head + frame for frame in session.take_sends()]
                    self.changed[session] = None
                    self._look_at(session)
            self._fill()
        return sends

    def take_changed(self) -> list[ChannelCore]:
        """The sessions whose answers, news and states are to be looked at."""
        if not self.changed:
            return []
        changed, self.changed = self.changed, {}
        return list(changed)

    # --- parts ------------------------------------------------------------------------------

    def _look_at(self, session: ChannelCore) -> None:
        """Whether it still waits for something."""
        if session.is_idle:
            self._active.pop(session, None)
        else:
            self._active[session] = None
        if session in self._moving and not session.is_moving:
            del self._moving[session]

    def _fill(self) -> None:
        """Let so many move as may."""
        while self._waiting and len(self._moving) < MOVING_MAX and self._own.is_ready:
            session, _ = self._waiting.popitem(last=False)
            if not self._is_leaving:
                session.connected()
            elif session.state == AWAY:
                session.state = CLOSED
            else:
                session.bye()
            if session.is_moving:
                self._moving[session] = None
            self.touched[session] = None
