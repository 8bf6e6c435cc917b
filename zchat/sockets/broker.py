"""The broker's sockets and its one loop: wait, drain, append, broadcast, ack.

    ROUTER  --frames-->  BrokerCore  --append-->  Log (its writer thread)
    XPUB   <--batches--              <--committed--
    ROUTER <--acks-----

Rules of this file
1. One thread owns every socket. Threads of the log and readers only append to a deque and wake it.
2. It decides nothing: BrokerCore does. What is here is order of work, descriptors and libzmq's traps.
3. No frame, and no state of a peer, makes it raise.

Spec: docs/design.md, "The broker's sockets". Tests: tests/sockets/test_broker.py.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import zmq

from zchat import wire
from zchat.address import Address
from zchat.core import Instant
from zchat.core.broker import BrokerCore, LogFacts, Read
from zchat.errors import LogError
from zchat.log import Log
from zchat.settings import Settings
from zchat.sockets import options

DRAINED_MESSAGES_MAX = 2000  # per cycle: then it is time to commit and answer
DRAINED_BYTES_MAX = 4 << 20
GATHERED_BYTES_MAX = 32 << 20  # waiting for the commit under way: above it the ROUTER is left to TCP
DISCONNECTED_WAIT_SECONDS = 0.02  # for the frames that a closed connection has left in the ROUTER
CUT_OFF_WAIT_SECONDS = 0.2  # so that the ERROR that says why is out first
PROBE_SECONDS = 30.0  # a connection whose end the monitor missed is found by a send that fails
POLL_SECONDS_MAX = 1.0
READERS = 2
RESERVED_DESCRIPTORS = 64  # for the log's files, wake-ups and what Python opens


class Broker:
    """One broker: `start` binds, `run` serves until `stop`."""

    def __init__(self, log: Log, bind: Address, settings: Settings | None = None) -> None:
        options.check_libzmq()
        self.settings = settings or Settings()
        self.address = bind  # with the port that was got, once started
        self.publisher_address = bind
        self._log = log
        self._stopping = False
        self._waker = options.Waker()
        self._finished: deque[Callable[[Instant], None]] = deque()  # from other threads, for the loop
        self._descriptors: dict[bytes, int] = {}  # connection -> descriptor (-1: it is closed already)
        self._connections: dict[int, bytes] = {}  # descriptor -> connection
        self._open: set[int] = set()  # descriptors that the monitor says are open
        self._ended: list[tuple[bytes, float]] = []  # connection, when: told to the core once the ROUTER is dry
        self._cutting: list[tuple[float, bytes]] = []
        self._suspicious = False  # the XPUB got something that is no subscription

    def start(self) -> None:
        """Bind both sockets. Raises StartError or BadAddress."""
        self._descriptors_max = _raise_descriptor_limit() - RESERVED_DESCRIPTORS
        self._context = options.new_context()
        self._router = options.broker_router(self._context)
        self._xpub = options.broker_xpub(self._context)
        self._monitor = options.open_monitor(self._context, self._router, options.MONITORED)
        port = self.address.port
        publisher = self.address.publisher(port + 1 if port else 0)
        try:
            self.address = options.bind(self._router, self.address)
            self.publisher_address = options.bind(self._xpub, publisher)
        except BaseException:
            self._close_sockets()
            raise
        self._readers = ThreadPoolExecutor(READERS, "zchat-read")
        log = self._log
        facts = LogFacts(
            log.log_id,
            log.secret,
            log.head(),
            log.last_time(),
            log.rooms(),
            log.sessions(),
            log.users_seen(self.settings.users_seen_max),
            log.cursors(),
        )
        port = self.publisher_address.port
        self._core = BrokerCore(self.settings, facts, _session_ids(), port, _instant())

    def stop(self) -> None:
        """Make `run` end: what was accepted is committed and told first. Safe in a signal handler."""
        self._stopping = True
        self._waker.wake()

    def run(self) -> None:
        """Serve until `stop`, then close everything but the log."""
        poller = zmq.Poller()
        poller.register(self._xpub, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._waker.fileno(), zmq.POLLIN)
        router_polled = False
        more = False
        probe_at = time.monotonic() + PROBE_SECONDS
        try:
            while not self._stopping:
                takes_more = self._core.gathered_bytes < GATHERED_BYTES_MAX
                if takes_more != router_polled:
                    (poller.register if takes_more else poller.unregister)(self._router)
                    router_polled = takes_more
                ready = dict(poller.poll(0 if more and takes_more else self._sleep_ms()))
                now = _instant()
                if self._monitor in ready:
                    self._read_monitor(now)
                if self._xpub in ready:
                    self._read_subscriptions(now)
                more = takes_more and (more or self._router in ready) and self._drain(now)
                self._end_connections(now, dry=not more and takes_more)
                if self._waker.fileno() in ready:
                    self._take_finished(now)
                self._cycle(now)
                if now.seconds >= probe_at:
                    self._probe(now)
                    probe_at = now.seconds + PROBE_SECONDS
            self._finish()
        finally:
            self._close()

    # --- one cycle --------------------------------------------------------------------------

    def _cycle(self, now: Instant) -> None:
        """Do what the core says: append, broadcast, ack."""
        core = self._core
        deadline = core.next_deadline()
        if deadline is not None and deadline <= now.seconds:
            core.elapsed(now)
        append = core.take_append(now)
        if append is not None:
            self._log.append(append, self._committed)
            if self._finished:  # a log that commits at once has called back already
                self._take_finished(now)
        for topic, frame in core.take_broadcasts(now):
            self._xpub.send(topic, zmq.SNDMORE)
            self._xpub.send(frame)
        for connection, frame in core.take_replies():
            self._send(connection, frame, now)
        for read in core.take_reads():
            self._readers.submit(self._read, read)
        for connection in core.take_cutoffs():
            self._cutting.append((now.seconds + CUT_OFF_WAIT_SECONDS, connection))
        if self._cutting:
            self._cut_off_due(now)

    def _committed(self, error: LogError | None) -> None:
        """Called by the log, from any thread."""
        self._finished.append(lambda now: self._core.committed(error, now))
        self._waker.wake()

    def _take_finished(self, now: Instant) -> None:
        self._waker.clear()
        while self._finished:
            self._finished.popleft()(now)

    def _sleep_ms(self) -> int:
        if self._finished:
            return 0
        wait = POLL_SECONDS_MAX
        seconds = time.monotonic()
        deadline = self._core.next_deadline()
        if deadline is not None:
            wait = min(wait, deadline - seconds)
        if self._cutting:
            wait = min(wait, self._cutting[0][0] - seconds)
        if self._ended:
            wait = min(wait, DISCONNECTED_WAIT_SECONDS)
        return max(0, int(wait * 1000) + 1)

    # --- ROUTER -----------------------------------------------------------------------------

    def _drain(self, now: Instant) -> bool:
        """Take what clients sent, up to a bound. Returns whether there may be more."""
        router, core, descriptors = self._router, self._core, self._descriptors
        size = 0
        for _ in range(DRAINED_MESSAGES_MAX):
            try:
                connection = router.recv(zmq.DONTWAIT)
            except zmq.Again:
                return False
            address = ""
            if connection in descriptors:
                frame = router.recv()
            else:
                frame, address = self._first_frame(connection, now)
            while router.rcvmore:  # the protocol has one frame a message
                router.recv()
                frame = b""
            core.received(connection, frame, now, address)
            size += len(frame)
            if size > DRAINED_BYTES_MAX:
                break
        return True

    def _first_frame(self, connection: bytes, now: Instant) -> tuple[bytes, str]:
        """The first frame of a connection tells its descriptor, by which the monitor names its end."""
        frame = self._router.recv(copy=False)
        descriptor = options.metadata(frame, zmq.SRCFD)
        address = options.metadata(frame, "Peer-Address") or ""
        # A descriptor can be used again at once, so read the monitor dry before trusting the number.
        self._read_monitor(now)
        former = self._connections.pop(descriptor, None)
        if former is not None:
            self._ended.append((former, now.seconds))
        if descriptor in self._open:
            self._descriptors[connection] = descriptor
            self._connections[descriptor] = connection
        else:  # it spoke and went: its frames count all the same
            self._descriptors[connection] = -1
            self._ended.append((connection, now.seconds))
        return frame.bytes, str(address)

    def _send(self, connection: bytes, frame: bytes, now: Instant) -> None:
        router = self._router
        try:
            router.send(connection, zmq.SNDMORE | zmq.DONTWAIT)
            router.send(frame, zmq.DONTWAIT)
        except zmq.Again:
            pass  # it does not read: it will ask again
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._ended.append((connection, now.seconds))

    def _probe(self, now: Instant) -> None:
        """Send every connection an empty ACK: a send to one that is gone fails."""
        nothing = wire.encode(wire.Ack([]))
        for connection in self._core.registry.connections():
            self._send(connection, nothing, now)

    # --- ends -------------------------------------------------------------------------------

    def _read_monitor(self, now: Instant) -> None:
        while (event := options.read_event(self._monitor)) is not None:
            kind, descriptor = event
            if kind == zmq.EVENT_ACCEPTED:
                self._open.add(descriptor)
                if len(self._open) > self._descriptors_max // 2:  # the XPUB takes as many again
                    options.cut_off(descriptor)  # out of descriptors libzmq spins and the log cannot open files
            else:
                self._open.discard(descriptor)
                connection = self._connections.pop(descriptor, None)
                if connection is not None:
                    self._ended.append((connection, now.seconds))

    def _end_connections(self, now: Instant, dry: bool) -> None:
        """Tell the core which connections ended, once what they had sent is taken.

        libzmq reports an end beside the frames, not behind them.
        """
        if not self._ended or not (dry or now.seconds - self._ended[0][1] > DISCONNECTED_WAIT_SECONDS):
            return
        ended, self._ended = self._ended, []
        for connection, _ in ended:
            descriptor = self._descriptors.pop(connection, -1)
            if self._connections.get(descriptor) == connection:
                del self._connections[descriptor]
            self._core.disconnected(connection, now)

    def _cut_off_due(self, now: Instant) -> None:
        while self._cutting and self._cutting[0][0] <= now.seconds:
            descriptor = self._descriptors.get(self._cutting.pop(0)[1], -1)
            if descriptor >= 0:
                options.cut_off(descriptor)

    # --- XPUB -------------------------------------------------------------------------------

    def _read_subscriptions(self, now: Instant) -> None:
        """Grant subscriptions, one at a time: `SUBSCRIBE` acts on the peer of the last receive.

        A frame that is no subscription puts libzmq's queues of frames and of peers out of step: until
        the socket is dry, the next `SUBSCRIBE` would be applied to another peer. So nothing is granted,
        and everyone who sent meanwhile is cut off; the honest ones come back and subscribe again.
        """
        xpub = self._xpub
        for _ in range(DRAINED_MESSAGES_MAX):
            try:
                frame = xpub.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                self._suspicious = False
                return
            data = frame.bytes
            if data[:1] not in (b"\0", b"\1"):
                self._suspicious = True
            if self._suspicious:
                descriptor = options.metadata(frame, zmq.SRCFD)
                if descriptor is not None:
                    options.cut_off(descriptor)
                continue
            topic = data[1:]
            if data[0]:
                xpub.setsockopt(zmq.SUBSCRIBE, topic)
                if topic.startswith(wire.PRIVATE_TOPIC):
                    self._core.subscribed(topic, now)
            else:
                xpub.setsockopt(zmq.UNSUBSCRIBE, topic)

    # --- readers ----------------------------------------------------------------------------

    def _read(self, read: Read) -> None:
        """On a reader thread: answer from the log, then hand the answer to the loop."""
        connection, request = read
        if isinstance(request, tuple):
            session, seq = request
            try:
                offset = self._log.find(session, seq)
            except LogError:
                offset = 0
            self._finish_later(lambda now: self._core.found(session, seq, offset))
            return
        try:
            frame = self._answer(request)
        except LogError as error:
            frame = wire.encode(wire.Error("request", request.request, error.code, str(error)))
        self._finish_later(lambda now: self._answered(connection, frame, now))

    def _answer(self, request: wire.Fetch | wire.Seek) -> bytes:
        if isinstance(request, wire.Seek):
            after = self._log.seek(request.patterns, request.last, request.since, request.presence)
            return wire.encode(wire.Position(request.request, after, self._log.head()))
        page = self._log.read(
            request.patterns, request.after, request.until, request.limit, self.settings.page_bytes_max
        )
        batches = [(room, wire.raw(frame)) for room, frame in page.batches]
        return wire.encode(wire.Page(request.request, batches, page.upto, page.more, page.gaps))

    def _answered(self, connection: bytes, frame: bytes, now: Instant) -> None:
        self._core.read_done(connection)
        self._send(connection, frame, now)

    def _finish_later(self, finished: Callable[[Instant], None]) -> None:
        self._finished.append(finished)
        self._waker.wake()

    # --- the end ----------------------------------------------------------------------------

    def _finish(self) -> None:
        """Take what has arrived, commit it, answer, say goodbye."""
        deadline = time.monotonic() + 5.0
        while self._drain(_instant()) and time.monotonic() < deadline:
            pass
        self._cycle(_instant())
        while self._core.is_committing and time.monotonic() < deadline:
            self._waker.wait(0.1)
            self._take_finished(_instant())
            self._cycle(_instant())
        self._core.stopping()
        self._cycle(_instant())

    def _close(self) -> None:
        self._readers.shutdown(wait=True, cancel_futures=True)
        options.close_monitor(self._router, self._monitor)
        for listener in (self._router, self._xpub):
            listener.close(linger=1000)
        self._context.term()
        self._waker.close()

    def _close_sockets(self) -> None:
        options.close_monitor(self._router, self._monitor)
        self._router.close()
        self._xpub.close()
        self._context.term()
        self._waker.close()


def _instant() -> Instant:
    return Instant(time.monotonic(), time.time_ns() // 1000)


def _session_ids() -> Iterator[str]:
    """Random names: nobody can guess one, and none comes twice."""
    while True:
        yield secrets.token_urlsafe(12)


def _raise_descriptor_limit() -> int:
    """Allow as many descriptors as the system lets us; returns how many."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 1 << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard
