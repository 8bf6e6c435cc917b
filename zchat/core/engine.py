"""The client's loop, without what drives it: a turn takes what the port has, and does what ClientCore says.

    program's threads --outbox, commands--> turn --port--> broker
                      <--consumers, news---      <--------

Rules of this file
1. It never sleeps, and has neither thread nor lock: whoever drives it takes one turn after the other, and sleeps in
   between, for as long as `rest` says.
2. A turn first takes what happened to the connections, then what came on them: another broker may have another log.
   Then what programs say: what they publish goes out on a connection that the core knows of.
3. It is woken only while it rests.
4. While a consumer is behind with volatile messages, what is broadcast stays unread: the broker sees that, and holds
   those who publish. One that does not catch up within a moment holds nobody until it has.

It has more than 300 lines because the steps of a turn are understood together. What it works on is in port.py.
Spec: docs/design.md, "The client". Tests: tests/core/test_engine.py, tests/simulation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from zchat import wire
from zchat.address import Address, Published
from zchat.core import Instant
from zchat.core.client import AWAY, GREETING, READY, ClientCore
from zchat.core.deliveries import Delivery
from zchat.core.lines import Lines
from zchat.core.port import BATCHES, CHANGES, REPLIES, SUB_CHANGES, Consumer, Outgoing, Owner, Port
from zchat.core.publishing import Chunk
from zchat.core.working import Receiver
from zchat.errors import WireError, ZchatError

TICK_SECONDS = 0.05  # what the core does by time is due in half seconds
FULL_SECONDS = 0.005  # until what the port did not take is tried again
REST_SECONDS_MAX = 1.0  # SUB sends its subscriptions only when its thread touches it
BEHIND_BYTES = 16 << 20  # that wait for a consumer: it is behind,
CAUGHT_UP_BYTES = 8 << 20  # until it has no more than these
BEHIND_SECONDS = 1.0  # so long is it waited for,
BEHIND_LOOK_SECONDS = 0.01  # and looked at so often

FINAL = ("unknown-key", "revoked-key")  # what the broker says; else it may be what was there before, once more

Command = Callable[[ClientCore, Instant], object]


class Engine:
    """One client's loop. `turn` with what is there, `rest`, sleep for so long, and again."""

    def __init__(self, core: ClientCore, address: Address, port: Port, outbox: Outgoing, owner: Owner) -> None:
        self.core = core
        self.failure: ZchatError | None = None  # why it goes on no more
        self.consumers: dict[Receiver, Consumer] = {}
        self.lines = Lines(core, self.consumers)  # sessions on channels of the connection
        self.settled_upto = 0  # chunks, counted as the outbox opens them
        self.seen = ""  # what keeps the broker away
        self.sent_at = 0.0  # when something that was published was sent last,
        self.sent_alone = True  # and whether that was one message
        self._address = address
        self._port = port
        self._outbox = outbox
        self._owner = owner
        self._commands: deque[Command] = deque()
        self.is_resting = False  # who has something to do is to wake it
        self._state = AWAY  # of the core, as last told
        self._sent: deque[Chunk] = deque()  # and not settled; some behind the first may be
        self._welcome: wire.Welcome | None = None  # whose publisher is subscribed to,
        self._publisher = address  # which is there
        self._tick = 0.0  # when the core is next told that time has passed,
        self._due = inf  # or the port is, if that is earlier; as it was at the last rest
        self._rests_until = 0.0  # for what the core and the port have to do; 0: that is to be found out
        self._is_full = False  # the port has not taken all
        self._behind: Receiver | None = None  # whose consumer is waited for,
        self._behind_until = 0.0
        self._left_behind: set[Receiver] = set()  # whose were waited for in vain

    # --- by any thread ----------------------------------------------------------------------

    def later(self, command: Command) -> None:
        """Have it done in the next turn."""
        self._commands.append(command)
        self.wake()

    def add(self, command: Command) -> None:
        """The same, for who takes the next turn himself."""
        self._commands.append(command)

    @property
    def is_busy(self) -> bool:
        """Whether there is something to do."""
        if self._commands or (self.lines.queue and self.core.takes_more):
            return True
        return bool(self._outbox.chunks) and self.core.has_room

    def wake(self) -> None:
        """There is something to do."""
        if self.is_resting:
            self._owner.wake()

    # --- by whoever drives it ---------------------------------------------------------------

    def pause(self) -> None:
        """No turn follows for now. From here on `wake` wakes."""
        self.is_resting = True
        self._outbox.is_waiting = self.core.has_room

    def rest(self) -> float:
        """`pause`. Returns for how long to sleep, if nothing comes."""
        self.pause()
        if self.is_busy:
            return 0.0
        seconds = self._port.now().seconds
        soon = self._rests_until - seconds
        if not self._rests_until:  # in most turns of who only listens it stays as it was
            soon = FULL_SECONDS if self._is_full else TICK_SECONDS if self.core.state == GREETING else REST_SECONDS_MAX
            if self._behind is not None:
                soon = min(soon, BEHIND_LOOK_SECONDS)
            self._rests_until = seconds + soon
        due = self._due = self._port.due
        return max(0.0, soon if due == inf else min(soon, due - seconds))

    def turn(self, ready: int) -> None:
        """Take what is there, and do what the core says. Nothing is looked at that cannot have changed."""
        self.is_resting = self._outbox.is_waiting = False
        now = self._port.now()
        if ready & (CHANGES | SUB_CHANGES):
            self._take_changes(ready, now)
        if self._behind is not None:
            self._wait_for_consumer(self._behind, now)
        # What somebody waits for: messages in, messages out. A round trip is made of such turns.
        if ready & BATCHES:
            self._take_batches(now)
        if self._outbox.chunks or self.lines.queue or self._is_full:
            self._publish(now)
        if ready & REPLIES:
            for frame in self._port.replies():
                self.core.received(frame, now)
            if self._outbox.chunks or self.lines.queue:  # an ack gives room
                self._publish(now)
        is_due = now.seconds >= self._tick or now.seconds >= self._due
        if self._commands or is_due or ready & ~(BATCHES | REPLIES):
            if self._commands:
                self._do_commands(now)
                self._send()  # what a program waits for, before all that may be to be done besides
            if is_due:
                self._pass_time(now)
            self._carry_out(now)
        elif ready:
            self._deliver(now)
            if self.core.has_more or self._state != self.core.state:
                self._carry_out(now)
            elif answers := self.core.take_answers():
                self._owner.news([], answers)
        else:
            self._rests_until = 0.0

    def push(self) -> None:
        """Between two turns: only send what programs have published."""
        self._publish(self._port.now())
        self._outbox.is_waiting = self.core.has_room
        if self._outbox.chunks and self.core.has_room:
            self.wake()  # another thread has published meanwhile, and found nobody waiting

    def close(self, error: ZchatError) -> int:
        """The end: what has no outcome stays unknown. Returns how many messages of the connection's own session that
        were to be stored: each of the others is told of its own.
        """
        unsettled = self._own_unsettled()
        self.lines.close(error)
        self.core.close(error)
        for chunk in self._outbox.close(error):
            chunk.settle(-1, error)
        for consumer in list(self.consumers.values()):
            consumer.end()
        return unsettled

    def forked(self) -> None:
        """In a child after a fork: all of it is the parent's."""
        self.is_resting = False
        self.lines.forked()
        for consumer in list(self.consumers.values()):
            consumer.forked()

    def unsettled(self) -> int:
        """Messages of all sessions that were to be stored, and have no outcome."""
        return self._own_unsettled() + self.lines.unsettled()

    def want_acks(self) -> Callable[[], bool]:
        """Somebody is about to wait for what becomes of all that was published so far, by whichever session. Returns
        whether it is known. By whoever drives.
        """
        opened, is_known = self._outbox.opened, self.lines.want_acks()
        self.core.want_acks(opened)
        return lambda: self.settled_upto >= opened and is_known()

    # --- a turn's steps ---------------------------------------------------------------------

    def _own_unsettled(self) -> int:
        chunks = [*list(self._sent), *self._outbox.chunks]
        stored = [chunk for chunk in chunks if not chunk.is_settled and not chunk.flags & wire.VOLATILE]
        return sum(len(chunk.records) for chunk in stored)

    def _take_changes(self, ready: int, now: Instant) -> None:
        if ready & CHANGES:
            for is_up in self._port.changes(now.seconds):
                if is_up:
                    self.core.connected()
                else:
                    self.core.disconnected("")  # nothing is known but that it was lost
                    self._state = AWAY
                    self._owner.lost()
                    self.lines.lost()
            self._look_at_keys()
        if ready & SUB_CHANGES and self._port.is_unsubscribed(now.seconds):
            self.core.unsubscribed(now)

    def _look_at_keys(self) -> None:
        refusal = self._port.refusal
        if refusal is not None and (self.core.welcome is None or refusal.code in FINAL):
            self.failure = refusal

    def _take_batches(self, now: Instant) -> None:
        core = self.core
        for topic, frame in self._port.batches():
            core.broadcast(topic, frame, now)
        if core.listening.take_stranger():
            self._port.refuse(now.seconds)
            core.unsubscribed(now)

    def _publish(self, now: Instant) -> None:
        """Send what programs have published, as much as may be unacked."""
        core = self.core
        while self._outbox.chunks and core.has_room and (chunk := self._outbox.take()) is not None:
            self._sent.append(chunk)
            core.publish(chunk, now)
            self.sent_at, self.sent_alone = now.seconds, chunk.count == 1
        if self.lines.queue and (messages := self.lines.publish(now)):
            self.sent_at, self.sent_alone = now.seconds, messages == 1
        self._send()

    def _do_commands(self, now: Instant) -> None:
        while self._commands:
            self._commands.popleft()(self.core, now)

    def _pass_time(self, now: Instant) -> None:
        self._tick = now.seconds + TICK_SECONDS
        self.core.elapsed(now)
        self._port.go_on(now.seconds)
        self._look_at_keys()
        self.seen = self._port.seen
        self.core.listening.publisher, self.core.listening.seen = self._port.place

    def _deliver(self, now: Instant) -> None:
        """Give the listeners what is theirs."""
        for listener, out in self.core.deliver(now):
            consumer = self.consumers.get(listener)
            if consumer is not None:
                consumer.put(out)
                if listener.refused is not None:  # nothing more comes
                    del self.consumers[listener]
                    consumer.end()
                if consumer.waiting > BEHIND_BYTES:
                    self._fell_behind(listener, out, now)
                elif self._left_behind and consumer.waiting < CAUGHT_UP_BYTES:
                    self._left_behind.discard(listener)

    def _fell_behind(self, listener: Receiver, out: list[Any], now: Instant) -> None:
        is_volatile = any(isinstance(item, Delivery) and not item.last for item in out)
        if is_volatile and self._behind is None and listener not in self._left_behind:
            self._behind, self._behind_until, self._rests_until = listener, now.seconds + BEHIND_SECONDS, 0.0
            self._port.hold_batches(True)

    def _wait_for_consumer(self, listener: Receiver, now: Instant) -> None:
        consumer = self.consumers.get(listener)
        has_caught_up = consumer is None or consumer.waiting < CAUGHT_UP_BYTES
        self._rests_until = 0.0
        if has_caught_up or now.seconds > self._behind_until:
            self._behind = None
            self._port.hold_batches(False)
            if not has_caught_up:
                self._left_behind = {listener, *self._left_behind} & self.consumers.keys()

    def _carry_out(self, now: Instant) -> None:
        core, self._rests_until = self.core, 0.0
        if core.refusal is not None:
            self.failure = core.refusal
        self._deliver(now)
        if core.listening.has_subscriptions or core.welcome is not self._welcome:
            self._subscribe(core.take_subscriptions(), now)
        self._send()
        answers = core.take_answers()
        refused = core.take_news()
        if refused is not None or self._state != core.state:
            self._state = core.state
            self.settled_upto = core.settled_upto
            while self._sent and self._sent[0].is_settled:
                self._sent.popleft()
            self._owner.news(refused or [], answers)
            if core.state == READY:
                self._owner.there()
                self._port.proved()
        elif answers:
            self._owner.news([], answers)
        self.lines.carry_out()

    def _send(self) -> None:
        sends = self.core.take_sends()
        if sends or self._is_full:
            self._port.send(sends, away=self.core.state == AWAY)
            self._is_full = self._port.is_full
            if self._is_full:
                self._rests_until = 0.0

    def _subscribe(self, subscriptions: list[tuple[bool, bytes]], now: Instant) -> None:
        welcome, number = self.core.welcome, self._port.number
        assert welcome is not None, "it was connected"
        if self._address.scheme == "tcp" and not (welcome.publish_port or self._address.publish_port):
            self.failure = WireError("bad-frame", "the broker's WELCOME has no port to subscribe at")
            return
        if welcome is not self._welcome and number:  # of several brokers of one name, what the one that spoke publishes
            told = Published(welcome.publish_port, welcome.publish_host, welcome.port)
            self._publisher = self._address.at(number).publisher(told)
            self._port.hurry(now.seconds)
        self._welcome = welcome
        self._port.subscribe(self._publisher, subscriptions)
