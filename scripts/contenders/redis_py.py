"""redis-py: pub/sub and streams, message by message and with pipelines.

Rules of this file: a pipeline is no transaction; `XREAD` takes up to 1000 entries at a time; what redis-py parses
its replies with (hiredis, when it is installed) is its own choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from contenders.contender import PING, PONG, ROOM, Contender, Signal, Tally
from contenders.servers import Server, redis_server

READ_COUNT = 1000
BLOCK_MILLISECONDS = 1000

Add = Callable[[Any, str, bytes], object]  # to a client or a pipeline


@dataclass(frozen=True)
class RedisPubSub(Contender):
    """`publish` in a loop, `depth` of them per pipeline."""

    depth: int = 1

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Server]:
        with redis_server(folder) as server:
            yield server

    def publish(self, server: Server, messages: list[bytes], go: Signal) -> tuple[float, float]:
        return _publish(server, messages, go, self.depth, _add_pubsub)

    def listen(self, server: Server, tally: Tally, ready: Signal) -> None:
        subscription = _subscribe(connect(server), ROOM)
        ready()
        for message in subscription.listen():
            if tally.take(message["data"]):
                break
        tally.finish()

    def echo(self, server: Server, ready: Signal) -> None:
        client = connect(server)
        subscription = _subscribe(connect(server), PING)
        ready()
        for message in subscription.listen():
            client.publish(PONG, message["data"])

    def ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        client = connect(server)
        received = _subscribe(connect(server), PONG).listen()
        go()
        times = []
        for body in messages:
            began = time.monotonic()
            client.publish(PING, body)
            next(received)
            times.append(time.monotonic() - began)
        return times

    def crowd(self, server: Server, clients: int, tally: Tally, first: Signal, ready: Signal) -> None:
        subscriptions = [_subscribe(connect(server), ROOM)]
        first()
        subscriptions += [_subscribe(connect(server), ROOM) for _ in range(clients - 1)]
        ready()
        for subscription in subscriptions:
            tally.take(next(subscription.listen())["data"])
        tally.finish()


@dataclass(frozen=True)
class RedisStreams(Contender):
    """`XADD` in a loop, `depth` of them per pipeline; `XREAD BLOCK` from the last entry on."""

    depth: int = 1

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Server]:
        with redis_server(folder, durable=True) as server:
            yield server

    def publish(self, server: Server, messages: list[bytes], go: Signal) -> tuple[float, float]:
        return _publish(server, messages, go, self.depth, _add_stream)

    def listen(self, server: Server, tally: Tally, ready: Signal) -> None:
        client = connect(server)
        ready()
        for body in _entries(client, ROOM):
            if tally.take(body):
                break
        tally.finish()

    def echo(self, server: Server, ready: Signal) -> None:
        client = connect(server)
        entries = _entries(connect(server), PING)
        ready()
        for body in entries:
            _add_stream(client, PONG, body)

    def ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        client = connect(server)
        entries = _entries(connect(server), PONG)
        go()
        times = []
        for body in messages:
            began = time.monotonic()
            _add_stream(client, PING, body)
            next(entries)
            times.append(time.monotonic() - began)
        return times

    def crowd(self, server: Server, clients: int, tally: Tally, first: Signal, ready: Signal) -> None:
        raise NotImplementedError("a reader of a stream holds no subscription")


def connect(server: Server) -> Any:
    """A client."""
    import redis

    pool = redis.ConnectionPool.from_url(server.address, socket_timeout=None)
    return redis.Redis(connection_pool=pool)  # of its own, so a subscription outlives the client that made it


def _subscribe(client: Any, channel: str) -> Any:
    subscription = client.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(channel)
    subscription.parse_response()  # the server's confirmation: from here on nothing is missed
    return subscription


def _add_pubsub(to: Any, room: str, body: bytes) -> object:
    return to.publish(room, body)


def _add_stream(to: Any, room: str, body: bytes) -> object:
    return to.xadd(room, {"b": body})


def _entries(client: Any, room: str) -> Iterator[bytes]:
    """The bodies of a stream from its start; it was empty when the race began."""
    last: bytes | str = "0"
    while True:
        answer = client.xread({room: last}, count=READ_COUNT, block=BLOCK_MILLISECONDS)
        if not answer:
            continue
        ((_, entries),) = answer.items() if isinstance(answer, dict) else answer
        for _, fields in entries:
            yield fields[b"b"]
        last = entries[-1][0]


def _publish(server: Server, messages: list[bytes], go: Signal, depth: int, add: Add) -> tuple[float, float]:
    client = connect(server)
    client.ping()
    pipeline = client.pipeline(transaction=False)
    go()
    began = time.monotonic()
    if depth == 1:
        for body in messages:
            add(client, ROOM, body)
    else:
        left = iter(messages)
        while chunk := list(islice(left, depth)):
            for body in chunk:
                add(pipeline, ROOM, body)
            pipeline.execute()
    return began, time.monotonic()
