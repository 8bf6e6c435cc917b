"""zchat's client for asyncio, with Python's event loop or with uvloop: the same broker, the same messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from contenders.contender import PING, PONG, ROOM, Signal, Tally
from contenders.servers import Server
from contenders.zchat_py import Zchat

T = TypeVar("T")

DRAIN_EACH = 10  # publishes: to await something costs a third of one


@dataclass(frozen=True)
class ZchatAio(Zchat):
    """`publish` in a loop, now and then `await drain()`, and a `flush`; one process, one loop, no thread."""

    uvloop: bool = False

    def publish(self, server: Server, messages: list[bytes], go: Signal) -> tuple[float, float]:
        import zchat.aio

        async def publish() -> tuple[float, float]:
            volatile = not self.stored
            async with zchat.aio.connect(server.address, "publisher") as client:
                go()
                began = time.monotonic()
                publish, drain = client.publish, client.drain
                for number, body in enumerate(messages):
                    publish(ROOM, body, volatile=volatile)
                    if number % DRAIN_EACH == 0:
                        await drain()
                await client.flush()
                return began, time.monotonic()

        return self._run(publish())

    def listen(self, server: Server, tally: Tally, ready: Signal) -> None:
        import zchat.aio

        async def listen() -> None:
            async with zchat.aio.connect(server.address, "listener") as client:
                subscription = await client.listen(ROOM)
                ready()
                async for message in subscription:
                    if tally.take(message.body):
                        break
                tally.finish()

        self._run(listen())

    def echo(self, server: Server, ready: Signal) -> None:
        import zchat.aio

        async def echo() -> None:
            volatile = not self.stored
            async with zchat.aio.connect(server.address, "echo") as client:
                subscription = await client.listen(PING)
                ready()
                async for message in subscription:
                    client.publish(PONG, message.body, volatile=volatile)

        self._run(echo())

    def ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        import zchat.aio

        async def ping() -> list[float]:
            volatile = not self.stored
            times = []
            async with zchat.aio.connect(server.address, "ping") as client:
                received = await client.listen(PONG)
                go()
                for body in messages:
                    began = time.monotonic()
                    client.publish(PING, body, volatile=volatile)
                    await anext(received)
                    times.append(time.monotonic() - began)
            return times

        return self._run(ping())

    def crowd(self, server: Server, clients: int, tally: Tally, first: Signal, ready: Signal) -> None:
        import zchat.aio

        async def crowd() -> None:
            connected, subscriptions = [], []
            for number in range(clients):
                connected.append(await zchat.aio.connect(server.address, f"user{number}", wait=60))
                subscriptions.append(await connected[-1].listen(ROOM))
                if number == 0:
                    first()
            ready()
            for subscription in subscriptions:
                tally.take((await subscription.get()).body)
            tally.finish()
            await asyncio.gather(*(client.close() for client in connected))

        self._run(crowd())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
        if self.uvloop:
            import uvloop

            new_loop = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(coroutine)
