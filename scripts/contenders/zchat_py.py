"""zchat: its blocking client, as everybody uses it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contenders.contender import PING, PONG, ROOM, Contender, Signal, Tally
from contenders.servers import Server, keyed_zchat_broker, zchat_broker


@dataclass(frozen=True)
class Zchat(Contender):
    """`publish` in a loop and a `flush`; the broker stores with `--sync full`, or nothing when volatile."""

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Server]:
        with zchat_broker(folder, "--sync", "full") as server:
            yield server

    def publish(self, server: Server, messages: list[bytes], go: Signal) -> tuple[float, float]:
        import zchat

        volatile = not self.stored
        with zchat.connect(server.address, "publisher") as client:
            go()
            began = time.monotonic()
            publish = client.publish
            for body in messages:
                publish(ROOM, body, volatile=volatile)
            client.flush()
            return began, time.monotonic()

    def listen(self, server: Server, tally: Tally, ready: Signal) -> None:
        import zchat

        with zchat.connect(server.address, "listener") as client:
            subscription = client.listen(ROOM)
            ready()
            for message in subscription:
                if tally.take(message.body):
                    break
            tally.finish()

    def echo(self, server: Server, ready: Signal) -> None:
        import zchat

        volatile = not self.stored
        with zchat.connect(server.address, "echo") as client:
            subscription = client.listen(PING)
            ready()
            for message in subscription:
                client.publish(PONG, message.body, volatile=volatile)

    def ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        import zchat

        volatile = not self.stored
        times = []
        with zchat.connect(server.address, "ping") as client:
            received = iter(client.listen(PONG))
            go()
            for body in messages:
                began = time.monotonic()
                client.publish(PING, body, volatile=volatile)
                next(received)
                times.append(time.monotonic() - began)
        return times

    def crowd(self, server: Server, clients: int, tally: Tally, first: Signal, ready: Signal) -> None:
        import zchat

        connected, subscriptions = [], []
        for number in range(clients):
            connected.append(zchat.connect(server.address, f"user{number}", wait=60))
            subscriptions.append(connected[-1].listen(ROOM))
            if number == 0:
                first()
        ready()
        for subscription in subscriptions:
            tally.take(subscription.get().body)
        tally.finish()
        for client in connected:
            client.close()


@dataclass(frozen=True)
class RuledZchat(Zchat):
    """The same with a thousand rules, one of which is for the room."""

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Server]:
        rules = [f'[rooms."r{number}.**"]\nread = ["user-{number}", "*.x"]\n' for number in range(999)]
        config = folder / "broker.toml"
        config.write_text("".join([*rules, f'[rooms.{ROOM}]\nread = ["*"]\nwrite = ["publisher*", "listener*"]\n']))
        with zchat_broker(folder, "--sync", "full", "--insecure", "--config", str(config)) as server:
            yield server


@dataclass(frozen=True)
class KeyedZchat(Zchat):
    """The same with a broker that has keys: all is encrypted and signed on its way."""

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Server]:
        with keyed_zchat_broker(folder, "--sync", "full") as server:
            yield server
