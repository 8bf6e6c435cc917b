"""The connections of the broker's two sockets: their descriptors, their ends, and who is cut off.

Rules of this file
1. A connection of the ROUTER is known by its routing id; its first frame tells the descriptor, by which
   the monitor names its end. A descriptor is used again at once, so the monitor is read dry first.
2. A connection of the XPUB is known by its descriptor alone.
3. One that takes more than its share (subscriptions, descriptors, memory) is cut off and told of; the others go on.

libzmq buffers the frames of a message until its last one has come, unseen by any program and by every
limit. What gives such a peer away is the kernel: it has received far more than the program got.

Spec: docs/design.md, "The broker's sockets". Tests: tests/sockets/.
"""

from __future__ import annotations

import zmq

from zchat.core import Instant
from zchat.errors import StartError
from zchat.settings import Settings
from zchat.sockets import memory, options
from zchat.sockets.cutoffs import CutOffs
from zchat.sockets.kernel import bytes_received, open_descriptors, raise_descriptor_limit, resident_bytes

DISCONNECTED_WAIT_SECONDS = 0.02  # for the frames that a closed connection has left in the ROUTER
CUT_OFF_WAIT_SECONDS = 0.2  # so that the ERROR that says why is out first
RESERVED_DESCRIPTORS = 64  # for the log's files, wake-ups and what Python opens
CONNECTIONS_MIN = 16  # of either socket: with fewer descriptors it would serve nobody
WATCH_SECONDS = 1.0
FRAMING_BYTES = 9  # at most, of a frame
SUBSCRIBING_BYTES_MAX = 600_000  # that a subscriber may be ahead: as much as all that it may subscribe to

RECONCILED_MAX = 64  # subscribers a second
GIVING_BACK_TIMES = 3  # seconds after a cut-off: what a peer had filled is freed when libzmq has ended it

TOO_MANY = "came when there was no descriptor left for it (ulimit -n)"
FLOODS = "subscribes without end"
HOARDS = "sends a message without an end"


class Subscriber:
    """What one connection of the XPUB has sent."""

    __slots__ = ("bytes", "subscriptions")

    def __init__(self) -> None:
        self.bytes = self.subscriptions = 0


class Peers:
    """Who is connected."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        router: zmq.Socket[bytes],
        xpub: zmq.Socket[bytes],
        settings: Settings,
        cutoffs: CutOffs,
        each_max: int,
    ) -> None:
        self.received: dict[bytes, int] = {}  # connection -> bytes that we got of it
        self._settings = settings
        self._cut_off = cutoffs.cut_off
        self._router, self._xpub = router, xpub
        self._router_monitor = options.open_monitor(context, router, options.MONITORED)
        self._xpub_monitor = options.open_monitor(context, xpub, options.MONITORED)
        self._each_max = each_max  # connections of either socket
        self._descriptors: dict[bytes, int] = {}  # connection -> descriptor (-1: it is closed already)
        self._connections: dict[int, bytes] = {}  # descriptor -> connection
        self._open: set[int] = set()  # descriptors of the ROUTER
        self._subscribers: dict[int, Subscriber] = {}  # by descriptor
        self._ended: list[tuple[bytes, float]] = []  # connection, when: told once the ROUTER is dry
        self._cutting: list[tuple[float, bytes]] = []
        self._watched = 0.0
        self._giving_back = 0  # times that are left
        self._reconciled = 0  # subscribers, in this round
        self.publisher_port = 0  # of the XPUB, once it is bound to one

    @property
    def monitors(self) -> set[zmq.Socket[bytes]]:
        """To be polled; then `read_monitors`."""
        return {self._router_monitor, self._xpub_monitor}

    def read_monitors(self, now: Instant) -> None:
        """Take note of who came and went."""
        while (event := options.read_event(self._router_monitor)) is not None:
            kind, descriptor = event
            if kind == zmq.EVENT_ACCEPTED:
                self._open.add(descriptor)
                if len(self._open) > self._each_max:  # out of descriptors libzmq spins and the log opens no file
                    self._cut_off(descriptor, TOO_MANY)
            else:
                self._open.discard(descriptor)
                connection = self._connections.pop(descriptor, None)
                if connection is not None:
                    self._ended.append((connection, now.seconds))
        while (event := options.read_event(self._xpub_monitor)) is not None:
            kind, descriptor = event
            if kind == zmq.EVENT_ACCEPTED:
                self._subscribers[descriptor] = Subscriber()
                if len(self._subscribers) > self._each_max:
                    self._cut_off(descriptor, TOO_MANY)
            else:
                self._subscribers.pop(descriptor, None)

    # --- ROUTER -----------------------------------------------------------------------------

    def meet(self, connection: bytes, frame: zmq.Frame, now: Instant) -> str:
        """The first frame of a connection; returns the peer's address."""
        descriptor = options.metadata(frame, zmq.SRCFD)
        address = _readable(options.metadata(frame, "Peer-Address") or "")
        self.read_monitors(now)
        former = self._connections.pop(descriptor, None)
        if former is not None:
            self._ended.append((former, now.seconds))
        self.received[connection] = 0
        if descriptor in self._open:
            self._descriptors[connection] = descriptor
            self._connections[descriptor] = connection
        else:  # it spoke and went: its frames count all the same
            self._descriptors[connection] = -1
            self._ended.append((connection, now.seconds))
        return address

    def gone(self, connection: bytes, now: Instant) -> None:
        """A send to it failed: it ended, and the monitor may have missed that."""
        self._ended.append((connection, now.seconds))

    def take_ended(self, now: Instant, *, dry: bool) -> list[bytes]:
        """The connections that ended and have nothing left in the ROUTER.

        libzmq reports an end beside the frames, not behind them: so only when the ROUTER is dry, or after a while.
        """
        if not self._ended or not (dry or now.seconds - self._ended[0][1] > DISCONNECTED_WAIT_SECONDS):
            return []
        ended, self._ended = self._ended, []
        for connection, _ in ended:
            self.received.pop(connection, None)
            descriptor = self._descriptors.pop(connection, -1)
            if self._connections.get(descriptor) == connection:
                del self._connections[descriptor]
        return [connection for connection, _ in ended]

    # --- XPUB -------------------------------------------------------------------------------

    def subscribes(self, frame: zmq.Frame, now: Instant) -> bool:
        """One more subscription of a peer; False when it has too many, and is cut off."""
        descriptor = options.metadata(frame, zmq.SRCFD)
        if descriptor is None:
            return True
        if descriptor not in self._subscribers:
            self.read_monitors(now)
        subscriber = self._subscribers.get(descriptor)
        if subscriber is None:
            return True  # it subscribed and went
        subscriber.subscriptions += 1
        subscriber.bytes += len(frame) + FRAMING_BYTES
        if subscriber.subscriptions > self._settings.connection_subscriptions_max:
            self._cut_off(descriptor, f"subscribes to more than {self._settings.connection_subscriptions_max:,} topics")
            return False
        return True

    def unsubscribes(self, frame: zmq.Frame) -> None:
        """One less; the end of the connection ends them all."""
        subscriber = self._subscribers.get(options.metadata(frame, zmq.SRCFD))
        if subscriber is not None:
            subscriber.subscriptions -= 1
            subscriber.bytes += len(frame) + FRAMING_BYTES

    def cut_off_floods(self) -> None:
        """Cut off subscribers that have sent much more than we were given. Called from any thread.

        Also those of whom the monitor was not read yet, so all that the process has open is looked at.
        """
        unknown = Subscriber()
        for descriptor in open_descriptors():
            taken = self._subscribers.get(descriptor, unknown).bytes
            if bytes_received(descriptor, self.publisher_port) - taken > SUBSCRIBING_BYTES_MAX:
                self._cut_off(descriptor, FLOODS)

    def caught_up(self) -> None:
        """All subscriptions that libzmq had taken are read, and what a flood of them filled will soon be free."""
        self._giving_back = GIVING_BACK_TIMES

    # --- cutting off ------------------------------------------------------------------------

    def cut_off_later(self, connection: bytes, now: Instant) -> None:
        """End a connection once what it is told is out."""
        self._cutting.append((now.seconds + CUT_OFF_WAIT_SECONDS, connection))

    def elapsed(self, now: Instant, *, is_behind: bool) -> None:
        """Cut off who is due, and now and then look for who takes all memory.

        `is_behind`: there are subscriptions that were not taken yet.
        """
        while self._cutting and self._cutting[0][0] <= now.seconds:
            descriptor = self._descriptors.get(self._cutting.pop(0)[1], -1)
            if descriptor >= 0:
                options.cut_off(descriptor)
        if now.seconds - self._watched >= WATCH_SECONDS:
            self._watched = now.seconds
            if not is_behind:
                self._reconcile()
            if resident_bytes() > self._settings.memory_watch_bytes and self._cut_off_hoarders():
                self._giving_back = GIVING_BACK_TIMES
            elif self._giving_back:
                self._giving_back -= 1
                memory.give_back()

    def next_deadline(self, now: Instant) -> float:
        """When `elapsed`, or `take_ended`, is to be called at the latest."""
        deadline = self._watched + WATCH_SECONDS
        if self._cutting:
            deadline = min(deadline, self._cutting[0][0])
        if self._ended:
            deadline = min(deadline, now.seconds + DISCONNECTED_WAIT_SECONDS)
        return deadline

    def close(self) -> None:
        """End monitoring; the sockets may be closed then."""
        options.close_monitor(self._router, self._router_monitor)
        options.close_monitor(self._xpub, self._xpub_monitor)

    def _reconcile(self) -> None:
        """What has come of some subscribers is taken: a peer's own pings would add up to a flood in some days."""
        subscribers = list(self._subscribers.items())
        begin = self._reconciled if self._reconciled < len(subscribers) else 0
        self._reconciled = begin + RECONCILED_MAX
        for descriptor, subscriber in subscribers[begin : self._reconciled]:
            subscriber.bytes = bytes_received(descriptor)

    def _cut_off_hoarders(self) -> bool:
        """Returns whether there was one."""
        taken = [
            (descriptor, self.received.get(self._connections.get(descriptor, b""), 0)) for descriptor in self._open
        ]
        taken += [(descriptor, subscriber.bytes) for descriptor, subscriber in self._subscribers.items()]
        unseen_max = self._settings.connection_unseen_bytes_max
        hoarders = [descriptor for descriptor, seen in taken if bytes_received(descriptor) - seen > unseen_max]
        for descriptor in hoarders:
            self._cut_off(descriptor, HOARDS)
        return bool(hoarders)


def _readable(address: str) -> str:
    """IPv4 as people know it, not as the IPv6 socket has it; the process of an ipc peer."""
    if address.startswith("localhost:"):  # then user, group, process
        return f"pid {address.rpartition(':')[2]}"
    return address.removeprefix("::ffff:")


def connections_max() -> int:
    """How many connections either socket may have. Raises StartError where there is room for hardly any."""
    limit = raise_descriptor_limit()
    each = (limit - RESERVED_DESCRIPTORS) // 2
    if each < CONNECTIONS_MIN:
        least = RESERVED_DESCRIPTORS + 2 * CONNECTIONS_MIN
        raise StartError(
            f"the limit of open files is {limit}, which leaves none for clients: at least {least} (ulimit -n)"
        )
    return each
