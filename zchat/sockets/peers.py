"""The connections of the broker's two sockets: whose descriptor is whose, who has ended, what each has sent and got.

Rules of this file
1. A connection of the ROUTER is known by its routing id; its first frame tells the descriptor, by which
   the monitor names its end. A descriptor is used again at once, so the monitor is read dry first.
2. A connection of the XPUB is known by its descriptor alone.
3. Only the broker's loop calls it. The thread of meters.py reads the counts of a `Peer`.

Who is cut off here: who comes when there is no descriptor left, says no HELLO, subscribes to too much.
Who takes too much memory is found by meters.py.
It has more than 300 lines because who comes, goes and is cut off share one table.
Spec: docs/design.md, "The broker's sockets". Tests: tests/sockets/test_peers.py.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import zmq

from zchat import wire
from zchat.core import Instant
from zchat.core.allowances import origin
from zchat.settings import Settings
from zchat.sockets import memory, options
from zchat.sockets.arrivals import Arrivals
from zchat.sockets.cutoffs import CutOffs
from zchat.sockets.greetings import Greetings
from zchat.sockets.kernel import NO_TRAFFIC, name_of_peer, traffic, unsent_bytes
from zchat.sockets.passed_over import PassedOver
from zchat.sockets.peer import Peer
from zchat.sockets.topics import TooMuch, Topics

CUT_OFF_WAIT_SECONDS = 0.2  # so that the ERROR that says why is out first
LOOK_SECONDS = 1.0
FULL_LOOK_SECONDS = 0.02  # whether a peer that did not read its answers does so now
SENT_LOOK_SECONDS = 0.02
GIVING_BACK_TIMES = 3  # looks, one after another: what a peer had filled is freed when libzmq has ended it

MESSAGES_BEFORE_HELLO_MAX = 1_024  # a client that does not know yet that the broker is another one may send some
TOO_MANY = "came when there was no descriptor left for it (ulimit -n)"
REFUSED = "comes again at once after it has flooded"
NO_KEY = "-"  # of a subscriber for whom libzmq names none: it is let in by nobody
SILENT = "did not say HELLO"
NO_TOPIC = "did not subscribe, as too many do not"
TOO_OFTEN = "comes too often, or too often for nothing"


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
        admits: Callable[[str, float], str] | None = None,
    ) -> None:
        """`admits` says why a key is not let in; None: the broker has no keys."""
        self.of: dict[bytes, Peer] = {}  # connection of the ROUTER -> who it is
        self.clients: dict[int, Peer] = {}  # of the ROUTER, by descriptor
        self.subscribers: dict[int, Peer] = {}  # of the XPUB, by descriptor
        self.refusals: list[
            tuple[bytes, str]
        ] = []  # subscribers that were cut off: how they introduced themselves, why
        self.full: set[bytes] = set()  # connections whose answers are not read as fast as they are made
        self.broadcast_bytes = 0
        # (address, whether the XPUB) -> until when, written by that thread: it has flooded there.
        self.refused: dict[tuple[str, bool], float] = {}
        self.frees = False  # written by the thread of meters.py too: libzmq frees what filled the memory, or has
        self._settings = settings
        self._cutoffs = cutoffs
        self._router, self._xpub = router, xpub
        self._router_monitor = options.open_monitor(context, router, options.MONITORED)
        self._xpub_monitor = options.open_monitor(context, xpub, options.MONITORED)
        self._admits = admits
        self._each_max = each_max  # connections of either socket
        self.ends: dict[bytes, float] = {}  # connection of the ROUTER -> since when its end is known
        self._passed_over = PassedOver()
        self._cutting: list[tuple[float, bytes]] = []
        self._greetings = Greetings(settings)
        self._listenings = Greetings(settings, ends=False)
        self._arrivals = Arrivals(settings)
        self._topics = Topics(settings)
        self._looked = 0.0
        self._giving_back = 0  # times that are left
        self.publisher_port = 0  # of the XPUB, once it is bound to one

    @property
    def monitors(self) -> set[zmq.Socket[bytes]]:
        """To be polled; then `read_monitors`."""
        return {self._router_monitor, self._xpub_monitor}

    def read_monitors(self, now: Instant) -> None:
        """Take note of who came and went."""
        self._read_router_monitor(now)
        self._read_xpub_monitor(now)

    # --- ROUTER -----------------------------------------------------------------------------

    def meet(self, connection: bytes, frame: zmq.Frame, now: Instant) -> Peer:
        """The first frame of a connection: who it is."""
        descriptor = options.metadata(frame, zmq.SRCFD)
        address = _readable(options.metadata(frame, "Peer-Address") or "")
        self._read_router_monitor(now)
        peer = self.clients.get(descriptor)
        if peer is None:  # it spoke and went: its frames count all the same
            peer = Peer(-1, None, now.seconds)
            self._arrivals.spoke_and_went(origin(address))
        elif peer.connection:  # whose end the monitor has missed
            self._client_went(descriptor, now)
            self._came(descriptor, now)
            peer = self.clients[descriptor]
        peer.connection, peer.address = connection, address
        if self._admits is not None:
            peer.key = options.metadata(frame, "User-Id") or ""
        self.of[connection] = peer
        if peer.descriptor < 0:
            self.ends.setdefault(connection, now.seconds)
        return peer

    def spoke(self, peer: Peer, is_greeted: bool, now: Instant, ttl_ms: int = 0) -> None:
        """It has said something; `is_greeted`: HELLO. Who says much else first is cut off; who has gone, at once.

        `ttl_ms`: it is dead when nothing has come for so long; 0: it does not ping.
        """
        if is_greeted:
            self._has_spoken(peer, now, self._greetings)
            peer.ttl_seconds = ttl_ms / 1000
        elif peer.descriptor < 0 or peer.messages > MESSAGES_BEFORE_HELLO_MAX:
            peer.is_cut_off = True
            self._cutoffs.cut_off(peer.descriptor, peer.name, SILENT, "address_silent_max")

    def sent(self, connection: bytes, size: int) -> None:
        """An answer of so many bytes was handed to libzmq."""
        peer = self.of.get(connection)
        if peer is None:
            return
        peer.sent += size
        most = self._settings.connection_unread_bytes_max
        if peer.sent - peer.acked > most and connection not in self.full and self._unread(peer) > most:
            self.full.add(connection)
            self._cutoffs.met(peer.name, "connection_unread_bytes_max")

    def gone(self, connection: bytes, now: Instant) -> None:
        """A send to it failed: it ended, and the monitor may have missed that."""
        self.ends.setdefault(connection, now.seconds)

    def forget(self, connection: bytes, now: Instant, *, dry: bool) -> None:
        """Its end was told. Unless the ROUTER is dry, what it has left there is passed over: passed_over.py."""
        del self.ends[connection]
        self.full.discard(connection)
        peer = self.of.pop(connection, None)
        if peer is None:
            return
        if self.clients.get(peer.descriptor) is peer:
            if peer.name is not None and name_of_peer(peer.descriptor) == peer.name:
                peer.connection = b""  # it is there: the one that ended had the same descriptor before it
                peer = Peer(-1, None, now.seconds)
            else:
                del self.clients[peer.descriptor]
                self._greetings.done(peer)
        if not dry:
            peer.is_cut_off = True
            self.of[connection] = peer
            self._passed_over.add(connection)

    # --- XPUB -------------------------------------------------------------------------------

    def subscriber(self, frame: zmq.Frame, now: Instant) -> Peer | None:
        """Who sent that to the XPUB; None for one that has ended."""
        self._read_xpub_monitor(now)  # its descriptor may have been another's a moment ago
        peer = self.subscribers.get(options.metadata(frame, zmq.SRCFD))
        if peer is not None and not peer.is_greeted:
            self._has_spoken(peer, now, self._listenings)
        if self._admits is not None and peer is not None:
            key = options.metadata(frame, "User-Id") or NO_KEY
            if not peer.key:
                peer.key = key
                self._end_if_revoked(peer, now)
            elif key != peer.key and not peer.is_cut_off:  # one of both is what another had sent, before its end
                peer.is_cut_off = True
                self._cutoffs.end(peer.descriptor, peer.name)
        return peer

    def admit(self, admits: Callable[[str, float], str], now: Instant) -> None:
        """The keys have changed: end the subscribers whose key is let in no more. Who has not spoken yet is met."""
        self._admits = admits
        for peer in list(self.subscribers.values()):
            if peer.key:
                self._end_if_revoked(peer, now)

    def subscribes(self, peer: Peer, topic: bytes) -> bool:
        """One more topic of a peer; False when it has too many, and is cut off."""
        if topic.startswith(wire.INTRODUCTION_TOPIC):
            peer.introduction = topic
        too_much = self._topics.add(peer, topic)
        if too_much:
            self._refuse(peer, too_much)
        elif largest := self._topics.largest_of(self.subscribers.values()):
            self._refuse(*largest)
            self._topics.forget(largest[0])
        return not too_much

    def unsubscribes(self, peer: Peer, topic: bytes) -> None:
        """One less; the end of the connection ends them all."""
        self._topics.remove(peer, topic)

    # --- by time ----------------------------------------------------------------------------

    def cut_off_later(self, connection: bytes, now: Instant) -> None:
        """End a connection once what it is told is out; what it says until then is left out."""
        peer = self.of.get(connection)
        if peer is not None:
            peer.is_cut_off = True
        self._cutting.append((now.seconds + CUT_OFF_WAIT_SECONDS, connection))

    def elapsed(self, now: Instant, *, dry: bool) -> None:
        """Cut off who is due. `dry`: all that the ROUTER had was read."""
        if self._passed_over.heard:
            for connection in self._passed_over.done(self.of, now.seconds, dry=dry):
                del self.of[connection]
        while self._cutting and self._cutting[0][0] <= now.seconds:
            peer = self.of.get(self._cutting.pop(0)[1])
            if peer is not None and peer.descriptor >= 0:
                self._cutoffs.end(peer.descriptor, peer.name)
        if self.full:
            low = self._settings.connection_unread_bytes_max // 2
            self.full = {each for each in self.full if each in self.of and self._unread(self.of[each]) > low}
        for silent, why in ((self._greetings, SILENT), (self._listenings, NO_TOPIC)):
            for peer, limit in silent.overdue(now.seconds, dry=dry) if silent.silent else ():
                self._cutoffs.cut_off(peer.descriptor, peer.name, why, limit)
        for name, limit in self._arrivals.count_gone(now, dry=dry):
            self._cutoffs.met(name, limit, TOO_OFTEN)
        self._arrivals.elapsed(now)
        if now.seconds - self._looked >= LOOK_SECONDS:
            self._looked = now.seconds
            self.refused = {at: until for at, until in self.refused.items() if until > now.seconds}
            if self.frees:
                self.frees, self._giving_back = False, GIVING_BACK_TIMES
            elif self._giving_back:
                self._giving_back -= 1
                memory.give_back()

    def next_deadline(self, now: Instant) -> float:
        """When `elapsed` is to be called at the latest."""
        deadline = self._looked + LOOK_SECONDS
        if self._cutting:
            deadline = min(deadline, self._cutting[0][0])
        deadline = min(deadline, self._arrivals.next_deadline or deadline)
        if self.full:
            deadline = min(deadline, now.seconds + FULL_LOOK_SECONDS)
        return deadline

    def wait_until_sent(self, seconds: float) -> None:
        """Until the kernels of all peers have what was sent, for so long at most.

        libzmq's own queues are not seen: it is given the time of two looks.
        """
        deadline, quiet = time.monotonic() + seconds, 0
        while quiet < 2 and time.monotonic() < deadline:
            time.sleep(SENT_LOOK_SECONDS)
            peers = [*self.clients.values(), *self.subscribers.values()]
            quiet = 0 if any(unsent_bytes(peer.descriptor) for peer in peers) else quiet + 1

    def close(self) -> None:
        """End monitoring; the sockets may be closed then."""
        options.close_monitor(self._router, self._router_monitor)
        options.close_monitor(self._xpub, self._xpub_monitor)

    # --- parts ------------------------------------------------------------------------------

    def _read_router_monitor(self, now: Instant) -> None:
        while (event := options.read_event(self._router_monitor)) is not None:
            kind, descriptor = event
            if kind == zmq.EVENT_ACCEPTED:
                self._came(descriptor, now)
            elif kind == zmq.EVENT_DISCONNECTED:
                self._client_went(descriptor, now)
            else:
                self._arrivals.listens(descriptor)

    def _read_xpub_monitor(self, now: Instant) -> None:
        while (event := options.read_event(self._xpub_monitor)) is not None:
            kind, descriptor = event
            if kind == zmq.EVENT_ACCEPTED:
                self._subscriber_went(descriptor, now)
                peer = self._accepted(descriptor, now, self._listenings)
                peer.behind_at = self.broadcast_bytes
                self.subscribers[descriptor] = peer
                self._refuse_who_floods(peer, now, subscribes=True)
                self._refuse_too_many(self.subscribers, peer)
            elif kind == zmq.EVENT_DISCONNECTED:
                self._subscriber_went(descriptor, now)
            else:
                self._arrivals.listens(descriptor)

    def _came(self, descriptor: int, now: Instant) -> None:
        self._client_went(descriptor, now)
        self.clients[descriptor] = peer = self._accepted(descriptor, now, self._greetings)
        self._refuse_who_floods(peer, now, subscribes=False)
        self._refuse_too_many(self.clients, peer)

    def _accepted(self, descriptor: int, now: Instant, silent: Greetings) -> Peer:
        """One more; who comes too often is cut off before it costs a handshake."""
        self._arrivals.release(descriptor)
        peer = Peer(descriptor, name_of_peer(descriptor), now.seconds)
        silent.came(peer)
        if peer.name is not None and (limit := self._arrivals.came(peer.host, now)):
            peer.is_refused = peer.is_cut_off = True
            self._cutoffs.cut_off(descriptor, peer.name, TOO_OFTEN, limit)
        return peer

    def _has_spoken(self, peer: Peer, now: Instant, silent: Greetings) -> None:
        """Its first word."""
        if not peer.is_greeted and peer.name is not None:
            self._arrivals.spoke(peer.host, now)
        peer.is_greeted = True
        silent.done(peer)

    def _ended(self, peer: Peer, now: Instant, silent: Greetings) -> None:
        """Of a descriptor that is not forgotten yet."""
        silent.done(peer)
        if peer.is_greeted or peer.is_refused:
            return
        if peer.name is not None and silent is self._greetings:  # of a gone subscriber no word is known for the first
            self._arrivals.went(peer.host, peer.name, now)
        elif limit := self._arrivals.failed(None if peer.name is None else peer.host, now):
            self._cutoffs.met(peer.name, limit, TOO_OFTEN)

    def _client_went(self, descriptor: int, now: Instant) -> None:
        peer = self.clients.pop(descriptor, None)
        if peer is None:
            return
        self._ended(peer, now, self._greetings)
        peer.descriptor = -1
        if peer.connection:
            self.ends.setdefault(peer.connection, now.seconds)

    def _subscriber_went(self, descriptor: int, now: Instant) -> None:
        peer = self.subscribers.pop(descriptor, None)
        if peer is not None:
            self._ended(peer, now, self._listenings)
            self._topics.forget(peer)

    def _refuse_who_floods(self, peer: Peer, now: Instant, *, subscribes: bool) -> None:
        if now.seconds < self.refused.get((peer.host, subscribes), 0.0):
            peer.is_cut_off = self._cutoffs.cut_off(peer.descriptor, peer.name, REFUSED, "floods")

    def _refuse_too_many(self, peers: dict[int, Peer], newest: Peer) -> None:
        """Out of descriptors libzmq spins, and the log opens no file. The newest of the host that has most goes."""
        if len(peers) <= self._each_max:
            return
        hosts = Counter(peer.host for peer in peers.values() if not peer.is_cut_off)
        most = max(hosts.values(), default=0)
        for peer in (newest, *reversed(peers.values())):
            if not peer.is_cut_off and hosts[peer.host] == most:
                peer.is_cut_off = True
                self._cutoffs.cut_off(peer.descriptor, peer.name, TOO_MANY, "descriptors")
                return

    def _cut_off(self, peer: Peer, reason: str, limit: str) -> None:
        if self._cutoffs.cut_off(peer.descriptor, peer.name, reason, limit):
            self.frees = True

    def _end_if_revoked(self, subscriber: Peer, now: Instant) -> None:
        """What it subscribes to from now on is not granted."""
        if self._admits is not None and not subscriber.is_cut_off and self._admits(subscriber.key, now.micros / 1e6):
            subscriber.is_cut_off = True
            self._cutoffs.end(subscriber.descriptor, subscriber.name)

    def _refuse(self, subscriber: Peer, too_much: TooMuch) -> None:
        """Cut it off for its subscriptions; its session is told, once."""
        self._cut_off(subscriber, too_much.why, too_much.limit)
        if subscriber.introduction:
            self.refusals.append((subscriber.introduction, too_much.why))
            subscriber.introduction = b""

    def _unread(self, peer: Peer) -> int:
        """Bytes of answers that the peer's kernel has not taken; 0 where the kernel does not tell."""
        counts = traffic(peer.descriptor) if peer.is_tcp and peer.descriptor >= 0 else NO_TRAFFIC
        if counts == NO_TRAFFIC:
            peer.acked = peer.sent
            return 0
        peer.acked = counts.acked
        peer.sent = max(peer.sent, counts.acked)  # libzmq's own bytes are among those, and no credit
        return peer.sent - counts.acked


def _readable(address: str) -> str:
    """IPv4 as people know it, not as the IPv6 socket has it; the process of an ipc peer."""
    if address.startswith("localhost:"):  # then user, group, process
        return f"pid {address.rpartition(':')[2]}"
    return address.removeprefix("::ffff:")
