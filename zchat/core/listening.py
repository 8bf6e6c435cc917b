"""All that one session listens to: subscriptions, the handshake that says that they are live, each one's chain.

Rules of this file
1. The topics first, then a private topic with a fresh nonce. The SYNC that comes on it says that they are live.
2. After a break libzmq subscribes again by itself. A fresh nonce follows, and every ordering compares the heads.
3. What publishes proves itself: a SYNC names the broker's start, as WELCOME did. Until one has come on a connection,
   nothing of that connection is delivered; and one that names another is given up.

Spec: docs/protocol.md, "Subscribing" and "Cursors". Tests: tests/core/test_listening.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer, is_name
from zchat.core.listener import Listener as Listener
from zchat.core.ordering import Delivery, Mark, Notice, OrderingQuestion
from zchat.core.progress import Progress
from zchat.core.timeline import Break
from zchat.errors import WireError
from zchat.names import room_of

SYNC_SECONDS = 2.0  # a private topic without its SYNC is replaced
CHECK_SECONDS = 30.0  # heads are compared this often, in case that a loss at the end went unseen
MARK_SECONDS = 2.0  # the same for a cursor over several rooms that has moved: only heads say that nothing is missing
REPORT_SECONDS = 1.0  # the broker is told this often how far the listeners have got
SILENCE_SECONDS = 30.0  # a question without an answer, or subscriptions that are not live, for so long: told
STRANGERS_MAX = 3  # SYNCs of another broker in a row: a broker that was started anew may be ahead of its WELCOME

TOPICS_CACHED_MAX = 10_000


class Listening:
    """The listeners of one session."""

    def __init__(self, nonces: Iterator[bytes]) -> None:
        self.listeners: list[Listener] = []
        self.publisher, self.seen = "", ""  # where the broker publishes, and what keeps from there: told by the shell
        self.trouble = ""  # what keeps the subscriptions from being live, once it is told
        self._strangers = 0  # SYNCs of another broker, in a row
        self._is_strange = False  # the last one was
        self._nonces = nonces
        self._nonce = b""
        self._synced = True  # the nonce's SYNC has come
        self._sync_at = 0.0
        self._unsynced_at = 0.0  # since when it has not
        self._check_at = 0.0
        self._mark_at = 0.0
        self._at_at = 0.0
        self._at: list[tuple[int, list[str]]] = []
        self._topics: dict[bytes, int] = {}  # topic -> listeners that have it
        self._by_topic: dict[bytes, tuple[str, list[Listener]]] = {}
        self._subscriptions: list[tuple[bool, bytes]] = []

    # --- what happened ----------------------------------------------------------------------

    def lost(self, reason: str) -> None:
        """The connection to the broker broke."""
        for listener in self.listeners:
            listener.ordering.lost(reason)
            listener.asked = 0

    def unsubscribed(self, now: Instant) -> None:
        """The subscriptions' connection broke; libzmq makes them again by itself, and a fresh nonce says when."""
        for listener in self.listeners:
            listener.ordering.unsynced()
        if self.listeners:
            self._new_nonce(now)

    def back(self, now: Instant, broken: Break | None, log_id: str = "") -> None:
        """The session goes on; where the log is not what it was, `broken` says how."""
        if broken is not None:
            for listener in self.listeners:
                if broken.last:
                    listener.ordering.went_back(broken.upto, broken.last)
                else:
                    listener.ordering.other_log(log_id)
        self._synced = True  # one that is lost for as long as the connection was is no trouble of its own
        self._strangers, self.trouble = 0, ""
        if self.listeners:
            self._new_nonce(now)
        self._at = []

    def stopping(self, reason: str, now: Instant) -> None:
        """The broker says that it is about to go. If it does not, a fresh nonce follows."""
        for listener in self.listeners:
            listener.ordering.lost(reason)
        if self._synced:
            self._synced = False
            self._sync_at = self._unsynced_at = now.seconds

    def broadcast(self, topic: bytes, message: wire.Batch | wire.Watermark, size: int) -> None:
        """A batch or WATERMARK came on a room's topic."""
        room, listeners = self._by_topic.get(topic) or self._listening(topic)
        for listener in listeners:
            if isinstance(message, wire.Watermark):
                listener.ordering.watermark(room, message.last)
            else:
                listener.ordering.broadcast(room, message, size)

    def missed(self, topic: bytes, frame: bytes) -> None:
        """What came on a room's topic makes no sense. A batch is missing, if it was one."""
        room, listeners = self._by_topic.get(topic) or self._listening(topic)
        try:
            head = wire.decode_head(frame)
        except WireError:
            return  # no batch and no marker
        if head.kind != wire.VOLATILE_MESSAGES:  # the count of the next one tells how many were in it
            for listener in listeners:
                listener.ordering.missed(room, head.base)

    def synced(self, sync: wire.Sync, welcome: wire.Welcome | None) -> None:
        """A SYNC came: the listeners that waited for it are live, if it is that broker's who said WELCOME."""
        if not self._nonce or sync.nonce != self._nonce:
            return
        self._give_back()
        self._synced = False
        if welcome is None:
            return  # the session is not there: asked for again with the next WELCOME
        if sync.start != (welcome.starts[-1][0] if welcome.starts else ""):
            self._is_strange = True
            self._strangers += 1
            if self._strangers == STRANGERS_MAX:
                self.trouble = f"another broker publishes at {self.publisher}, where this one is said to"
                for listener in self.listeners:
                    listener.ordering.telling.stranger(self.trouble)
            return
        self._synced = True
        self._strangers, self.trouble = 0, ""
        for listener in self.listeners:
            if not listener.ordering.is_synced:
                listener.welcome = welcome
                listener.ordering.synced(sync.head, welcome.time)

    def answered(self, number: int, answer: Answer, now: Instant) -> bool | None:
        """A request was answered: True when it was of a listener; None when that is to be asked again later."""
        for listener in self.listeners:
            if number == listener.asked:
                settled = listener.answered(answer, now)
                if self._synced and not listener.ordering.is_synced:  # the log is not what it was
                    self._new_nonce(now)
                return settled
            if number == listener.progress.number:
                listener.progress.answered(is_done=isinstance(answer, wire.Done))
                return True
        return False

    def elapsed(self, now: Instant) -> None:
        """Time has passed: what did not come is asked for again."""
        if not self.listeners:
            return
        if not self._synced and now.seconds - self._sync_at > SYNC_SECONDS:
            self._new_nonce(now)
        for listener in self.listeners:
            if listener.asked and now.seconds - listener.asked_at > SILENCE_SECONDS:
                listener.ordering.telling.broken("the broker does not answer")
        if not self._synced and now.seconds - self._unsynced_at > SILENCE_SECONDS:
            self.trouble = self.silence
            for listener in self.listeners:
                listener.ordering.telling.broken(self.trouble)
        if now.seconds >= self._check_at:
            self._check_at = now.seconds + CHECK_SECONDS
            for listener in self.listeners:
                listener.ordering.check()
        if now.seconds >= self._mark_at:
            self._mark_at = now.seconds + MARK_SECONDS
            for listener in self.listeners:
                if listener.ordering.wants_mark:
                    listener.ordering.check()

    # --- what the user wants ----------------------------------------------------------------

    def listen(self, listener: Listener, now: Instant) -> None:
        """Subscribe."""
        if not self.listeners:
            self._synced, self._strangers, self.trouble = True, 0, ""
        self.listeners.append(listener)
        self._by_topic.clear()
        for topic in listener.topics:
            self._topics[topic] = self._topics.get(topic, 0) + 1
            if self._topics[topic] == 1:
                self._subscriptions.append((True, topic))
        self._check_at = now.seconds + CHECK_SECONDS
        self._new_nonce(now)

    def unlisten(self, listener: Listener) -> None:
        """Unsubscribe."""
        self.listeners.remove(listener)
        self._by_topic.clear()
        for topic in listener.topics:
            self._topics[topic] -= 1
            if not self._topics[topic]:
                del self._topics[topic]
                self._subscriptions.append((False, topic))

    # --- what to do -------------------------------------------------------------------------

    @property
    def silence(self) -> str:
        """What is to be said where no SYNC comes."""
        why = f": {self.seen}" if self.seen else ""
        return f"the subscriptions are not live, nothing comes from where it publishes at {self.publisher}{why}"

    def take_stranger(self) -> bool:
        """Whether the SUB is connected to another broker: that connection is to be made anew."""
        is_strange, self._is_strange = self._is_strange, False
        return is_strange

    @property
    def has_subscriptions(self) -> bool:
        """Whether `take_subscriptions` has some."""
        return bool(self._subscriptions)

    def take_subscriptions(self) -> list[tuple[bool, bytes]]:
        """(subscribe or unsubscribe, topic) for the SUB, in order."""
        subscriptions, self._subscriptions = self._subscriptions, []
        return subscriptions

    def take_questions(self, now: Instant) -> list[tuple[Listener, OrderingQuestion]]:
        """What the orderings ask; the number of each goes to the listener's `asked`."""
        found = []
        for listener in self.listeners:
            if now.seconds >= listener.pause.until and (question := listener.ordering.take_question()) is not None:
                listener.asked_at = now.seconds
                found.append((listener, question))
        return found

    def take_deliveries(self) -> list[tuple[Listener, list[Delivery | Notice | Mark]]]:
        """What each listener gets."""
        found = []
        for listener in self.listeners:
            if out := listener.ordering.take():
                found.append((listener, out))
        return found

    def take_cursors(self, log_id: str, now: Instant) -> list[tuple[Progress, wire.SetCursor]]:
        """The cursors to be stored; the number of each goes to the consumer's `number`."""
        found = []
        for listener in self.listeners:
            offset = listener.progress.due(listener.ordering.logs, now)
            if offset is not None:
                found.append((listener.progress, wire.SetCursor(0, listener.progress.cursor, log_id, offset)))
        return found

    def take_report(self, now: Instant) -> wire.Report | None:
        """How far the listeners have got, when that has changed and it is time to tell."""
        if (not self.listeners and not self._at) or now.seconds < self._at_at:
            return None
        self._at_at = now.seconds + REPORT_SECONDS
        told = self.listeners[: wire.LISTENERS_TOLD_MAX]
        at = [(listener.ordering.reached(listener.progress.at), listener.patterns) for listener in told]
        if at == self._at:
            return None
        self._at = at
        return wire.Report(at)

    # --- parts ------------------------------------------------------------------------------

    def _listening(self, topic: bytes) -> tuple[str, list[Listener]]:
        of_presence = topic.startswith(wire.PRESENCE_TOPIC)
        try:
            room = room_of(topic[len(wire.PRESENCE_TOPIC) :] if of_presence else topic)
        except WireError:
            return "", []  # a newer broker's topic
        if not is_name(room):
            return "", []
        listeners = [each for each in self.listeners if each.matches(room)]
        found = room, [each for each in listeners if each.ordering.presence or not of_presence]
        if len(self._by_topic) > TOPICS_CACHED_MAX:
            self._by_topic.clear()
        self._by_topic[topic] = found
        return found

    def _new_nonce(self, now: Instant) -> None:
        """Subscribe to a fresh private topic: its SYNC comes after all subscriptions made so far."""
        self._give_back()
        if self._synced:
            self._unsynced_at = now.seconds
        self._nonce = next(self._nonces)
        self._subscriptions.append((True, wire.PRIVATE_TOPIC + self._nonce))
        self._synced = False
        self._sync_at = now.seconds

    def _give_back(self) -> None:
        """While thousands have a private topic, each connection that ends costs the broker a search of them all."""
        if self._nonce:
            self._subscriptions.append((False, wire.PRIVATE_TOPIC + self._nonce))
            self._nonce = b""
