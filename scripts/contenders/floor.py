"""The floor of a round trip: nothing but zchat's four sockets, in as many processes. No client can be faster over them.

`python floor.py [FILE]` is its server: what comes on a ROUTER is broadcast on an XPUB. It prints both ports. With a
FILE each message is written into it and synced first: what no broker that stores messages can be faster than.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zmq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as a program

from contenders.contender import PING, PONG, Contender, Signal, Tally
from contenders.servers import Server, floor_server

FILE_BYTES = 4 << 20


@dataclass(frozen=True)
class Floor(Contender):
    """DEALER to ROUTER, XPUB to SUB, blocking calls: what takes part in `latency` only."""

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Server]:
        with floor_server(folder, __file__, *([str(folder / "file")] if self.stored else [])) as server:
            yield server

    def echo(self, server: Server, ready: Signal) -> None:
        dealer, sub = _connected(server, PING)
        ready()
        while True:
            _topic, body = sub.recv_multipart()
            dealer.send_multipart([PONG.encode(), body])

    def ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        dealer, sub = _connected(server, PONG)
        go()
        times = []
        for body in messages:
            began = time.monotonic()
            dealer.send_multipart([PING.encode(), body])
            sub.recv_multipart()
            times.append(time.monotonic() - began)
        return times

    def publish(self, server: Server, messages: list[bytes], go: Signal) -> tuple[float, float]:
        raise NotImplementedError

    def listen(self, server: Server, tally: Tally, ready: Signal) -> None:
        raise NotImplementedError

    def crowd(self, server: Server, clients: int, tally: Tally, first: Signal, ready: Signal) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class AioFloor(Floor):
    """The same in Python's event loop: it watches the SUB, and a future brings a task what came."""

    def echo(self, server: Server, ready: Signal) -> None:
        async def echo() -> None:
            dealer, sub = _connected(server, PING)
            heard = _Heard(sub)
            ready()
            while True:
                dealer.send_multipart([PONG.encode(), await heard.get()])

        asyncio.run(echo())

    def ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        async def ping() -> list[float]:
            dealer, sub = _connected(server, PONG)
            heard = _Heard(sub)
            go()
            times = []
            for body in messages:
                began = time.monotonic()
                dealer.send_multipart([PING.encode(), body])
                await heard.get()
                times.append(time.monotonic() - began)
            return times

        return asyncio.run(ping())


class _Heard:
    """What comes on a SUB, for one task."""

    def __init__(self, sub: zmq.Socket[bytes]) -> None:
        self._sub = sub
        self._came: deque[bytes] = deque()
        self._waits: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(int(sub.getsockopt(zmq.FD)), self._look)

    async def get(self) -> bytes:
        self._look()
        while not self._came:
            self._waits = self._loop.create_future()
            await self._waits
        return self._came.popleft()

    def _look(self) -> None:
        while int(self._sub.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._came.append(self._sub.recv_multipart()[1])
        if self._came and self._waits is not None and not self._waits.done():
            self._waits.set_result(None)


def _connected(server: Server, topic: str) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A DEALER and a SUB that hears of the topic by now."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    context.linger = 0
    dealer, sub = context.socket(zmq.DEALER), context.socket(zmq.SUB)
    router_port, xpub_port = server.address.split()
    dealer.connect(f"tcp://127.0.0.1:{router_port}")
    sub.connect(f"tcp://127.0.0.1:{xpub_port}")
    sub.subscribe(topic)
    here = f"{topic}-here-{id(sub)}"
    sub.subscribe(here)
    while not sub.poll(20):
        dealer.send_multipart([here.encode(), b""])
    while sub.poll(100):
        sub.recv_multipart()
    return dealer, sub


class _File:
    """Of one size, and written over again and again, as SQLite's WAL is: nothing but the data has to be synced."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(self._descriptor, bytes(FILE_BYTES), 0)
        os.fsync(self._descriptor)
        self._at = 0

    def write(self, body: bytes) -> None:
        os.pwrite(self._descriptor, body, self._at)
        os.fdatasync(self._descriptor)
        self._at = (self._at + len(body)) % (FILE_BYTES - len(body))


def serve(file: _File | None) -> None:
    """The server, until it is ended."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    router, xpub = context.socket(zmq.ROUTER), context.socket(zmq.XPUB)
    ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (router, xpub)]
    print(*ports, flush=True)
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(xpub, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if xpub in ready:
            xpub.recv()
        if router in ready:
            _identity, topic, body = router.recv_multipart()
            if file is not None:
                file.write(body)
            xpub.send_multipart([topic, body])


if __name__ == "__main__":
    serve(_File(sys.argv[1]) if len(sys.argv) > 1 else None)
