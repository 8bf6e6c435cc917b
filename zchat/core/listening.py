"""What the sessions of a connection listen to: the handshake that says that subscriptions are live, each one's order.

Rules of this file
1. The topics first, then a private topic with a fresh nonce. The SYNC that comes on it says that they are live. One
   nonce is out at a time: who comes meanwhile waits for the next one.
2. After a break libzmq subscribes again by itself. A fresh nonce follows, and every ordering compares the heads.
3. What publishes proves itself: a SYNC names the broker's start, as WELCOME did. Until one has come on a connection,
   nothing of that connection is delivered; and one that names another is given up.
4. What goes to sessions one by one comes on the DEALER, once they have subscribed (direct.py). Who listens to some of
   it waits for a nonce that is taken after that: above the head of its SYNC all comes, whichever way.
5. There may be thousands of listeners: a turn looks at those of which something came, and time at some after the other.

It has more than 300 lines because all that happens to a listener is told by it.
Spec: docs/protocol.md, "Subscribing" and "Cursors". Tests: tests/core/test_listening.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer, broadcast_of
from zchat.core.direct import DirectTopics
from zchat.core.handshake import Handshake
from zchat.core.reports import Reports
from zchat.core.rotation import Checks, Rotation
from zchat.core.routes import Routes
from zchat.core.timeline import Break
from zchat.errors import WireError

if TYPE_CHECKING:  # who only publishes pays for none of them
    from zchat.core.listener import Asker, Listener
    from zchat.core.ordering import Delivery, Mark, Notice, OrderingQuestion

SYNC_SECONDS = 2.0  # a private topic without its SYNC is replaced
CHECK_SECONDS = 30.0  # heads are compared this often, in case that a loss at the end went unseen
MARK_SECONDS = 2.0  # the same for a cursor over several rooms that has moved: only heads say that nothing is missing
SILENCE_SECONDS = 30.0  # a question without an answer, or subscriptions that are not live, for so long: told
UNANSWERED = "the broker does not answer"
STRANGERS_MAX = 3  # SYNCs of another broker in a row: a broker that was started anew may be ahead of its WELCOME

QUESTIONS_OUT_MAX = 24  # of listeners: a broker takes 32 reads of a connection, and the program asks, too
CHECKED_MAX = 200  # listeners whose heads are to be compared, or whose cursors may have moved, in one call


class Listening:
    """The listeners of all sessions of a connection."""

    def __init__(self, nonces: Iterator[bytes]) -> None:
        self.listeners: dict[Listener, None] = {}
        self.publisher, self.seen = "", ""  # where the broker publishes, and what keeps from there: told by the shell
        self.trouble = ""  # what keeps the subscriptions from being live, once it is told
        self._routes = Routes()
        self._direct, self._has_direct_rooms = DirectTopics(), False
        self.handshake = Handshake(nonces)
        self._strangers = 0  # SYNCs of another broker, in a row
        self._is_strange = False  # the last one was
        self._refused = ""  # why the broker has cut the subscriptions off
        self._unsynced: dict[Listener, float] = {}  # wait for a SYNC -> of which nonce or a later one; inf: not yet
        self._touched: dict[Listener, None] = {}  # something happened to these
        self._asking: OrderedDict[Listener, None] = OrderedDict()  # may have a question
        self._out: dict[Listener, None] = {}  # wait for its answer
        self._checks: Checks[Listener] = Checks(CHECK_SECONDS)
        self._cursors: Rotation[Listener] = Rotation()  # that have one
        self._marks: Checks[Listener] = Checks(MARK_SECONDS)  # of those
        self._reports = Reports()
        self.take_reports = self._reports.take
        self.subscribe = self._direct.subscribe

    # --- what happened ----------------------------------------------------------------------

    def lost(self, reason: str) -> None:
        """The connection to the broker broke."""
        for listener in self.listeners:
            listener.ordering.lost(reason)
            listener.asked = 0
        self._out.clear()
        self._direct.lost()
        self._unsynced = {listener: self._round(listener) for listener in self.listeners}
        self._touch_all()

    def unsubscribed(self, now: Instant) -> None:
        """The subscriptions' connection broke; libzmq makes them again by itself, and a fresh nonce says when."""
        for listener in self.listeners:
            listener.ordering.unsynced()
        self._unsynced = {listener: self._round(listener) for listener in self.listeners}
        if self.listeners:
            self.handshake.ask(now)

    def back(self, now: Instant, broken: Break | None, log_id: str = "") -> None:
        """The connection goes on; where the log is not what it was, `broken` says how."""
        if broken is not None:
            for listener in self.listeners:
                if broken.last:
                    listener.ordering.went_back(broken.upto, broken.last)
                else:
                    listener.ordering.other_log(log_id)
        self._unsynced = {each: self._round(each) for each in self.listeners if not each.ordering.is_synced}
        self._reports.all_anew()
        self.handshake.begin_anew()  # one that is lost for as long as the connection was is no trouble of its own
        self._strangers, self.trouble = 0, ""
        if self.listeners:
            self.handshake.ask(now)
        self._touch_all()

    def is_ready(self, session: Asker) -> None:
        """The session is there: its listeners may ask, and it reports anew."""
        self._asking.update(dict.fromkeys(self._reports.of(session)))
        self._reports.anew(session)
        for listener in self._direct.is_ready(session, self._reports.of(session)):
            listener.ordering.unsynced()
            self._unsynced[listener] = inf

    def welcomed(self, welcome: wire.Welcome) -> None:
        """A broker where rooms may be direct is listened to both ways, in all of them."""
        if bool(welcome.limits.get("direct_rooms")) != self._has_direct_rooms:
            self._has_direct_rooms = not self._has_direct_rooms
            for listener in self.listeners:
                self._direct.remove(listener)
                self._add_direct(listener)

    def stopping(self, reason: str, now: Instant) -> None:
        """The broker says that it is about to go. If it does not, a fresh nonce follows."""
        for listener in self.listeners:
            listener.ordering.lost(reason)
        self._unsynced = {listener: self._round(listener) for listener in self.listeners}
        self._touch_all()
        if self.handshake.is_synced:
            self.handshake.expect(now)

    def heard(self, topic: bytes, frame: bytes, session: Asker | None = None) -> wire.Sync | None:
        """Something came on a topic, for all who listen to it, or for one session. Returns it if it is a SYNC."""
        try:
            message = broadcast_of(frame)
        except WireError:
            self.missed(topic, frame, session)
            return None
        if isinstance(message, wire.Sync):
            return message
        self.broadcast(topic, message, len(frame), session)
        return None

    def broadcast(
        self, topic: bytes, message: wire.Batch | wire.Watermark, size: int, session: Asker | None = None
    ) -> None:
        """A batch or WATERMARK came on a room's topic."""
        room, listeners = self._routes.of(topic) if session is None else self._who_hears(topic, session)
        touched = self._touched
        for listener in listeners:
            if isinstance(message, wire.Batch):
                listener.ordering.broadcast(room, message, size)
            else:
                listener.ordering.watermark(room, message.last)
            touched[listener] = None

    def missed(self, topic: bytes, frame: bytes, session: Asker | None = None) -> None:
        """What came on a room's topic makes no sense. A batch is missing, if it was one."""
        room, listeners = self._who_hears(topic, session)
        try:
            head = wire.decode_head(frame)
        except WireError:
            return  # no batch and no marker
        if head.kind != wire.VOLATILE_MESSAGES:  # the count of the next one tells how many were in it
            for listener in listeners:
                listener.ordering.missed(room, head.base)
                self._touched[listener] = None

    def subscribed(self, session: Asker, number: int, answer: Answer, now: Instant) -> bool:
        """A session's SUBSCRIBE was answered. False: it is to be asked again later."""
        waiting = [listener for listener in self.of(session) if self._unsynced.get(listener) == inf]
        settled = self._direct.answered(session, number, answer, waiting)
        if settled:
            if self.trouble == UNANSWERED:
                self.trouble = ""
            placed = [listener for listener in waiting if self._direct.is_in_place(listener)]
            self._unsynced.update(dict.fromkeys(placed, self.handshake.rounds + 1))
            if placed and not self.handshake.is_out:
                self.handshake.ask(now)
        elif settled is False:
            self._touched.update(dict.fromkeys(waiting))
        return settled is not False

    def synced(self, sync: wire.Sync, welcome: wire.Welcome | None, now: Instant) -> None:
        """A SYNC came: the listeners that waited for it are live, if it is that broker's who said WELCOME."""
        if not self.handshake.answered(sync):
            return
        if welcome is None:
            return  # the session is not there: asked for again with the next WELCOME
        if sync.start != (welcome.starts[-1][0] if welcome.starts else ""):
            self._is_strange = True
            self._strangers += 1
            if self._strangers == STRANGERS_MAX:
                self.trouble = f"another broker publishes at {self.publisher}, where this one is said to"
                for listener in self.listeners:
                    listener.ordering.telling.stranger(self.trouble)
                self._touch_all()
            return
        self.handshake.is_synced = True
        self._strangers, self.trouble, self._refused = 0, "", ""
        live = [listener for listener, of in self._unsynced.items() if of <= self.handshake.rounds]
        for listener in live:
            del self._unsynced[listener]
            self._touched[listener] = None
            if not listener.ordering.is_synced:
                listener.welcome = welcome
                listener.ordering.synced(sync.head, welcome.time)
        if any(of != inf for of in self._unsynced.values()):
            self.handshake.ask(now)

    def answered(self, listener: Listener, number: int, answer: Answer, now: Instant) -> bool:
        """What a listener asked was answered. False: that is to be asked again later."""
        if number == listener.progress.number:
            listener.progress.answered(is_done=isinstance(answer, wire.Done))
            return True
        if number != listener.asked:
            return True
        if listener.answered(answer, now) is None:
            return False
        self._out.pop(listener, None)
        self._touched[listener] = None
        if not listener.ordering.is_synced:  # the log is not what it was
            self._unsynced[listener] = 0
            if self.handshake.is_synced:
                self.handshake.ask(now)
        return True

    def refused(self, why: str) -> None:
        """The broker has cut the subscriptions off."""
        self.trouble = self._refused = f"the broker has ended the subscriptions: {why}"
        for listener in self.listeners:
            listener.ordering.telling.broken(self.trouble)
        self._touch_all()

    def elapsed(self, now: Instant) -> None:
        """Time has passed: what did not come is asked for again."""
        if not self.listeners:
            return
        if not self.handshake.is_synced and now.seconds - self.handshake.asked_at > SYNC_SECONDS:
            self.handshake.ask(now)
        for listener in self._out:
            if now.seconds - listener.asked_at > SILENCE_SECONDS:
                listener.ordering.telling.broken(UNANSWERED)
                self._touched[listener] = None
        if not self.handshake.is_synced and now.seconds - self.handshake.unsynced_at > SILENCE_SECONDS:
            if not self.trouble:
                for listener in self.listeners:
                    listener.ordering.telling.broken(self.silence)
                self._touch_all()
            self.trouble = self.silence
        for session in self._direct.silent(now.seconds - SILENCE_SECONDS):
            self.trouble = self.trouble or UNANSWERED
            for listener in self.of(session):
                listener.ordering.telling.broken(UNANSWERED)
                self._touched[listener] = None
        marks = self._marks.take(now.seconds, CHECKED_MAX)
        for listener in [*self._checks.take(now.seconds, CHECKED_MAX), *(m for m in marks if m.ordering.wants_mark)]:
            listener.ordering.check()
            self._touched[listener] = None

    # --- what the user wants ----------------------------------------------------------------

    def listen(self, listener: Listener, now: Instant) -> None:
        """Subscribe."""
        if not self.listeners:
            self.handshake.begin_anew()
            self._strangers, self.trouble, self._refused = 0, "", ""
        self.listeners[listener] = self._touched[listener] = None
        self._routes.add(listener)
        self._checks.add(listener, now.seconds)
        if listener.progress.cursor:
            self._cursors.add(listener)
            self._marks.add(listener, now.seconds)
        self._reports.add(listener)
        self._add_direct(listener)
        self._unsynced[listener] = self._round(listener, self.handshake.rounds + 1)
        if self._unsynced[listener] != inf and not self.handshake.is_out:  # else the next one is for it
            self.handshake.ask(now)

    def unlisten(self, listener: Listener) -> None:
        """Unsubscribe."""
        del self.listeners[listener]
        self._routes.remove(listener)
        self._direct.remove(listener)
        self._checks.discard(listener)
        self._cursors.discard(listener)
        self._marks.discard(listener)
        for of in (self._unsynced, self._touched, self._asking, self._out):
            of.pop(listener, None)
        self._reports.remove(listener)

    def of(self, session: Asker) -> list[Listener]:
        """The listeners of a session."""
        return list(self._reports.of(session))

    def forget(self, session: Asker) -> None:
        """The session has ended, and listens no more."""
        for listener in self.of(session):
            self.unlisten(listener)
        self._direct.forget(session)
        self._reports.forget(session)

    def paused(self, listener: Listener, paused: bool) -> None:
        """Its consumer is too far behind to take more, or can take more again."""
        listener.ordering.paused(paused)
        if listener in self.listeners:
            self._touched[listener] = None

    # --- what to do -------------------------------------------------------------------------

    @property
    def silence(self) -> str:
        """What is to be said where no SYNC comes."""
        why = f": {self.seen}" if self.seen else ""
        unlive = f"the subscriptions are not live, nothing comes from where it publishes at {self.publisher}{why}"
        return self._refused or unlive

    def take_stranger(self) -> bool:
        """Whether the SUB is connected to another broker: that connection is to be made anew."""
        is_strange, self._is_strange = self._is_strange, False
        return is_strange

    @property
    def has_deliveries(self) -> bool:
        """Whether something has happened to a listener, or one has a question."""
        return bool(self._touched or self._asking or self._direct.changed)

    @property
    def has_subscriptions(self) -> bool:
        """Whether `take_subscriptions` has some."""
        return bool(self.handshake.private or self._routes.subscriptions)

    def take_subscriptions(self) -> list[tuple[bool, bytes]]:
        """(subscribe or unsubscribe, topic) for the SUB, in order."""
        first, last = self.handshake.take()
        return first + self._routes.take() + last

    def take_questions(self, now: Instant) -> list[tuple[Listener, OrderingQuestion]]:
        """What the listeners ask; the number of each goes to the listener's `asked`."""
        found: list[tuple[Listener, OrderingQuestion]] = []
        for listener in self._touched:
            if listener.ordering.question is not None:
                self._asking[listener] = None
        if not self._asking:
            return found
        paused: dict[Listener, None] = {}
        while self._asking and len(self._out) < QUESTIONS_OUT_MAX:
            listener, _ = self._asking.popitem(last=False)
            if now.seconds < listener.pause.until:
                paused[listener] = None
            elif listener.session is None or listener.session.is_ready:
                question = listener.ordering.take_question()
                if question is not None:
                    listener.asked_at = now.seconds
                    self._out[listener] = None
                    found.append((listener, question))
        self._asking.update(paused)
        return found

    def take_deliveries(self) -> list[tuple[Listener, list[Delivery | Notice | Mark]]]:
        """What each listener gets."""
        found = []
        touched, self._touched = self._touched, {}
        for listener in touched:
            out = listener.ordering.take()
            if out or listener.refused is not None:
                found.append((listener, out))
        return found

    def take_cursors(self, log_id: str, now: Instant) -> list[tuple[Listener, wire.SetCursor]]:
        """The cursors to be stored; the number of each goes to the `number` of the listener's progress."""
        found = []
        for listener in self._cursors.take(CHECKED_MAX):
            offset = listener.progress.due(listener.ordering.logs, now)
            if offset is not None:
                found.append((listener, wire.SetCursor(0, listener.progress.cursor, log_id, offset)))
        return found

    # --- parts ------------------------------------------------------------------------------

    def _who_hears(self, topic: bytes, session: Asker | None) -> tuple[str, Iterable[Listener]]:
        """The room of a topic, and who hears it: all, or the listeners of one session."""
        room, listeners = self._routes.of(topic)
        if session is None:
            return room, listeners
        return room, [listener for listener in self._reports.of(session) if listener in listeners]

    def _add_direct(self, listener: Listener) -> None:
        self._direct.add(listener, self._routes.direct_of(listener, all_may_be=self._has_direct_rooms))

    def _round(self, listener: Listener, of: int = 0) -> float:
        """The nonce whose SYNC, or a later one, says that it is live: that one, unless it first has to subscribe."""
        return of if self._direct.is_in_place(listener) else inf

    def _touch_all(self) -> None:
        self._touched |= self.listeners
