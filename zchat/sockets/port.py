"""The client engine's port that is made of ZeroMQ's sockets: a DEALER, a SUB, their monitors, and a waker.

Rules of this file
1. One thread at a time, under a lock (driver.py): only `sleep` and `wake` are called without.
2. Each socket has a descriptor that tells once of what may be new. What it told of is taken at its word: it is read.
   The socket is asked for its events, which costs more than the sleep, only after it was used for something else, or
   was not read to its end (zmq_getsockopt(3), ZMQ_FD).
3. Where messages come one by one, one is read; whether more came is asked once nobody waits for that one any more.
4. It decides nothing.

Tests: tests/core/test_port.py, tests/sockets/test_client.py.
"""

from __future__ import annotations

import selectors
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import zmq

from zchat.address import Address
from zchat.core.port import BATCHES, CHANGES, REPLIES, SUB_CHANGES
from zchat.errors import KeyRefused
from zchat.sockets import clock, options
from zchat.sockets.alert_poll import let_others
from zchat.sockets.dealer import Dealer
from zchat.sockets.options import EVENTS, POLLIN
from zchat.sockets.subscriber import Subscriber

if TYPE_CHECKING:
    from zchat.keys import Credentials

WOKEN = 16
ALL = CHANGES | SUB_CHANGES | BATCHES | REPLIES


class SocketPort:
    """See `zchat.core.port.Port`. `sleep`, then `look` for what is there.

    The `selector` has each descriptor. A loop that sleeps by itself has its own, and notes what it is `told`.
    """

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None = None,
        selector: selectors.BaseSelector | None = None,
    ) -> None:
        self.now = clock.instant
        self._waker = waker = options.Waker()
        self.wake = waker.wake
        self._selector = selectors.DefaultSelector() if selector is None else selector  # with what each tells of
        self._touched = 0  # what may be there, and no descriptor would tell of
        self._held = 0  # what nobody is to be told of
        self.told = 0  # by the descriptors, since it was looked; a loop that sleeps by itself adds to it
        self._sockets: dict[int, zmq.Socket[bytes]] = {}
        self._watched = 0  # the flags of those
        self._register(waker.fileno(), WOKEN)
        self._dealer = dealer = Dealer(address, credentials, waker.wake, partial(self._read_to_its_end, REPLIES))
        self.changes, self.replies, self.proved = dealer.changes, dealer.received, dealer.proved
        self._watch(CHANGES, dealer.monitor)
        self._watch(REPLIES, dealer.socket)
        self._subscriber = subscriber = Subscriber(credentials, waker.wake, partial(self._read_to_its_end, BATCHES))
        self.batches, self.is_unsubscribed = subscriber.received, subscriber.is_disconnected

    @property
    def due(self) -> float:
        """When `go_on` is to be called at the latest."""
        subscriber = self._subscriber.connector
        return self._dealer.connector.due if subscriber is None else min(self._dealer.connector.due, subscriber.due)

    @property
    def is_full(self) -> bool:
        """Whether something waits to be sent."""
        return self._dealer.is_full

    @property
    def number(self) -> str:
        """The host's number that it is connected to, or tries."""
        return self._dealer.number

    @property
    def seen(self) -> str:
        """What happened last on the way to the broker."""
        return self._dealer.seen

    @property
    def refusal(self) -> KeyRefused | None:
        """Why the broker's key and ours do not fit, if they do not."""
        return self._dealer.refusal

    @property
    def place(self) -> tuple[str, str]:
        """Where it subscribes, and what keeps it from that."""
        return self._subscriber.place

    def read_for(self, seconds: float) -> None:
        """So long may a turn take what has come, of each socket."""
        self._dealer.read_seconds = self._subscriber.read_seconds = seconds

    def sleep(self, seconds: float) -> None:
        """Until something may be there, but not for longer. One thread at a time, without the lock."""
        try:
            for key, _ in self._selector.select(seconds):
                self.told |= key.data
        except (OSError, ValueError):
            pass  # closed: all is over

    def look(self) -> int:
        """What is there. Where a handler of signals raises in the middle of it, nothing is forgotten."""
        told, touched = self.told, self._touched
        if told & WOKEN:
            self._waker.clear()
        self._touched = told | touched
        self.told = 0
        if touched:
            for flag, socket in self._sockets.items():
                if touched & flag & ~self._held:
                    if not int(socket.getsockopt(EVENTS)) & POLLIN:
                        touched &= ~flag
                    elif flag == BATCHES:
                        self._subscriber.is_lone = False
                    elif flag == REPLIES:
                        self._dealer.is_lone = False
        self._touched = touched = (told | touched) & self._watched  # until it is read to its end
        return touched & ~self._held

    def send(self, frames: Iterable[bytes], *, away: bool) -> None:
        """In order, as much as it takes; what it does not take is void while the broker is `away`."""
        if self._dealer.send(frames, away=away):
            self._touched |= REPLIES
            let_others()

    def subscribe(self, publisher: Address, subscriptions: list[tuple[bool, bytes]]) -> None:
        """Connect there, and nowhere else; then (subscribe or unsubscribe, topic), in order."""
        subscriber = self._subscriber
        had = subscriber.sub
        subscriber.subscribe(publisher, subscriptions)
        if had is None and subscriber.sub is not None and subscriber.monitor is not None:
            self._watch(SUB_CHANGES, subscriber.monitor)
            self._watch(BATCHES, subscriber.sub)
        self._touched = ALL

    def hurry(self, seconds: float) -> None:
        """The broker is there: so is what it publishes."""
        self._subscriber.hurry(seconds)

    def refuse(self, seconds: float) -> None:
        """What publishes there is another broker: nothing more of it comes, and the connection is made anew."""
        self._subscriber.refuse(seconds)
        self._touched = ALL

    def hold_batches(self, hold: bool) -> None:
        """Leave what is broadcast where it is, and say nothing of it; or go on."""
        self._held = BATCHES if hold else 0
        batches = self._sockets.get(BATCHES)
        is_watched = batches is not None and options.descriptor(batches) in self._selector.get_map()
        if batches is not None and hold and is_watched:
            self._selector.unregister(options.descriptor(batches))
        elif batches is not None and not hold and not is_watched:
            self._register(options.descriptor(batches), BATCHES)
        self._touched |= BATCHES

    def go_on(self, seconds: float) -> None:
        """Connect again, when it is time."""
        self._dealer.go_on(seconds)
        self._subscriber.go_on(seconds)
        self._touched = ALL  # SUB sends its subscriptions only when it is touched

    def close(self) -> None:
        """End both. Nobody watches a descriptor any more when it is closed: its number may be another's at once."""
        self._selector.close()
        self._subscriber.close()
        self._dealer.close()
        self._waker.close()

    def _read_to_its_end(self, flag: int) -> None:
        """Its descriptor tells of what comes next."""
        self._touched &= ~flag

    def _watch(self, flag: int, socket: zmq.Socket[bytes]) -> None:
        self._sockets[flag] = socket
        self._watched |= flag
        self._register(options.descriptor(socket), flag)
        self._sockets = dict(sorted(self._sockets.items()))  # what happened to a connection, before what came on it
        self._touched |= flag

    def _register(self, descriptor: int, flag: int) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, flag)
