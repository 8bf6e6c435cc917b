"""The client's side of the protocol: hello and resume, what is unacked, what is asked, what is listened to.

Rules of this file
1. Nothing but HELLO is sent before WELCOME. After it, in order: unacked publishes, then everything else.
2. A repeat is the same frame again, so the broker knows it by its `seq`.
3. What was asked is in requests.py, what was published in publishing.py, what is listened to in listening.py.

    away --connected--> greeting (HELLO is out) --WELCOME--> ready --disconnected--> away

It has more than 300 lines because a session's life is one thing.
Spec: docs/protocol.md. Tests: tests/core/test_client.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from zchat import wire
from zchat.core import Instant, answers
from zchat.core.answers import Answer as Answer
from zchat.core.answers import Request as Request
from zchat.core.listening import Listener, Listening
from zchat.core.ordering import Delivery, Mark, Notice
from zchat.core.pauses import Pause
from zchat.core.publishing import Chunk, Publishing
from zchat.core.requests import REPEAT_SECONDS, Requests
from zchat.core.timeline import Timeline
from zchat.errors import CODES, Refused, WireError

AWAY, GREETING, READY, CLOSED = "away", "greeting", "ready", "closed"

LEFT_MAX = wire.ROOMS_PER_MESSAGE_MAX  # rooms that the session left last are remembered


class ClientCore:
    """One session. Feed it what happens, then do what it says."""

    def __init__(self, user: str, info: dict[str, str], nonces: Iterator[bytes]) -> None:
        self.user = user
        self.state = AWAY
        self.welcome: wire.Welcome | None = None
        self.refusal: Refused | WireError | None = None  # fatal: the broker will not have this client, or is none
        self._info = info
        self._leaving = False  # BYE was said
        self._hello = 0  # number of the last HELLO
        self._hello_at = 0.0  # when `elapsed` first saw that it is out
        self._hello_pause = Pause()  # of sessions that the broker forgets, and logs that it changes
        self._hello_waits = False  # until that pause is over
        self._publishing = Publishing()
        self._requests = Requests()
        self.listening = Listening(nonces)
        self._timeline = Timeline()
        self._joined: dict[str, int] = {}  # room -> listeners and explicit joins that want it
        self._left: dict[str, None] = {}  # rooms that it is out of: an older copy of the log may have it in them
        self._unsettled_rooms: set[str] = set()  # a JOIN or PART of them was refused, for now
        self._settle_at = 0.0  # when that is asked for again
        # What the shell takes.
        self._sends: list[bytes] = []
        self._answers: list[tuple[int, Answer]] = []
        self._news = False
        self._refusals: list[Refused] = []

    # --- what happened ----------------------------------------------------------------------

    def connected(self) -> None:
        """The DEALER's connection is up. Then take sends."""
        if self.state == CLOSED:
            return
        self.state = GREETING
        self._hello += 1
        self._sends.clear()
        if not self._hello_waits:
            self._greet()

    def disconnected(self, reason: str) -> None:
        """The DEALER's connection is gone. What was in it may or may not have arrived. Then take deliveries."""
        if self.state == CLOSED:
            return
        self.state = AWAY
        self._sends.clear()
        for listener in self.listening.listeners:
            self._requests.forget(listener.asked)
        self.listening.lost(reason)

    def unsubscribed(self, now: Instant) -> None:
        """The SUB's connection is gone. It subscribes again by itself; a fresh SYNC is asked for, to say when."""
        self.listening.unsubscribed(now)

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
                    self._pause_hello(now)
                    self.connected()
            case wire.Goodbye():
                if message.reason != "bye":
                    self.listening.stopping("the broker is stopping", now)
                elif self._leaving and self.state != CLOSED:
                    self.state = CLOSED
                    self._answers.append((0, message))
            case wire.For():
                pass
            case _:
                self._answered(message.request, message, now)

    def broadcast(self, topic: bytes, frame: bytes, now: Instant) -> None:
        """A batch, WATERMARK or SYNC came on the SUB. Then take everything."""
        try:
            message = wire.decode_broadcast(frame)
            if isinstance(message, wire.Batch) and message.kind != wire.VOLATILE_MESSAGES:
                answers.last_of(message)
        except WireError:
            self.listening.missed(topic, frame)
            return
        if isinstance(message, wire.Sync):
            self.listening.synced(message, self.welcome if self.state == READY else None)
            self._news = True
        else:
            self.listening.broadcast(topic, message, len(frame))

    def elapsed(self, now: Instant) -> None:
        """Time has passed: repeat what had no answer. Then take everything."""
        if self._hello_waits and now.seconds >= self._hello_pause.until:
            self._hello_waits = False
            if self.state == GREETING:
                self._greet()
        elif self.state == GREETING and not self._hello_waits:
            self._greet_again(now)
        if self.state != READY or self._leaving:
            return
        self._sends.extend(self._publishing.elapsed(now))
        for number in self._requests.due(now):
            self._ask_again(number, now)
        if self._unsettled_rooms and self._settle_at <= now.seconds:
            self._settle_rooms(now)
        self.listening.elapsed(now)
        self._news |= bool(self.listening.trouble)
        if self.welcome is not None:
            for progress, cursor in self.listening.take_cursors(self.welcome.log_id, now):
                progress.number = self.ask(cursor, now)
        at = self.listening.take_report(now)
        if at is not None:
            self._sends.append(wire.encode(at))

    # --- what the user wants ----------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be published now."""
        return self.state == READY and self._publishing.has_room and not self._leaving

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

    def ask(self, request: Request, now: Instant) -> int:
        """Send a request; its answer comes out of `take_answers` under the number returned."""
        frame = self._requests.add(request, now)
        if self.state == READY:
            self._sends.append(frame)
        return request.request

    def forget(self, number: int) -> None:
        """Nobody waits for that answer any more."""
        self._requests.forget(number)

    def listen(self, listener: Listener, now: Instant) -> None:
        """Subscribe; the ordering says when it is live."""
        listener.meets(self.welcome)
        self.listening.listen(listener, now)

    def unlisten(self, listener: Listener, now: Instant) -> None:
        """Unsubscribe."""
        if listener in self.listening.listeners:
            self.listening.unlisten(listener)
            self._timeline.saw(listener.ordering.highest)
            self._requests.forget(listener.asked)
            self._requests.forget(listener.progress.number)

    def join(self, rooms: set[str], now: Instant) -> int:
        """Become a member of rooms; returns the number of the request, 0 when there is nothing to ask."""
        fresh = sorted(room for room in rooms if room not in self._joined)
        for room in rooms:
            self._left.pop(room, None)
            self._joined[room] = self._joined.get(room, 0) + 1
        return self.ask(wire.Join(0, fresh), now) if fresh else 0

    def part(self, rooms: set[str], now: Instant) -> int:
        """Take one `join` of each room back; the last one leaves it."""
        over = []
        for room in sorted(rooms & self._joined.keys()):
            self._joined[room] -= 1
            if not self._joined[room]:
                del self._joined[room]
                over.append(room)
        self._left.update(dict.fromkeys(over))
        while len(self._left) > LEFT_MAX:
            del self._left[next(iter(self._left))]
        return self.ask(wire.Part(0, over), now) if over else 0

    def bye(self) -> None:
        """End the session; GOODBYE is answered under number 0."""
        self._leaving = True
        if self.state == READY:
            self._sends.append(wire.encode(wire.Bye()))

    def close(self, error: Exception) -> None:
        """Whatever is unacked stays unknown."""
        self.state = CLOSED
        self._publishing.close(error)
        self._news = True

    # --- what to do -------------------------------------------------------------------------

    @property
    def has_more(self) -> bool:
        """Whether a broadcast has left something to be taken besides deliveries."""
        return bool(self._sends or self._news or self.listening.has_subscriptions)

    def take_sends(self) -> list[bytes]:
        """Frames for the DEALER, in order."""
        sends, self._sends = self._sends, []
        return sends

    def take_subscriptions(self) -> list[tuple[bool, bytes]]:
        """(subscribe or unsubscribe, topic) for the SUB, in order."""
        return self.listening.take_subscriptions()

    def take_answers(self) -> list[tuple[int, Answer]]:
        """(number, answer) of requests; WireError for one that makes no sense."""
        answers, self._answers = self._answers, []
        return answers

    def take_news(self) -> list[Refused] | None:
        """What waiting threads are to look at: None for nothing, else the publishes that were refused."""
        if not self._news:
            return None
        refused, self._refusals = self._refusals, []
        self._news = False
        return refused

    def take_deliveries(self, now: Instant) -> list[tuple[Listener, list[Delivery | Notice | Mark]]]:
        """What each listener gets. Then take sends."""
        for listener, question in self.listening.take_questions(now):
            self._requests.forget(listener.asked)  # a broker that stops, and says so, answers it no more
            listener.asked = self.ask(question, now)
        return self.listening.take_deliveries()

    # --- parts ------------------------------------------------------------------------------

    def _welcomed(self, welcome: wire.Welcome, now: Instant) -> None:
        if self.state != GREETING or self._hello_waits or welcome.hello not in (0, self._hello):
            return  # the answer to a HELLO on a connection that is gone, or to one that was said twice
        try:
            answers.check_welcome(welcome)
        except WireError as error:
            self.refusal = error
            return
        known, self.welcome = self.welcome, welcome
        self.state = READY
        if self._leaving:  # a BYE that arrived ended the session: one that begins now would store repeats twice
            self._leave(welcome)
            return
        for listener in self.listening.listeners:
            self._timeline.saw(listener.ordering.highest)
        broken = self._timeline.welcomed(welcome)
        if broken is not None:
            self._pause_hello(now)
            self._tell_refused(self._publishing.other_log(resumed=welcome.resumed))
            self._refuse_cursors(now)
        elif not welcome.resumed:
            kept = welcome.limits.get("session_kept_seconds", wire.SESSION_KEPT_SECONDS)
            self._tell_refused(self._publishing.forgotten(kept, now))
        self._sends.extend(self._publishing.welcomed(welcome, now))
        for number, _ in self._requests:
            self._ask_again(number, now)
        if known is not None and self._joined:
            self.ask(wire.Join(0, sorted(self._joined)), now)
        if known is not None and known.starts != welcome.starts and welcome.resumed and self._left:
            self.ask(wire.Part(0, sorted(self._left)), now)
        if known is not None:
            self.listening.back(now, broken, welcome.log_id)

    def _refuse_cursors(self, now: Instant) -> None:
        """The log is another one, or went back: offsets that are on their way to it mean nothing there."""
        for number, request in self._requests:
            if isinstance(request, wire.SetCursor):
                self._answered(number, wire.Error("request", number, "other-log", "the log is not what it was"), now)

    def _leave(self, welcome: wire.Welcome) -> None:
        """Nothing but BYE is said any more, and not even that to a broker that knew nothing of the session."""
        if welcome.resumed:
            self._sends.append(wire.encode(wire.Bye()))
        else:
            self.state = CLOSED
            self._answers.append((0, wire.Goodbye("bye")))

    def _ask_again(self, number: int, now: Instant) -> None:
        """Send it once more; what was overtaken is done."""
        frame = self._requests.again(number, self._joined, now)
        if frame is None:
            self._answered(number, wire.Done(number), now)
        else:
            self._sends.append(frame)

    def _settle_rooms(self, now: Instant) -> None:
        """A JOIN or PART was refused for now: who still wants it waits for no answer any more."""
        rooms, self._unsettled_rooms = self._unsettled_rooms, set()
        if wanted := rooms & self._joined.keys():
            self.ask(wire.Join(0, sorted(wanted)), now)
        if unwanted := rooms - self._joined.keys():
            self.ask(wire.Part(0, sorted(unwanted)), now)

    def _pause_hello(self, now: Instant) -> None:
        """The next HELLO is said once a pause is over that grows: a broker may ask for it again and again."""
        self._hello_pause.begin(now.seconds)
        self._hello_waits = self._hello_pause.until > now.seconds

    def _greet(self) -> None:
        known = self.welcome
        session, token = (known.session, known.token) if known else ("", b"")
        hello = wire.Hello(wire.VERSION, self.user, session, token, self._info, self._hello, wire.TTL_MS)
        self._sends = [wire.encode(hello)]
        self._hello_at = 0.0

    def _greet_again(self, now: Instant) -> None:
        """The broker may drop a WELCOME like any reply."""
        if not self._hello_at:
            self._hello_at = now.seconds
        elif now.seconds - self._hello_at > REPEAT_SECONDS:
            self._greet()

    def _refused(self, error: wire.Error, now: Instant) -> None:
        refused = Refused(error.code[: answers.NAME_MAX], error.text[: answers.TEXT_MAX])
        if error.about == "publish":
            told = self._publishing.refused(error.number, refused)
            self._tell_refused([] if told is None else [told])
        elif error.about == "request":
            self._answered(error.number, wire.Error(error.about, error.number, refused.code, refused.text), now)
        elif error.code in CODES and CODES[error.code].fatal:
            self.refusal = refused

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
        was_listener = self.listening.answered(number, answer, now)
        if was_listener is None:
            return  # asked again when it is due
        self._requests.forget(number)
        if not was_listener:
            self._answers.append((number, answer))
        if answers.may_be_later(answer) and isinstance(request, wire.Join | wire.Part):
            self._unsettled_rooms.update(request.rooms)
            self._settle_at = now.seconds + REPEAT_SECONDS
