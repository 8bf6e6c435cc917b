"""A broker that lies, over real TCP: an honest one of a few lines, in which any answer can be replaced.

with Wicked(context) as wicked:
    wicked.lies[wire.Who] = lambda who: [wire.Done(who.request)]
    … wicked.address …
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import zmq

from zchat import wire
from zchat.names import topic

Say = wire.BrokerMessage | bytes
Lie = Callable[[Any], Iterable[Say]]
NOON = 1_700_000_000_000_000
HEAD = 3  # messages in the room "den"


def batch(base: int, prev: int, kind: int = wire.MESSAGES) -> wire.Batch:
    return wire.Batch(kind, base, prev, NOON, [wire.Entry("eve", "s9", 1, [b"number %d" % base])])


def page(request: int, *batches: tuple[str, Any], upto: int = HEAD, more: bool = False, gaps: Any = ()) -> wire.Page:
    frames = [(room, wire.raw(each if isinstance(each, bytes) else wire.encode(each))) for room, each in batches]
    return wire.Page(request, frames, upto, more, list(gaps))


class Wicked:
    """Its ROUTER and XPUB, served by a thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.lies: dict[type, Lie] = {}  # by the kind of message that is answered
        self.storm: Callable[[], Iterable[list[bytes]]] = lambda: ()  # what is published in each turn
        self.flood: Callable[[], Iterable[Say]] = lambda: ()  # what everybody is sent in each turn
        self.syncs = True
        self.heard: Counter[str] = Counter()
        self._router, self._xpub = context.socket(zmq.ROUTER), context.socket(zmq.XPUB)
        self._port = self._router.bind_to_random_port("tcp://127.0.0.1")
        self._publish_port = self._xpub.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"tcp://127.0.0.1:{self._port}"
        self._peers: list[bytes] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Wicked:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._router.close(linger=0)
        self._xpub.close(linger=0)

    def welcome(self, hello: wire.Hello) -> wire.Welcome:
        """As an honest one says it."""
        return wire.Welcome(1, "s1", b"token", True, "log", HEAD, self._publish_port, {}, NOON, hello.number)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._xpub, zmq.POLLIN)
        while not self._over.is_set():
            ready = dict(poller.poll(1))
            if self._router in ready:
                peer, *frames = self._router.recv_multipart()
                if peer not in self._peers:
                    self._peers.append(peer)
                self._say([peer], self._answer(wire.decode_client(frames[0])))
            if self._xpub in ready:
                name = self._xpub.recv()
                if name[:2] == b"\1\xff" and self.syncs:
                    self._xpub.send_multipart([name[1:], wire.encode(wire.Sync(name[2:], HEAD))])
            for parts in self.storm():
                self._xpub.send_multipart(parts)
            self._say(self._peers, self.flood())

    def _say(self, peers: list[bytes], messages: Iterable[Say]) -> None:
        for message in messages:
            frame = message if isinstance(message, bytes) else wire.encode(message)
            for peer in peers:
                self._router.send_multipart([peer, frame])

    def _answer(self, message: wire.ClientMessage) -> Iterable[Say]:
        self.heard[type(message).__name__] += 1
        lie = self.lies.get(type(message))
        return self.honest(message) if lie is None else lie(message)

    def honest(self, message: wire.ClientMessage) -> list[Say]:
        """What a broker answers that has three messages in the room `den`."""
        match message:
            case wire.Hello():
                return [self.welcome(message)]
            case wire.Publish():
                return [wire.Ack([(message.seq, 7)])]
            case wire.Fetch():
                found = [batch(base, base - 1) for base in range(message.after + 1, min(message.until, HEAD) + 1)]
                return [page(message.request, *(("den", each) for each in found), upto=message.until)]
            case wire.Seek():
                return [wire.Position(message.request, 0, HEAD)]
            case wire.Heads():
                return [wire.HeadsAre(message.request, HEAD, [("den", HEAD, HEAD)])]
            case wire.Who():
                return [wire.Present(message.request, [])]
            case wire.Rooms():
                return [wire.RoomsAre(message.request, [])]
            case wire.Cursors():
                return [wire.CursorsAre(message.request, [])]
            case wire.Bye():
                return [wire.Goodbye("bye")]
            case wire.Report() | wire.From() | wire.Reply():
                return []
            case _:
                return [wire.Done(message.request)]


def room_frames(each: wire.Batch | bytes) -> list[bytes]:
    """As it is published to the room `den`."""
    return [topic("den"), each if isinstance(each, bytes) else wire.encode(each)]
