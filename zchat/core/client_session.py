"""One session of a client: hello and resume, what is unacked, what is asked, where it is a member.

Rules of this file
1. Nothing but HELLO is sent before WELCOME. After it, in order: unacked publishes, then everything else.
2. A repeat is the same frame again, so the broker knows it by its `seq`.
3. What was asked is in inquiries.py, what was published in publishing.py, where it is a member in wanted.py.
4. What the sessions of a connection share is given to each: who listens (there is one SUB), the window, what is known
   of the log, and how much is asked at a time.

    away --connected--> greeting (HELLO is out) --WELCOME--> ready --disconnected--> away

The connection's own session is in client.py, one on a channel in sessions.py.
It has more than 300 lines because a session's life is one thing.
Spec: docs/protocol.md. Tests: tests/core/test_client_session.py, tests/core/test_client.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant, answers
from zchat.core.answers import Answer as Answer
from zchat.core.answers import Request as Request
from zchat.core.calling import Calling
from zchat.core.gate import Gate
from zchat.core.greeting import Greeting
from zchat.core.inquiries import Inquiries
from zchat.core.listening import Listening
from zchat.core.publishing import Chunk, Publishing
from zchat.core.timeline import Break, Timeline
from zchat.core.working import GroupWorker, Receiver, Working
from zchat.errors import CODES, Refused, WireError

AWAY, GREETING, READY, CLOSED = "away", "greeting", "ready", "closed"


class SessionCore(Inquiries):
    """One session. Feed it what happens, then do what it says."""

    def __init__(
        self,
        user: str,
        greeting: Greeting,
        publishing: Publishing,
        listening: Listening,
        timeline: Timeline,
        gate: Gate,
        working: Working,
        calling: Calling,
    ) -> None:
        super().__init__(gate)
        self.user = user
        self.state = AWAY
        self.welcome: wire.Welcome | None = None
        self.refusal: Refused | WireError | None = None  # fatal: the broker will not have this session, or is none
        self.listening = listening
        self.working = working
        self.calling = calling
        self.broker_ahead = 0  # microseconds: what the broker's clock said more than ours, when it said WELCOME
        self.next_key = b""  # that the broker is about to have, where it said so
        self._leaving = False  # BYE was said
        self._greeting = greeting
        self._publishing = publishing
        self._timeline = timeline
        # What the shell takes.
        self._news = False
        self._refusals: list[Refused] = []

    # --- what happened ----------------------------------------------------------------------

    def connected(self) -> None:
        """It can be said HELLO. Then take sends."""
        if self.state == CLOSED:
            return
        self._calls_failed()
        self.state = GREETING
        self._greeting.number += 1
        self._sends.clear()
        if not self._greeting.waits:
            self._greet()

    def disconnected(self, reason: str) -> None:
        """The DEALER's connection is gone. What was in it may or may not have arrived. Then take deliveries."""
        if self.state == CLOSED:
            return
        self.waits()
        for number, listener in list(self._of_listeners.items()):
            if number == listener.asked:
                self.forget(number)

    def waits(self) -> None:
        """It is to say HELLO again, when it can; what it has asked stays asked."""
        if self.state != CLOSED:
            self._calls_failed()
            self.state = AWAY
            self._sends.clear()

    def received(self, frame: bytes, now: Instant) -> None:
        """A frame came on the DEALER. Then take everything."""
        try:
            message = wire.decode_broker(frame)
        except WireError as error:
            if error.code == "bad-frame":  # else a newer broker's message: nothing that was asked for
                self._answered(wire.number_of(frame), answers.wrong(error), now)
            return
        match message:
            case wire.Ack():
                self._news |= self._publishing.acked(message, now)
                self._timeline.saw(max([first for _, first in message.pairs], default=0))
            case wire.Error():
                self._refused(message, now)
            case wire.Welcome():
                self._welcomed(message, now)
            case wire.HelloAgain():
                if self.state == READY:
                    self._forgotten(now)
            case wire.Goodbye():
                self._said_goodbye(message, now)
            case wire.NextKey():
                self.next_key, self._news = message.key, True
            case wire.For():
                self._said_on_channel(message, now)
            case wire.Direct():
                if self.state == READY:
                    self.listening.heard(message.topic, bytes(message.message), self)
            case wire.Deliver():
                if self.state == READY:
                    self.working.delivered(message, self)
            case wire.Called():
                self.calling.called(message, self)
            case wire.Replied():
                if (replies := self.calling.replied(message, self)) is not None:
                    self._answers.append((message.request, replies))
            case _:
                self._answered(message.request, message, now)

    def elapsed(self, now: Instant) -> None:
        """Time has passed: repeat what had no answer. Then take everything."""
        if self._greeting.is_due(now, is_out=self.state == GREETING):
            self._greet()
        if self.state != READY or self._leaving:
            return
        self._sends.extend(self._publishing.elapsed(now))
        for number in self._requests.due(now):
            self._ask_again(number, now)
        self.working.elapsed(self, now)
        wanted, unwanted = self._wanted.due(now)
        if wanted:
            self.ask(wire.Join(0, wanted), now)
        if unwanted:
            self.ask(wire.Part(0, unwanted), now)

    # --- what the user wants ----------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be published now."""
        return self.state == READY and self._publishing.has_room and not self._leaving

    @property
    def takes_more(self) -> bool:
        """Whether its connection takes another chunk of one of its sessions."""
        return self.state == READY and self._publishing.window.has_room

    @property
    def is_ready(self) -> bool:
        """Whether the broker is there for it."""
        return self.state == READY

    @property
    def has_said_bye(self) -> bool:
        """Whether the broker was told that it ends."""
        return self._leaving and self.state == READY

    @property
    def is_idle(self) -> bool:
        """Whether time changes nothing for it."""
        is_settled = self._publishing.is_idle and not len(self._requests) and self._wanted.is_settled
        return is_settled and not self.working.of(self) and self.state != GREETING and not self._greeting.waits

    @property
    def settled_upto(self) -> int:
        """All chunks up to this `seq` are settled."""
        return self._publishing.settled_upto

    def publish(self, chunk: Chunk, now: Instant) -> None:
        """Send a chunk. Its `first` or `error` is set when it is settled."""
        self._sends.append(self._publishing.add(chunk, now))

    def want_acks(self, seq: int) -> None:
        """Somebody waits for what becomes of the publishes up to this one."""
        frames = self._publishing.want(seq)
        if self.state == READY:
            self._sends.extend(frames)

    def report(self, report: wire.Report) -> None:
        """How far its listeners have got."""
        self._sends.append(wire.encode(report))

    def listen(self, listener: Receiver, now: Instant) -> None:
        """Subscribe; the ordering says when it is live. Or take what a member of a group is handed."""
        if isinstance(listener, GroupWorker):
            self.working.add(listener, self)
            return
        listener.session = self
        listener.meets(self._of_log())
        self.listening.listen(listener, now)

    def unlisten(self, listener: Receiver, now: Instant) -> None:
        """Unsubscribe."""
        if isinstance(listener, GroupWorker):
            self.working.end(listener, self, now)
        elif listener in self.listening.listeners:
            self.listening.unlisten(listener)
            self._timeline.saw(listener.ordering.highest)
            self.forget(listener.asked)
            self.forget(listener.progress.number)

    def paused(self, listener: Receiver, paused: bool) -> None:
        """The consumer of a listener is too far behind to take more, or can take more again."""
        if not isinstance(listener, GroupWorker):  # which has its own bound
            self.listening.paused(listener, paused)

    def join(self, rooms: set[str], now: Instant) -> int:
        """Become a member of rooms; returns the number of the request, 0 when there is nothing to ask."""
        fresh = self._wanted.join(rooms)
        return self.ask(wire.Join(0, fresh), now) if fresh else 0

    def part(self, rooms: set[str], now: Instant) -> int:
        """Take one `join` of each room back; the last one leaves it."""
        over = self._wanted.part(rooms)
        return self.ask(wire.Part(0, over), now) if over else 0

    def bye(self) -> None:
        """End the session; GOODBYE is answered under number 0."""
        self._leaving = True
        if self.state == READY:
            self._sends.append(wire.encode(wire.Bye()))

    def close(self, error: Exception) -> None:
        """Whatever is unacked stays unknown."""
        self.state = CLOSED
        for number, _ in self._requests:
            self.forget(number)
        self._publishing.close(error)
        self.calling.close(self)
        self._news = True

    # --- what to do -------------------------------------------------------------------------

    def take_sends(self) -> list[bytes]:
        """Frames for the DEALER, in order."""
        sends, self._sends = self._sends, []
        return sends

    def take_news(self) -> list[Refused] | None:
        """What waiting threads are to look at: None for nothing, else the publishes that were refused."""
        if not self._news:
            return None
        refused, self._refusals = self._refusals, []
        self._news = False
        return refused

    # --- what differs for the connection's own session --------------------------------------

    def _complete(self, welcome: wire.Welcome) -> None:
        """Fill in what a WELCOME leaves out. Raises WireError."""

    def _of_log(self) -> wire.Welcome | None:
        """The WELCOME that tells of the log which listeners are of."""
        return self.welcome

    def _break_of(self, welcome: wire.Welcome) -> Break | None:
        """How the log differs from what was known of it, if it does."""
        raise NotImplementedError

    def _said_on_channel(self, message: wire.For, now: Instant) -> None:
        """Something for another session of its connection."""

    def _leave(self, welcome: wire.Welcome) -> None:
        """It was welcomed, and BYE had been said before."""
        self._sends.append(wire.encode(wire.Bye()))

    # --- parts ------------------------------------------------------------------------------

    def _welcomed(self, welcome: wire.Welcome, now: Instant) -> None:
        if self.state != GREETING or self._greeting.waits or welcome.hello not in (0, self._greeting.number):
            return  # the answer to a HELLO on a connection that is gone, or to one that was said twice
        try:
            answers.check_welcome(welcome)
            self._complete(welcome)
        except WireError as error:
            self.refusal = error
            return
        known, self.welcome = self.welcome, welcome
        self.broker_ahead = welcome.time - now.micros
        self.state = READY
        if self._leaving:  # a BYE that arrived ended the session: one that begins now would store repeats twice
            self._leave(welcome)
            return
        broken = self._break_of(welcome)
        if broken is not None:
            self._greeting.pause(now)
            self._tell_refused(self._publishing.other_log(resumed=welcome.resumed))
            self._refuse_cursors(now)
        elif not welcome.resumed:
            kept = welcome.limits.get("session_kept_seconds", wire.SESSION_KEPT_SECONDS)
            self._tell_refused(self._publishing.forgotten(kept, now))
        self._sends.extend(self._publishing.again(now))
        self.working.welcomed(self, broken, now)
        for number, _ in self._requests:
            self._ask_again(number, now)
        if known is not None and self._wanted.rooms:
            self.ask(wire.Join(0, sorted(self._wanted.rooms)), now)
        if known is not None and known.starts != welcome.starts and welcome.resumed and self._wanted.left:
            self.ask(wire.Part(0, self._wanted.left), now)
        self.calling.welcomed(self, now)
        self.listening.is_ready(self)
        self._is_back(known, broken, now)

    def _is_back(self, known: wire.Welcome | None, broken: Break | None, now: Instant) -> None:
        """It was welcomed, and has said what it had to say. `known`: what it was welcomed with the last time."""

    def _refuse_cursors(self, now: Instant) -> None:
        """The log is another one, or went back: offsets that are on their way to it mean nothing there."""
        for number, request in self._requests:
            if isinstance(request, wire.SetCursor):
                self._answered(number, wire.Error("request", number, "other-log", "the log is not what it was"), now)

    def _said_goodbye(self, goodbye: wire.Goodbye, now: Instant) -> None:
        if goodbye.reason == "bye" and self._leaving and self.state != CLOSED:
            self.state = CLOSED
            self._answers.append((0, goodbye))

    def _forgotten(self, now: Instant) -> None:
        """The broker knows nothing of it: it says HELLO again."""
        self._greeting.pause(now)
        self.connected()

    def _greet(self) -> None:
        self._sends = [self._greeting.hello(self.welcome)]

    def _refused(self, error: wire.Error, now: Instant) -> None:
        refused = Refused(error.code[: answers.NAME_MAX], error.text[: answers.TEXT_MAX])
        if error.about == "publish":
            told = self._publishing.refused(error.number, refused)
            self._tell_refused([] if told is None else [told])
        elif error.about == "request" and self.calling.refused(error.number, self):
            self._answers.append((error.number, wire.Error(error.about, error.number, refused.code, refused.text)))
        elif error.about == "request":
            self._answered(error.number, wire.Error(error.about, error.number, refused.code, refused.text), now)
        elif error.about == "subscriptions":
            self.listening.refused(refused.text)
            self._news = True
        elif error.code in CODES and CODES[error.code].fatal:
            self.refusal = refused
        else:
            self._not_now(refused, now)

    def _calls_failed(self) -> None:
        """What was asked of servers over a connection that is gone."""
        for number in self.calling.lost(self):
            text = "the connection broke before the reply came"
            self._answers.append((number, wire.Error("request", number, "no-answer", text)))

    def _not_now(self, refused: Refused, now: Instant) -> None:
        """The broker will not have it now."""

    def _tell_refused(self, refusals: list[Refused]) -> None:
        self._refusals.extend(refusals)
        self._news |= bool(refusals)

    def _answered(self, number: int, answer: Answer, now: Instant) -> None:
        answered = self._requests.answered(number, answer)
        if answered is None:
            return
        request, answer = answered
        if isinstance(answer, wire.Position | wire.HeadsAre):
            self._timeline.saw(answer.head)
        elif isinstance(answer, wire.Page):
            self._timeline.saw(answer.upto)
        if isinstance(request, wire.Subscribe):
            if self.listening.subscribed(self, number, answer, now):
                self.forget(number)
            return
        listener = self._of_listeners.get(number)
        if listener is not None and not self.listening.answered(listener, number, answer, now):
            return  # asked again when it is due
        self.forget(number)
        if listener is None and not self.working.answered(self, number, answer, now):
            self._answers.append((number, answer))
        if isinstance(request, wire.Join):
            self._wanted.answered(request.rooms, are_joined=isinstance(answer, wire.Done))
        if answers.may_be_later(answer) and isinstance(request, wire.Join | wire.Part):
            self._wanted.refused(request.rooms, now)
        if isinstance(request, wire.Join) and isinstance(answer, wire.Error) and answer.code == "denied":
            for room in request.rooms if len(request.rooms) > 1 else ():  # the others it may join
                self.ask(wire.Join(0, [room]), now)
