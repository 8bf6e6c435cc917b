"""Shared work and requests: one worker of a group that acks each message, and one server that is asked.

Rules of this file: who publishes does it as in the other scenarios; each client acks in the fastest way that its
documentation tells, and each message counts by itself.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from contenders.contender import PING, ROOM, Signal, Tally
from contenders.nats_py import UNLIMITED, NatsCore, NatsJetStream
from contenders.redis_py import BLOCK_MILLISECONDS, READ_COUNT, RedisStreams, connect
from contenders.servers import Server
from contenders.zchat_py import Zchat

GROUP = "workers"
IN_FLIGHT = 8_000


@dataclass(frozen=True)
class ZchatGroup(Zchat):
    """`for job in client.listen(room, group=…)`: each is acked when the next is taken."""

    def listen(self, server: Server, tally: Tally, ready: Signal) -> None:
        import zchat

        with zchat.connect(server.address, "worker") as client:
            with client.listen(ROOM, group=GROUP, max_in_flight=IN_FLIGHT) as jobs:
                ready()
                for job in jobs:
                    if tally.take(job.body):
                        break
            tally.finish()


@dataclass(frozen=True)
class NatsQueue(NatsJetStream):
    """A push consumer with a queue group and explicit acks, `await message.ack()` in its callback."""

    async def _listen(self, server: Server, clients: int, tally: Tally, first: Signal, ready: Signal) -> None:
        from nats.js.api import ConsumerConfig

        connected = await self._connect(server)
        stream, complete = connected.client.jetstream(timeout=60), asyncio.Event()

        async def on_message(message: Any) -> None:
            await message.ack()
            if tally.take(message.data):
                tally.finish()
                complete.set()

        config = ConsumerConfig(max_ack_pending=IN_FLIGHT)
        await stream.subscribe(ROOM, queue=GROUP, cb=on_message, manual_ack=True, config=config, **UNLIMITED)
        await connected.client.flush()
        first()
        await complete.wait()
        await connected.client.close()


@dataclass(frozen=True)
class RedisGroup(RedisStreams):
    """`XREADGROUP` of up to 1000 entries, and one `XACK` of all that it brought."""

    def listen(self, server: Server, tally: Tally, ready: Signal) -> None:
        client = connect(server)
        client.xgroup_create(ROOM, GROUP, id="0", mkstream=True)
        ready()
        is_over = False
        while not is_over:
            answer = client.xreadgroup(GROUP, "worker", {ROOM: ">"}, count=READ_COUNT, block=BLOCK_MILLISECONDS)
            if not answer:
                continue
            ((_, entries),) = answer.items() if isinstance(answer, dict) else answer
            for _, fields in entries:
                is_over = tally.take(fields[b"b"])
            client.xack(ROOM, GROUP, *(number for number, _ in entries))
        tally.finish()


@dataclass(frozen=True)
class ZchatRequest(Zchat):
    """`client.serve`, and `client.request` in a loop."""

    def echo(self, server: Server, ready: Signal) -> None:
        import zchat

        with zchat.connect(server.address, "server") as client:
            service = client.serve(PING, lambda message: message.body)
            ready()
            service.wait()

    def ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        import zchat

        times = []
        with zchat.connect(server.address, "asker") as client:
            go()
            for body in messages:
                began = time.monotonic()
                client.request(PING, body)
                times.append(time.monotonic() - began)
        return times


@dataclass(frozen=True)
class NatsRequest(NatsCore):
    """`await message.respond(…)` in a callback, and `await client.request(…)` in a loop."""

    async def _echo(self, server: Server, ready: Signal) -> None:
        connected = await self._connect(server)

        async def on_message(message: Any) -> None:
            await message.respond(message.data)

        await connected.listen(PING, on_message)
        ready()
        await asyncio.Event().wait()

    async def _ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        connected = await self._connect(server)
        times = []
        go()
        for body in messages:
            began = time.monotonic()
            await connected.client.request(PING, body, timeout=60)
            times.append(time.monotonic() - began)
        await connected.client.close()
        return times
