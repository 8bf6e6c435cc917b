"""nats-py: core NATS and JetStream.

Rules of this file: the client buffers by itself and is flushed at the end; its pending limits are raised so that
it drops nothing; callbacks receive, the fastest way that it has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contenders.contender import PING, PONG, ROOM, Contender, Signal, Tally
from contenders.servers import Server, nats_server

UNLIMITED = {"pending_msgs_limit": 1 << 40, "pending_bytes_limit": 1 << 50}


@dataclass(frozen=True)
class Connected:
    """A client, and the two functions of it that are raced."""

    client: Any
    publish: Callable[[str, bytes], Awaitable[Any]]
    subscribe: Callable[[str, Callable[[Any], Awaitable[None]]], Awaitable[Any]]

    async def listen(self, subject: str, callback: Callable[[Any], Awaitable[None]]) -> None:
        """Subscribe, and wait until the server knows."""
        await self.subscribe(subject, callback)
        await self.client.flush()


@dataclass(frozen=True)
class NatsCore(Contender):
    """`await publish(…)` in a loop; the client flushes by itself at 2 MiB, and at the end."""

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Server]:
        with nats_server(folder) as server:
            yield server

    def publish(self, server: Server, messages: list[bytes], go: Signal) -> tuple[float, float]:
        return asyncio.run(self._publish(server, messages, go))

    def listen(self, server: Server, tally: Tally, ready: Signal) -> None:
        asyncio.run(self._listen(server, 1, tally, first=ready, ready=lambda: None))

    def echo(self, server: Server, ready: Signal) -> None:
        asyncio.run(self._echo(server, ready))

    def ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        return asyncio.run(self._ping(server, messages, go))

    def crowd(self, server: Server, clients: int, tally: Tally, first: Signal, ready: Signal) -> None:
        asyncio.run(self._listen(server, clients, tally, first, ready))

    async def _connect(self, server: Server) -> Connected:
        client = await _client(server)

        async def subscribe(subject: str, callback: Callable[[Any], Awaitable[None]]) -> None:
            await client.subscribe(subject, cb=callback, **UNLIMITED)

        return Connected(client, client.publish, subscribe)

    async def _publish(self, server: Server, messages: list[bytes], go: Signal) -> tuple[float, float]:
        connected = await self._connect(server)
        publish = connected.publish
        go()
        began = time.monotonic()
        for body in messages:
            await publish(ROOM, body)
        await connected.client.flush(60)
        accepted = time.monotonic()
        await connected.client.close()
        return began, accepted

    async def _listen(self, server: Server, clients: int, tally: Tally, first: Signal, ready: Signal) -> None:
        complete = asyncio.Event()

        async def on_message(message: Any) -> None:
            if tally.take(message.data):
                tally.finish()
                complete.set()

        crowd = []
        for number in range(clients):
            crowd.append(await self._connect(server))
            await crowd[-1].listen(ROOM, on_message)
            if number == 0:
                first()
        ready()
        await complete.wait()
        for connected in crowd:
            await connected.client.close()

    async def _echo(self, server: Server, ready: Signal) -> None:
        connected = await self._connect(server)

        async def on_message(message: Any) -> None:
            await connected.publish(PONG, message.data)

        await connected.listen(PING, on_message)
        ready()
        await asyncio.Event().wait()

    async def _ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        connected = await self._connect(server)
        back = asyncio.Event()

        async def on_message(message: Any) -> None:
            back.set()

        await connected.listen(PONG, on_message)
        go()
        times = []
        for body in messages:
            began = time.monotonic()
            await connected.publish(PING, body)
            await back.wait()
            times.append(time.monotonic() - began)
            back.clear()
        await connected.client.close()
        return times


@dataclass(frozen=True)
class NatsJetStream(NatsCore):
    """`await publish_async(…)` in a loop, up to 4000 acks outstanding, all awaited; file storage; ordered consumer."""

    sync_always: bool = False  # else the server acks first and syncs every two minutes

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Server]:
        with nats_server(folder, jetstream=True, sync_always=self.sync_always) as server:
            yield server

    async def _connect(self, server: Server) -> Connected:
        client = await _client(server)
        stream = client.jetstream(timeout=60)
        await stream.add_stream(name="bench", subjects=[ROOM, PING, PONG], storage="file")  # again is no error

        async def subscribe(subject: str, callback: Callable[[Any], Awaitable[None]]) -> None:
            await stream.subscribe(subject, cb=callback, ordered_consumer=True, **UNLIMITED)

        return Connected(client, stream.publish_async, subscribe)

    async def _publish(self, server: Server, messages: list[bytes], go: Signal) -> tuple[float, float]:
        connected = await self._connect(server)
        publish = connected.publish
        go()
        began = time.monotonic()
        acks = [await publish(ROOM, body) for body in messages]
        await asyncio.gather(*acks)
        accepted = time.monotonic()
        await connected.client.close()
        return began, accepted


async def _client(server: Server) -> Any:
    import nats

    return await nats.connect(server.address, allow_reconnect=False)
