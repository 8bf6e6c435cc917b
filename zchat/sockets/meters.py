"""Finds the peers whose bytes fill the memory, and cuts them off: bytes that came and were not taken, or were not read.

Rules of this file
1. The sockets never stop reading, so TCP holds no sender back. What bounds a peer is what is measured here: bytes that
   the kernel received of it, less those that the program took.
2. It is a thread of its own, as the broker's loop may be in one long call of libzmq, such as taking in a flood of
   subscriptions, which fill the memory within milliseconds. So it looks often while the loop does anything at all.
3. It touches no socket of libzmq. It polls the XPUB's descriptor, asks the kernel, and shuts connections down.

    a client      8 MiB, twice what an honest one may have unanswered, or about 10,000 messages, of which some hundreds
                  were taken and were as small as that; before its HELLO 64 KiB
    a subscriber  512 KiB of subscriptions: libzmq takes them all in before the program sees one
    all together  above `memory_watch_bytes` of memory in use, the one with most goes first; on ipc the kernel does not
                  count, so where that is not enough all who come by it go, and the honest come back

Spec: docs/design.md, "Who takes too much". Tests: tests/sockets/test_peers.py, tests/sockets/test_overload.py.
"""

from __future__ import annotations

import select
import threading
import time
from typing import NamedTuple

from zchat import wire
from zchat.settings import Settings
from zchat.sockets.cutoffs import CutOffs
from zchat.sockets.kernel import NO_TRAFFIC, ResidentMemory, name_of_peer, traffic, unsent_bytes
from zchat.sockets.options import BATCHES_QUEUED_MAX, Waker
from zchat.sockets.peer import Peer
from zchat.sockets.peers import Peers

WAITING_BYTES_MAX = 2 * wire.WINDOW_BYTES_MAX  # of a client
WAITING_MESSAGES_MAX = 10_000  # of a client, each of which is some work and some memory
GREETING_BYTES_MAX = 64 << 10  # of one that has not said HELLO
MESSAGE_COST_BYTES = 96  # of memory that a message takes besides its bytes
SUBSCRIBING_BYTES_MAX = 512 << 10  # of a subscriber: twice what it may subscribe to
TOPIC_COST = 48  # bytes of memory for a byte of a topic
EXCUSED_BYTES_A_SECOND = 256  # pings of a peer that says nothing else
HOARDED_BYTES_MIN = 1 << 20  # who has less is not to blame for the memory

REST_SECONDS = 0.05  # between two looks at the memory,
BUSY_SECONDS = 0.005  # and while it grows, subscriptions come or the loop takes turns,
BUSY_FOR_SECONDS = 0.1  # and for so long after that
LOOK_SECONDS = 0.2  # between two looks at all peers,
BEHIND_SECONDS = 0.01  # while the loop has not taken all that came,
GROWN_BYTES = 4 << 20  # unless memory has grown by so much
SHARE = 0.1  # of the time at most is spent on looking: with thousands of peers it takes a while
REFUSED_SECONDS = 1.5  # who has flooded is not let in again: what it sends before it is looked at may be much
FREED_SECONDS = 0.25  # until what a peer had filled is free again
FILLED_BYTES = 64 << 20  # by which memory has grown: once all that came is taken, much of it is free

FLOODS = "sends faster than it is allowed to"
SUBSCRIBES = "subscribes without end"
HOARDS = "takes most of the broker's memory, which is short"
MAY_HOARD = "may take most of the broker's memory, which is short: on ipc nobody counts it"

MET = {  # the limits that these are
    FLOODS: "floods",
    SUBSCRIBES: "connection_topic_bytes_max",
    HOARDS: "memory_watch_bytes",
    MAY_HOARD: "memory_watch_bytes",
}


class Hoard(NamedTuple):
    """About what a peer takes of the broker's memory."""

    bytes: int
    peer: Peer


class Meters:
    """The thread. Made when the sockets are bound."""

    def __init__(self, peers: Peers, cutoffs: CutOffs, settings: Settings, xpub: int) -> None:
        """`xpub`: the descriptor by which libzmq tells of the XPUB (ZMQ_FD)."""
        self.is_dry = True  # written by the loop: it has taken all that came
        self._turns = 0  # that the loop has taken
        self._peers = peers
        self._cutoffs = cutoffs
        self._memory = ResidentMemory()
        self._memory_max = max(settings.memory_watch_bytes, self._memory.bytes() + settings.memory_watch_bytes // 2)
        self._seen_turns = 0
        self._seen_memory = self._memory.bytes()  # at the last look
        self._kept_memory = self._seen_memory  # since it was given back last
        self._look_at = 0.0
        self._not_before = self._behind_at = 0.0
        self._hoards_at = self._busy_until = 0.0
        self._rests = True
        self._ends = False
        self._waker = Waker()
        self._waking, self._poll = select.poll(), select.poll()
        self._waking.register(self._waker.fileno(), select.POLLIN)
        self._poll.register(self._waker.fileno(), select.POLLIN)
        self._poll.register(xpub, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name="zchat-meters", daemon=True)
        self._thread.start()

    def turned(self) -> None:
        """The loop begins one more turn. It may be that which takes in a flood: look often from now on."""
        self._turns += 1
        if self._rests:
            self._rests = False
            self._waker.wake()

    def close(self) -> None:
        """End it, before the sockets are closed."""
        self._ends = True
        self._waker.wake()
        self._thread.join()
        self._waker.close()
        self._memory.close()

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ends:
            if self._rests:
                ready = self._poll.poll(REST_SECONDS * 1000)
            else:  # the XPUB's descriptor stays ready until the loop has looked: sleep without it
                self._waking.poll(BUSY_SECONDS * 1000)
                ready = self._poll.poll(0)
            if (self._waker.fileno(), select.POLLIN) in ready:
                self._waker.clear()
                continue
            self._rests = not self._tick(time.monotonic(), has_subscriptions=bool(ready))
            if self._turns != self._seen_turns:
                self._rests = False  # a turn began before `_rests` was true, and so woke nobody

    def _tick(self, now: float, *, has_subscriptions: bool) -> bool:
        """Look at the peers when it is time. Returns whether to come back soon."""
        resident = self._memory.bytes()
        is_behind = not self.is_dry and now >= self._behind_at
        has_grown = resident - self._seen_memory > GROWN_BYTES
        is_stuck = (has_subscriptions or has_grown) and self._turns == self._seen_turns
        if has_subscriptions or has_grown or self._turns != self._seen_turns:
            self._busy_until = now + BUSY_FOR_SECONDS
        self._kept_memory = min(self._kept_memory, resident)
        if self.is_dry and resident - self._kept_memory > FILLED_BYTES:
            self._kept_memory, self._peers.frees = resident, True
        self._seen_turns = self._turns
        if has_subscriptions or has_grown or is_behind or now >= self._look_at:
            if now < self._not_before:
                return True
            self._seen_memory = resident
            self._look_at, self._behind_at = now + LOOK_SECONDS, now + BEHIND_SECONDS
            worked = time.thread_time()
            self.look(now, resident, is_stuck=is_stuck)
            took = time.thread_time() - worked
            self._not_before = now + took / SHARE
        return now < self._busy_until or not self.is_dry

    def look(self, now: float, resident: int, *, is_stuck: bool) -> None:
        """Cut off who has too much. `is_stuck`: the loop may not know yet of all who are connected."""
        hoards = []
        for client in list(self._peers.clients.values()):
            hoards.append(self._look_at_client(client, now))
        for subscriber in list(self._peers.subscribers.values()):
            hoards.append(self._look_at_subscriber(subscriber, now))
        if is_stuck:
            self._look_at_strangers(now)
        if resident > self._memory_max and now >= self._hoards_at:
            self._hoards_at = now + FREED_SECONDS
            self._cut_off_hoarders(hoards, resident - self._memory_max)

    def _look_at_client(self, peer: Peer, now: float) -> Hoard:
        counts = traffic(peer.descriptor)
        if counts == NO_TRAFFIC:
            return Hoard(0, peer)
        if self._is_dead(peer, counts.received, now):
            self._cutoffs.end(peer.descriptor, peer.name)
        waiting = max(0, counts.received - peer.taken)
        taken, messages = peer.taken, peer.messages
        if messages > peer.sized_messages:  # what came last tells of what waits
            peer.message_bytes = max(1, (taken - peer.sized_taken) // (messages - peer.sized_messages))
            peer.sized_taken, peer.sized_messages = taken, messages
        beyond = self._not_excused(peer, waiting, now)
        most = WAITING_BYTES_MAX if peer.is_greeted else GREETING_BYTES_MAX
        if beyond > most or self._has_too_many(peer, beyond // peer.message_bytes, messages):
            self._cut_off(peer, FLOODS)
        cost = waiting + beyond // peer.message_bytes * MESSAGE_COST_BYTES
        return Hoard(cost + max(0, peer.sent - counts.acked), peer)

    def _has_too_many(self, peer: Peer, waiting: int, taken: int) -> bool:
        """Whether so many messages wait, as it seems by the size of those that were taken.

        What waits may be one large message behind small ones. So it counts once more small ones were taken meanwhile
        than an honest client may have in front of it.
        """
        if waiting <= WAITING_MESSAGES_MAX:
            peer.crowded_at = -1
        elif peer.crowded_at < 0:
            peer.crowded_at = taken
        return peer.crowded_at >= 0 and taken - peer.crowded_at > wire.IN_FLIGHT_MAX

    def _is_dead(self, peer: Peer, received: int, now: float) -> bool:
        """Whether nothing has come for too long of a client that pings.

        libzmq waits for a ping's time to live only until the next message, and then for nothing until the next ping.
        """
        if received != peer.heard:
            peer.heard, peer.heard_at = received, now
            return False
        return 0 < peer.ttl_seconds < now - peer.heard_at

    def _look_at_subscriber(self, peer: Peer, now: float) -> Hoard:
        counts = traffic(peer.descriptor)
        if counts == NO_TRAFFIC:
            return Hoard(0, peer)
        waiting = max(0, counts.received - peer.taken)
        if self._not_excused(peer, waiting, now) > SUBSCRIBING_BYTES_MAX:
            self._cut_off(peer, SUBSCRIBES)
        broadcast = self._peers.broadcast_bytes
        if not unsent_bytes(peer.descriptor):
            peer.behind_at, peer.behind_acked = broadcast, counts.acked
        behind = max(0, broadcast - peer.behind_at - (counts.acked - peer.behind_acked))
        queued = min(behind, BATCHES_QUEUED_MAX * wire.PUBLISH_BYTES_MAX)
        return Hoard(queued + TOPIC_COST * (waiting + peer.topic_bytes), peer)

    def _not_excused(self, peer: Peer, waiting: int, now: float) -> int:
        """Of bytes that were not taken, those for which there is no harmless reason.

        A peer whose message was taken had none before it that had no end. What has come since is what may wait.
        """
        if now - peer.looked_at >= 1.0:
            if self.is_dry and peer.messages != peer.looked_messages:
                peer.excused = waiting
            else:
                peer.excused += int(EXCUSED_BYTES_A_SECOND * (now - peer.looked_at))
            peer.looked_at, peer.looked_messages = now, peer.messages
        peer.excused = min(peer.excused, waiting)
        return waiting - peer.excused

    def _look_at_strangers(self, now: float) -> None:
        """Subscribers of whom the loop has not heard yet, as it is in one long call."""
        known = self._peers.subscribers
        for descriptor in range(max([*known, *self._peers.clients], default=0) + 64):
            if descriptor not in known and descriptor not in self._peers.clients:
                received = traffic(descriptor, self._peers.publisher_port).received
                if received > SUBSCRIBING_BYTES_MAX:
                    self._cut_off(Peer(descriptor, name_of_peer(descriptor), now), SUBSCRIBES)

    def _cut_off_hoarders(self, hoards: list[Hoard], excess: int) -> None:
        """Those with most, until so much is free."""
        guilty = [hoard for hoard in hoards if hoard.bytes >= HOARDED_BYTES_MIN]
        for hoard in sorted(guilty, key=lambda hoard: hoard.bytes, reverse=True):
            if excess > 0:
                self._cut_off(hoard.peer, HOARDS)
            excess -= hoard.bytes
        if excess > 0:
            for hoard in hoards:
                if not hoard.peer.is_tcp and hoard.peer.descriptor >= 0:
                    self._cut_off(hoard.peer, MAY_HOARD)

    def _cut_off(self, peer: Peer, reason: str) -> None:
        if self._cutoffs.cut_off(peer.descriptor, peer.name, reason, MET[reason]):
            self._peers.frees = True
            if reason in (FLOODS, SUBSCRIBES):
                self._peers.refused[peer.host, reason == SUBSCRIBES] = time.monotonic() + REFUSED_SECONDS
        peer.is_cut_off = True
