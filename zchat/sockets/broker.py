"""The broker's sockets and its one loop: wait, drain, append, broadcast, ack, answer.

    ROUTER  --frames-->  BrokerCore  --append-->  Log (its writer thread)
    XPUB   <--batches--              <--committed--
    ROUTER <--acks-----

Rules of this file
1. One thread owns every socket. Threads of the log and readers only append to a deque and wake it.
2. It decides nothing: BrokerCore does. What is here is order of work, descriptors and libzmq's traps.
3. No frame, and no state of a peer, makes it raise.
4. A turn has a bound in time, not in messages: everybody's answers go out after each.

It has more than 300 lines because the loop is read best beside what it calls.
Spec: docs/design.md, "The broker's sockets". Tests: tests/sockets/test_broker.py.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from math import inf

import zmq

from zchat import wire
from zchat.address import Address, Published
from zchat.core import Instant
from zchat.core.broker import BrokerCore
from zchat.core.clocks import NOTICED_SECONDS, Clocks
from zchat.errors import LogError
from zchat.log import Log, facts_of
from zchat.settings import Settings
from zchat.sockets import options
from zchat.sockets.broadcasts import Broadcasts
from zchat.sockets.clock import instant
from zchat.sockets.cutoffs import CutOffs
from zchat.sockets.kernel import connections_max
from zchat.sockets.meters import Meters
from zchat.sockets.options import DONTWAIT, POLLIN, SNDMORE
from zchat.sockets.peers import Peers
from zchat.sockets.readers import Readers

DRAIN_SECONDS = 0.01  # of a turn: then it is time to commit and answer
DRAINED_BYTES_MAX = 4 << 20
DRAINED_UNTIMED = 4  # messages, small ones: so often is the clock looked at
SMALL_BYTES = 1_024  # a larger one may be work
ANSWER_SECONDS = 0.01  # of a turn
ANSWER_BYTES_MAX = 4 << 20
GATHERED_BYTES_MAX = 128 << 20  # waiting for the commit under way: the windows of honest clients allow a quarter of it
LONG_FRAME_BYTES = 256  # its size takes 8 bytes on the wire, and else one; and one says what the frame is
NO_SUBSCRIPTION = "sent what is no subscription, or subscribed at that moment"
GOODBYE_SECONDS = 0.3  # for what was said last
LOOK_SECONDS = 1.0  # whether the clock was set
PROBE_SECONDS = 30.0  # a connection whose end the monitor missed is found by a send that fails


class Broker:
    """One broker: `start` binds, `run` serves until `stop`."""

    def __init__(
        self,
        log: Log,
        bind: Address,
        settings: Settings | None = None,
        tell: Callable[[str], object] | None = None,
        publisher_port: int = 0,  # 0: the next after `bind`, any where that is any
        advertised: Published | None = None,  # None: clients find it by that
    ) -> None:
        options.check_libzmq()
        self.settings = settings or Settings()
        self.address = bind  # with the port that was got, once started
        self.publisher_address = bind.publisher(Published(publisher_port or (bind.port + 1 if bind.port else 0)))
        self._advertised = advertised
        self._log = log
        self._tell = tell or (lambda text: None)  # for the operator: one line
        self._trouble = ""  # code of what the log said last, empty when it works
        self._due = inf  # when the core is to be told at the latest that time has passed
        self._stopping = False
        self._waker = options.Waker()
        self._finished: deque[Callable[[Instant], None]] = deque()  # from other threads, for the loop
        self._failed: LogError | None = None  # the log keeps nothing more
        self._suspicious = False  # the XPUB got something that is no subscription
        self._meters: Meters | None = None

    def start(self) -> None:
        """Bind both sockets. Raises StartError or BadAddress."""
        each_max = connections_max()
        self._cutoffs = CutOffs(self._tell)
        self._context = options.broker_context()
        self._router = options.broker_router(self._context)
        self._xpub = options.broker_xpub(self._context)
        self._broadcasts = Broadcasts(self._xpub)
        self._peers = Peers(self._context, self._router, self._xpub, self.settings, self._cutoffs, each_max)
        try:
            self.address = options.bind(self._router, self.address)
            options.name_every_peer(self._router)
            self.publisher_address = options.bind(self._xpub, self.publisher_address)
        except BaseException:
            self._close_sockets()
            raise
        log = self._log
        facts = facts_of(log, self.settings.users_seen_max)
        self._peers.publisher_port = port = self.publisher_address.port
        published = self._advertised or Published(port, beside=self.address.port)
        now = instant()
        self._core = BrokerCore(self.settings, facts, _session_ids(), published, now)
        self._clocks = Clocks(now)
        if ahead := self._ahead(now):
            self._tell(f"the clock is behind{ahead}")
        self._readers = Readers(log, self._core, self._send, self._finish_later, self._tell)
        self._meters = Meters(self._peers, self._cutoffs, self.settings, self._xpub.fileno())

    def stop(self) -> None:
        """Make `run` end: what was accepted is committed and told first. Safe in a signal handler."""
        self._stopping = True
        self._waker.wake()

    def run(self) -> None:
        """Serve until `stop`, then close all but the log. Raises LogError when that keeps nothing more."""
        poller = zmq.Poller()
        poller.register(self._xpub, POLLIN)
        monitors = self._peers.monitors
        for monitor in monitors:
            poller.register(monitor, POLLIN)
        waker = self._waker.fileno()
        poller.register(waker, POLLIN)
        router_polled = False
        more = False
        probe_at = time.monotonic() + PROBE_SECONDS
        trim_at = look_at = time.monotonic()
        meters, has_session = self._meters, self._has_session
        assert meters is not None, "started"
        try:
            while not self._stopping:
                takes_more = self._core.gathered_bytes < GATHERED_BYTES_MAX
                if takes_more != router_polled:
                    poller.register(self._router, POLLIN if takes_more else 0)  # 0 takes it out
                    router_polled = takes_more
                ready = dict(poller.poll(0 if more and takes_more else self._sleep_ms()))
                meters.turns += 1
                now = instant()
                if ready.keys() & monitors:
                    self._peers.read_monitors(now)
                if self._xpub in ready:
                    self._read_subscriptions(now)
                # What a peer sent before its end was read from the monitor may be in the ROUTER since the poll.
                may_have = more or self._router in ready or self._peers.has_ended
                more = takes_more and may_have and self._drain(now)
                dry = not more and takes_more
                meters.is_dry = dry
                for connection in self._peers.take_ended(now, dry=dry):
                    self._core.disconnected(connection, now)
                if waker in ready:
                    self._take_finished(now)
                self._cycle(now)
                self._peers.elapsed(now, has_session, dry=dry)
                if now.seconds >= probe_at:
                    self._probe(now)
                    probe_at = now.seconds + PROBE_SECONDS
                if now.seconds >= look_at:
                    self._look_at_the_clock(now)
                    look_at = now.seconds + LOOK_SECONDS
                if self.settings.retention and now.seconds >= trim_at:
                    self._look_at_the_clock(now)
                    self._log.trim(list(self.settings.retention), self._clocks.for_ages(now))
                    trim_at = now.seconds + self.settings.trim_seconds
            self._finish()
        finally:
            self._close()
        if self._failed is not None:
            raise self._failed

    # --- one cycle --------------------------------------------------------------------------

    def _cycle(self, now: Instant) -> None:
        """Do what the core says: append, broadcast, ack."""
        core = self._core
        if self._due <= now.seconds:
            core.elapsed(now)
        append = core.take_append(now)
        if append is not None:
            self._log.append(append, partial(self._committed, bool(append.batches)))
            if self._finished:  # a log that commits at once has called back already
                self._take_finished(now)
        refused = self._broadcasts.send(core.take_broadcasts(now), patient=core.is_patient(now))
        self._peers.broadcast_bytes = self._broadcasts.bytes
        core.broadcast(refused, now)
        for connection, frame in core.take_replies():
            self._send(connection, frame, now)
        if core.may_answer(self._peers.full):
            self._answer(now)
        for read in core.take_reads(self._peers.full):
            self._readers.submit(read)
        for connection in core.take_cutoffs():
            self._peers.cut_off_later(connection, now)

    def _answer(self, now: Instant) -> None:
        """Questions, as long as there is time."""
        core, full, made = self._core, self._peers.full, 0
        deadline = time.monotonic() + ANSWER_SECONDS
        while made < ANSWER_BYTES_MAX and core.answer(full):
            for connection, frame in core.take_replies():
                made += len(frame)
                self._send(connection, frame, now)
            if time.monotonic() > deadline:
                return

    def _committed(self, had_records: bool, error: LogError | None) -> None:
        """Called by the log, from any thread."""
        self._finish_later(lambda now: self._on_commit(had_records, error, now))

    def _on_commit(self, had_records: bool, error: LogError | None, now: Instant) -> None:
        self._core.committed(error, now)
        if error is not None and error.is_final:
            # To go on would refuse everything for ever. What is started next opens the log anew, and reads what it has.
            self._failed, self._stopping = error, True
        elif error is not None and error.code != self._trouble:
            self._trouble = error.code
            cure = "; stop the broker and run `zchat log repair`" if error.code == "log-damaged" else ""
            self._tell(f"{error}: what is sent is refused{cure}")
        elif error is None and self._trouble and had_records:  # a damaged log may still take rows of sessions
            self._trouble = ""
            self._tell("the log can be written again")

    def _take_finished(self, now: Instant) -> None:
        self._waker.clear()
        while self._finished:
            self._finished.popleft()(now)

    def _sleep_ms(self) -> int:
        now = instant()
        due = self._core.next_deadline()
        self._due = inf if due is None else due
        deadline = min(self._due, self._peers.next_deadline(now))
        if self._finished or self._core.may_answer(self._peers.full):
            return 0
        return max(0, int((deadline - now.seconds) * 1000) + 1)

    # --- ROUTER -----------------------------------------------------------------------------

    def _drain(self, now: Instant) -> bool:
        """Take what clients sent, up to a bound. Returns whether there may be more."""
        router, core, known = self._router, self._core, self._peers.of
        size, untimed, deadline = 0, DRAINED_UNTIMED, time.monotonic() + DRAIN_SECONDS
        while size < DRAINED_BYTES_MAX:
            untimed -= 1
            if untimed < 0:
                if time.monotonic() > deadline:
                    return True
                untimed = DRAINED_UNTIMED
            try:
                connection = router.recv(DONTWAIT)
            except zmq.Again:
                return False
            part = router.recv(copy=False)  # to ask it for the next one is dear, and this knows
            peer = known.get(connection)
            if peer is None:
                peer = self._peers.meet(connection, part, now)
            taken = len(part) + (9 if len(part) >= LONG_FRAME_BYTES else 2)
            frame = b"" if peer.is_cut_off or part.more else part.bytes
            while part.more:  # the protocol has one frame a message
                part = router.recv(copy=False)
                taken += len(part) + (9 if len(part) >= LONG_FRAME_BYTES else 2)
            peer.taken += taken
            peer.messages += 1
            if peer.is_cut_off:
                continue
            core.received(connection, frame, now, peer.address)
            if not peer.is_greeted:
                session = core.registry.of(connection)
                self._peers.spoke(peer, session is not None, session.ttl_ms if session else 0)
            size += taken
            untimed -= taken // SMALL_BYTES
        return True

    def _has_session(self, connection: bytes) -> bool:
        return self._core.registry.of(connection) is not None

    def _send(self, connection: bytes, frame: bytes, now: Instant) -> None:
        router = self._router
        try:
            router.send(connection, SNDMORE | DONTWAIT)
            router.send(frame, DONTWAIT)
            self._peers.sent(connection, len(frame))
        except zmq.Again:
            pass  # it does not read: it will ask again
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._peers.gone(connection, now)

    def _look_at_the_clock(self, now: Instant) -> None:
        by = self._clocks.look(now)
        if by > 0:
            self._tell(f"the clock went forward by {by:,.0f} s: it was set, or the machine slept")
        elif by < 0:
            self._tell(f"the clock was set back by {-by:,.0f} s{self._ahead(now)}")

    def _ahead(self, now: Instant) -> str:
        """What is to be said of a log whose last record is of a time that is still to come."""
        ahead = (self._log.last_time() - now.micros) / 1e6
        if ahead < NOTICED_SECONDS:
            return ""
        return f": the log's last record is {ahead:,.0f} s ahead of it, and new ones get its time until then"

    def _probe(self, now: Instant) -> None:
        """Send every connection an empty ACK: a send to one that is gone fails."""
        nothing = wire.encode(wire.Ack([]))
        for connection in self._core.registry.connections():
            self._send(connection, nothing, now)

    # --- XPUB -------------------------------------------------------------------------------

    def _read_subscriptions(self, now: Instant) -> None:
        """Grant subscriptions, one at a time: `SUBSCRIBE` acts on the peer of the last receive.

        A frame that is no subscription puts libzmq's queues of frames and of peers out of step: until
        the socket is dry, the next `SUBSCRIBE` would be applied to another peer. So nothing is granted,
        and everyone who sent meanwhile is cut off; the honest ones come back and subscribe again.
        """
        xpub, peers = self._xpub, self._peers
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline:
            try:
                frame = xpub.recv(DONTWAIT, copy=False)
            except zmq.Again:
                self._suspicious = False
                return
            data, is_last = frame.bytes, not frame.more
            peer = peers.subscriber(frame, now)
            if peer is not None:
                peer.taken += len(data) + (9 if len(data) >= LONG_FRAME_BYTES else 2)
                peer.messages += is_last
            if data[:1] not in (b"\0", b"\1"):
                self._suspicious = True
            if self._suspicious:
                if peer is not None and not peer.is_cut_off:
                    self._cutoffs.cut_off(peer.descriptor, peer.name, NO_SUBSCRIPTION)
                    peer.is_cut_off = True
                continue
            if peer is None or peer.is_cut_off:
                continue  # libzmq has taken its topics out itself, or will
            topic = data[1:]
            if not data[0]:
                peers.unsubscribes(peer, topic)
                xpub.setsockopt(zmq.UNSUBSCRIBE, topic)
            elif peers.subscribes(peer, topic):
                xpub.setsockopt(zmq.SUBSCRIBE, topic)
                if topic.startswith(wire.PRIVATE_TOPIC):
                    self._core.subscribed(topic, now)

    def _finish_later(self, finished: Callable[[Instant], None]) -> None:
        """Called by the log and the readers, from any thread."""
        self._finished.append(finished)
        self._waker.wake()

    # --- the end ----------------------------------------------------------------------------

    def _finish(self) -> None:
        """Take what has arrived, commit it, answer, say goodbye."""
        deadline = time.monotonic() + 5.0
        while self._drain(instant()) and time.monotonic() < deadline:
            pass
        self._cycle(instant())
        while self._core.is_committing and time.monotonic() < deadline:
            self._waker.wait(0.1)
            self._take_finished(instant())
            self._cycle(instant())
        self._core.stopping()
        self._cycle(instant())
        self._peers.wait_until_sent(GOODBYE_SECONDS)

    def _close(self) -> None:
        self._readers.close()
        self._close_sockets()

    def _close_sockets(self) -> None:
        """Without linger: to close with it while peers are there can end the process (session_base.cpp:233)."""
        if self._meters is not None:
            self._meters.close()
        self._peers.close()
        self._router.close(linger=0)
        self._xpub.close(linger=0)
        self._context.term()
        self._cutoffs.close()
        self._waker.close()


def _session_ids() -> Iterator[str]:
    """Random names: nobody can guess one, and none comes twice."""
    while True:
        yield secrets.token_urlsafe(12)
