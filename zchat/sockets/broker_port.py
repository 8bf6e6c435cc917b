"""The broker's port that is made of ZeroMQ's sockets: a ROUTER, an XPUB, their monitors, and a waker.

    ROUTER  --received-->   the loop, as `zchat.core.broker_port` says
    XPUB    --granted--->
    ROUTER  <-send, deliver
    XPUB    <-broadcast--

Rules of this file
1. One thread owns every socket. Others only wake it.
2. It decides nothing. What is here is descriptors and libzmq's traps; who is connected is in peers.py.
3. No frame, and no state of a peer, makes it raise.
4. Each socket has a descriptor that tells once of what may be new (zmq_getsockopt(3), ZMQ_FD). It sleeps on those, and
   asks a socket for its events only after it was used for something else, or was not read to its end: a `zmq_poll` asks
   all of them, twice.

Spec: docs/design.md, "The broker's sockets". Tests: tests/sockets/test_broker.py, tests/sockets/test_peers.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator

import zmq

from zchat import wire
from zchat.core import Instant
from zchat.core.broker_port import ENDS, FRAMES, SUBSCRIPTIONS, WOKEN
from zchat.core.channels import connection_of, reply_to
from zchat.core.identity import Identities
from zchat.core.reads import READERS
from zchat.core.recipients import Addressed
from zchat.keys import KeyPair
from zchat.settings import Settings
from zchat.sockets import curve, options
from zchat.sockets.alert_poll import AlertPoll, let_others
from zchat.sockets.broadcasts import Broadcasts
from zchat.sockets.clock import instant
from zchat.sockets.cutoffs import CutOffs
from zchat.sockets.kernel import connections_max
from zchat.sockets.meters import Meters
from zchat.sockets.options import DONTWAIT, EVENTS, POLLIN, SNDMORE
from zchat.sockets.peers import Peers
from zchat.sockets.workers import Workers
from zchat.sockets.zap import ZapHandler

LONG_FRAME_BYTES = 256  # its size takes 8 bytes on the wire, and else one; and one says what the frame is
ASKED = 16  # who is let in
NO_SUBSCRIPTION = "sent what is no subscription, or subscribed at that moment"
GOODBYE_SECONDS = 0.3  # for what was said last


class SocketBrokerPort:
    """See `zchat.core.broker_port.BrokerPort`."""

    def __init__(
        self,
        settings: Settings,
        tell: Callable[[str], object],
        keys: KeyPair | None = None,
        identities: Identities | None = None,
    ) -> None:
        """With the broker's own `keys` only those get in whom `identities` admit."""
        each_max = connections_max()
        self._settings = settings
        self._cutoffs = CutOffs(tell)
        self._context = options.broker_context()
        self._zap: ZapHandler | None = None
        if keys is not None and identities is not None:
            self._zap = ZapHandler(self._context, keys, identities)
            self._zap.show(instant)
        self._frame_bytes = curve.FRAME_BYTES if keys is not None else 0  # that a frame has more of on the wire
        self.router = options.broker_router(self._context, keys)  # to be bound, then `start`
        self.xpub = options.broker_xpub(self._context, keys)
        self._subscriptions = [(self.xpub, POLLIN)]
        self._send = options.sender(self.router)
        self._broadcasts = Broadcasts(self.xpub)
        admits = identities.hears if identities is not None and keys is not None else None
        self._peers = peers = Peers(self._context, self.router, self.xpub, settings, self._cutoffs, each_max, admits)
        self.admit = peers.admit
        self.refusals = peers.refusals
        self.ends, self.read_ends, self.forget = peers.ends, peers.read_monitors, peers.forget
        self.take_met = self._cutoffs.take_met
        self.due, self.cut_off = peers.next_deadline, peers.cut_off_later
        self.now, self.seconds, self.let_others = instant, time.monotonic, let_others
        self._waker = options.Waker()
        self.wake, self.woken = self._waker.wake, self._waker.clear
        self._suspicious = False  # the XPUB got something that is no subscription
        self._meters: Meters | None = None
        self._workers: Workers | None = None

    def start(self, publisher_port: int) -> None:
        """Both sockets are bound, the XPUB to that port: begin to serve."""
        self._peers.publisher_port = publisher_port
        self._meters = Meters(self._peers, self._cutoffs, self._settings, self.xpub.fileno())
        self._workers = Workers(READERS)
        self.work = self._workers.work
        self._poll = AlertPoll()
        self._tells = {self._waker.fileno(): WOKEN, options.descriptor(self.xpub): SUBSCRIPTIONS}
        self._tells.update((options.descriptor(monitor), ENDS) for monitor in self._peers.monitors)
        if self._zap is not None:
            self._tells[options.descriptor(self._zap.socket)] = ASKED
        for descriptor in self._tells:
            self._poll.register(descriptor)
        self._router_tells = options.descriptor(self.router)
        self._tells[self._router_tells] = FRAMES
        self._receives = False
        self._is_asked = self._zap is not None  # whether somebody is let in: since it was bound
        self._touched = FRAMES | SUBSCRIPTIONS  # what may be there, and no descriptor would tell of it
        self._peers.read_monitors(self.now())  # one that was never found empty would not tell of what comes first

    def close(self) -> None:
        """Without linger: to close with it while peers are there can end the process (session_base.cpp:233)."""
        if self._workers is not None:
            self._workers.close()
        if self._meters is not None:
            self._meters.close()
        self._peers.close()
        if self._zap is not None:
            self._zap.close()
        self.router.close(linger=0)
        self.xpub.close(linger=0)
        self._context.term()
        self._cutoffs.close()
        self._waker.close()

    @property
    def full(self) -> Container[bytes]:
        """Connections that do not read what they are sent as fast as it is made."""
        return self._peers.full

    def poll(self, seconds: float, *, receives: bool, is_alone: bool = False) -> int:
        """Sleep until something is there, but not for longer. Returns what."""
        if receives != self._receives:
            self._receives = receives
            if receives:
                self._poll.register(self._router_tells)
            else:
                self._poll.unregister(self._router_tells)
        found = self._look() if self._touched else 0
        workers = self._workers
        assert self._meters is not None and workers is not None, "started"
        wait = 0 if found or self._is_asked or seconds <= 0 else int(seconds * 1000) + 1
        workers.give_way = not is_alone
        for descriptor, _ in self._poll.wait(wait, may_stay_awake=is_alone and not workers.at_work):
            found |= self._tells[descriptor]
        workers.give_way = True
        self._meters.turned()
        if self._zap is not None and (found & ASKED or self._is_asked):
            self._is_asked = self._zap.answer(self.now())
        return found & ~ASKED

    def _look(self) -> int:
        """What is there, of what may be and no descriptor would tell of.

        To ask the XPUB is to take in subscriptions, of a flood for seconds. Other threads run during `zmq_poll`; none
        does during `getsockopt`, and the meters could not end the flood.
        """
        if self._touched & SUBSCRIPTIONS and not zmq.zmq_poll(self._subscriptions, 0):
            self._touched &= ~SUBSCRIPTIONS
        if self._touched & FRAMES and self._receives and not int(self.router.getsockopt(EVENTS)) & POLLIN:
            self._touched &= ~FRAMES
        return self._touched if self._receives else self._touched & ~FRAMES

    def elapsed(self, now: Instant, *, dry: bool) -> None:
        """Time has passed: cut off who is due."""
        assert self._meters is not None, "started"
        self._meters.is_dry = dry
        self._peers.elapsed(now, dry=dry)

    def flushed(self) -> None:
        """Wait until the kernels have what was sent."""
        self._peers.wait_until_sent(GOODBYE_SECONDS)

    # --- ROUTER -----------------------------------------------------------------------------

    def received(self, now: Instant) -> Iterator[tuple[bytes, bytes | None, int, str | None]]:
        """What clients sent: a loop that asks for one more spends no call on it."""
        receive, known, is_first, more = self.router.recv, self._peers.of, True, self._frame_bytes
        self._touched |= FRAMES
        while True:
            try:
                connection = receive(DONTWAIT)
            except zmq.Again:
                break
            part = receive(copy=False)  # to ask it for the next one is dear, and this knows
            peer = known.get(connection)
            if peer is None:
                peer = self._peers.meet(connection, part, now)
            size = len(part) + more
            taken = size + (9 if size >= LONG_FRAME_BYTES else 2)
            frame = b"" if peer.is_cut_off or part.more else part.bytes
            while part.more:  # the protocol has one frame a message
                part = receive(copy=False)
                size = len(part) + more
                taken += size + (9 if size >= LONG_FRAME_BYTES else 2)
            peer.taken += taken
            peer.messages += 1
            if peer.is_cut_off:
                yield connection, None, 0, None
            else:
                yield connection, frame, taken, None if peer.is_greeted else peer.address
            # Of one, nearly always: an exception costs five times as much. Of many, each would be asked after.
            if is_first and not int(self.router.getsockopt(EVENTS)) & POLLIN:
                break
            is_first = False
        self._touched &= ~FRAMES

    def key_of(self, connection: bytes) -> str:
        """The public key that it has proved; empty where the broker has no keys."""
        peer = self._peers.of.get(connection)
        return "" if peer is None else peer.key

    def spoke(self, connection: bytes, ttl_ms: int | None) -> None:
        """It has said HELLO, or not yet."""
        self._peers.spoke(self._peers.of[connection], ttl_ms is not None, self.now(), ttl_ms or 0)

    def send(self, replies: Iterable[tuple[bytes, bytes]], now: Instant) -> None:
        """A reply to one that does not read is dropped: it will ask again."""
        self._touched |= FRAMES
        for connection, frame in replies:
            self._say(connection, frame, now)

    def deliver(self, direct: Iterable[Addressed], now: Instant, *, patient: bool) -> set[bytes]:
        """Batches for some: one that does not read loses them, and fetches them once it does."""
        full, refused = self._peers.full, set[bytes]()
        self._touched |= FRAMES
        for frame, said, endpoints in direct:
            may_wait = patient and frame[1] == wire.VOLATILE_MESSAGES
            shared = zmq.Frame(said, copy=True)  # its bytes are copied once, and not for each
            for endpoint in endpoints:
                is_full = connection_of(endpoint) in full
                connection, part = (endpoint, shared) if isinstance(endpoint, bytes) else reply_to(endpoint, said)
                if (is_full or not self._say(connection, part, now)) and may_wait:
                    refused.add(frame)  # who has it already leaves it out the next time
                    break
        return refused

    def _say(self, connection: bytes, frame: bytes | zmq.Frame, now: Instant) -> bool:
        """Send it, if there is room for it. Returns whether there was."""
        try:
            self._send(connection, SNDMORE | DONTWAIT)
            self._send(frame, DONTWAIT, isinstance(frame, bytes))
            self._peers.sent(connection, len(frame))
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._peers.gone(connection, now)
        return True

    # --- XPUB -------------------------------------------------------------------------------

    def granted(self, now: Instant) -> Iterator[bytes]:
        """Grant subscriptions, one at a time: `SUBSCRIBE` acts on the peer of the last receive.

        A frame that is no subscription puts libzmq's queues of frames and of peers out of step: until
        the socket is dry, the next `SUBSCRIBE` would be applied to another peer. So nothing is granted,
        and everyone who sent meanwhile is cut off; the honest ones come back and subscribe again.
        """
        xpub, peers = self.xpub, self._peers
        self._touched |= SUBSCRIPTIONS
        while True:
            try:
                frame = xpub.recv(DONTWAIT, copy=False)
            except zmq.Again:
                self._suspicious = False
                self._touched &= ~SUBSCRIPTIONS
                return
            data, is_last, granted = frame.bytes, not frame.more, b""
            peer = peers.subscriber(frame, now)
            if peer is not None:
                size = len(data) + self._frame_bytes
                peer.taken += size + (9 if size >= LONG_FRAME_BYTES else 2)
                peer.messages += is_last
            if data[:1] not in (b"\0", b"\1"):
                self._suspicious = True
            if self._suspicious:
                if peer is not None and not peer.is_cut_off:
                    self._cutoffs.cut_off(peer.descriptor, peer.name, NO_SUBSCRIPTION)
                    peer.is_cut_off = True
            elif peer is None or peer.is_cut_off:
                pass  # libzmq has taken its topics out itself, or will
            elif not data[0]:
                peers.unsubscribes(peer, data[1:])
                xpub.setsockopt(zmq.UNSUBSCRIBE, data[1:])
            elif peers.subscribes(peer, data[1:]):
                xpub.setsockopt(zmq.SUBSCRIBE, data[1:])
                granted = data[1:]
            yield granted

    def broadcast(self, broadcasts: Iterable[tuple[bytes, bytes]], *, patient: bool) -> set[bytes]:
        """See broadcasts.py."""
        self._touched |= SUBSCRIPTIONS
        refused = self._broadcasts.send(broadcasts, patient=patient)
        self._peers.broadcast_bytes = self._broadcasts.bytes
        return refused
