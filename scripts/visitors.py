#!/usr/bin/env python3
"""visitors.py: thousands of plain connections to one `zchat tcp`, beside a plain chat server without a broker.

    .venv/bin/python scripts/visitors.py --connections 5000

All connect, and are users in one room; one of them says something, and all hear it; then they go. A plain server is
asyncio and nothing else: a list of connections, and each chunk is written to each. It is the floor: it stores nothing,
knows nobody, and loses what it has when it ends. Prints how long each step takes and what a connection costs in memory.
Exit status: 0; 1 when anything is missing; 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from crowd import STEP_SECONDS, Missing, Process, raise_descriptor_limit

import zchat

CONNECTIONS = 1_000
MESSAGES = 9  # the median counts
STREAMED = 1_000  # messages that one sends in one go, to all
STREAMED_TO = 200  # connections, unless it is said
BACKLOG = 1_024
THERE, GONE = "all are there", "all have gone"  # what the plain server says


# --- the plain server --------------------------------------------------------------------------------


async def be_plain(count: int, few: int) -> None:
    """Each chunk to each connection, as it comes."""
    raise_descriptor_limit(count + 200)
    connected: set[asyncio.Transport] = set()
    wanted = [few, count]  # at last, and at first
    say = partial(print, file=sys.stderr, flush=True)

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            connected.add(transport)
            if len(connected) == wanted[-1]:
                say(THERE)

        def data_received(self, data: bytes) -> None:
            for transport in connected:
                transport.write(data)

        def connection_lost(self, error: Exception | None) -> None:
            connected.discard(self.transport)
            if not connected and len(wanted) > 1:
                wanted.pop()
                say(GONE)

    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=BACKLOG)
    print(f"ready on 127.0.0.1:{server.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
    await server.serve_forever()


# --- who connects ------------------------------------------------------------------------------------


class Visitors:
    """Many connections, in this process."""

    def __init__(self, address: str, count: int) -> None:
        host, _, port = address.rpartition(":")
        self.connections: list[socket.socket] = []
        self._poll = select.epoll()
        for _ in range(count):
            connection = socket.create_connection((host, int(port)), timeout=STEP_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self.connections.append(connection)
            self._poll.register(connection.fileno(), select.EPOLLIN)
        self._of = {connection.fileno(): connection for connection in self.connections}

    def say(self, line: bytes, count: int = 1) -> float:
        """The first one says so many lines, and each hears all of them. Returns how long that took. Raises Missing."""
        size = len(line) * count
        left = dict.fromkeys(self._of, size)
        began = time.monotonic()
        sender, rest = self.connections[0], memoryview(line * count)
        while left:
            if rest:
                try:
                    rest = rest[sender.send(rest[: 64 << 10]) :]
                except BlockingIOError:
                    pass
            events = self._poll.poll(0.001 if rest else STEP_SECONDS)
            if not events and not rest:
                raise Missing(f"{len(left)} have not heard all, {sum(left.values())} bytes are missing")
            for descriptor, _ in events:
                got = len(self._of[descriptor].recv(1 << 20))
                if not got:
                    raise Missing("a connection has ended")
                left[descriptor] -= got
                if not left[descriptor]:
                    del left[descriptor]
        return time.monotonic() - began

    def close(self) -> None:
        """All go."""
        self._poll.close()
        for connection in self.connections:
            connection.close()


# --- the course --------------------------------------------------------------------------------------


def run_gateway(count: int, few: int, folder: Path) -> dict[str, Any]:
    """The whole course through a gateway. Raises Missing."""
    broker = Process(
        ["-m", "zchat", "broker", "--no-watch", "--bind", "tcp://127.0.0.1:0", "--data", str(folder)], listens="stderr"
    )
    gateway: Process | None = None
    try:
        at = broker.expect(r"ready on (\S+)")
        asked = ["-m", "zchat", "tcp", "--raw", "--listen", "127.0.0.1:0", "-b", at, "--connections", str(2 * count)]
        gateway = Process(asked, listens="stderr")
        address = gateway.expect(r"ready on (\S+),")
        with zchat.connect(at, "host", wait=STEP_SECONDS) as host:

            def until(wanted: int) -> None:
                deadline = time.monotonic() + STEP_SECONDS
                while (members := len(host.who("general"))) != wanted:
                    if time.monotonic() > deadline:
                        raise Missing(f"{members} are in the room, and {wanted} should be")
                    time.sleep(0.02)

            return _measured(gateway, address, count, few, until) | {"broker_bytes": broker.resident_bytes}
    finally:
        for process in (gateway, broker):
            if process is not None:
                process.end(kills=False)


def run_plain(count: int, few: int) -> dict[str, Any]:
    """The same through a plain server."""
    server = Process([__file__, "--plain", "--connections", str(count), "--streamed-to", str(few)], listens="stderr")
    try:
        address = server.expect(r"ready on (\S+)")
        return _measured(server, address, count, few, lambda wanted: server.expect(THERE if wanted else GONE))
    finally:
        server.end(kills=True)


def _measured(server: Process, address: str, count: int, to: int, until: Callable[[int], object]) -> dict[str, Any]:
    """`until` waits until so many are there."""
    before, began = server.resident_bytes, time.monotonic()
    visitors = Visitors(address, count)
    try:
        until(count)
        found: dict[str, Any] = {"connections": count, "came_seconds": time.monotonic() - began}
        found["bytes_each"] = (server.resident_bytes - before) // count
        visitors.say(b"the first one\n")
        found["to_all_seconds"] = median(visitors.say(b"hello, all of you\n") for _ in range(MESSAGES))
        found["resident_bytes"] = server.resident_bytes
    finally:
        began = time.monotonic()
        visitors.close()
    until(0)
    found["gone_seconds"] = time.monotonic() - began
    few = Visitors(address, to)
    try:
        until(len(few.connections))
        found["streamed_seconds"] = few.say(b"x" * 99 + b"\n", STREAMED)
        found["streamed_deliveries"] = STREAMED * len(few.connections)
    finally:
        few.close()
    return found


def table(courses: dict[str, dict[str, Any]], few: int) -> str:
    """What people read."""
    lines = [" " * 26 + "".join(f"{name:>20}" for name in courses)]
    rows = {
        "all are in the room": ("came_seconds", 1.0, "{:.2f} s"),
        "memory of each": ("bytes_each", 0.001, "{:.1f} kB"),
        "one message to all": ("to_all_seconds", 1_000.0, "{:.1f} ms"),
        "all have gone": ("gone_seconds", 1.0, "{:.2f} s"),
        f"{STREAMED:,} messages to {few:,}": ("streamed_seconds", 1_000.0, "{:.0f} ms"),
    }
    for label, (name, factor, form) in rows.items():
        lines.append(f"{label:<26}" + "".join(f"{form.format(found[name] * factor):>20}" for found in courses.values()))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Plain connections to zchat tcp, beside a plain chat server.")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, metavar="N")
    parser.add_argument(
        "--streamed-to", type=int, default=STREAMED_TO, metavar="N", help="who hears a thousand messages"
    )
    parser.add_argument("--json", action="store_true", help="print an object instead of a table")
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)  # of this script itself
    asked = parser.parse_args()
    few = max(1, min(asked.connections, asked.streamed_to))
    if asked.plain:
        asyncio.run(be_plain(asked.connections, few))
        return 0
    if asked.connections < 1:
        parser.error("there is at least one connection")
    raise_descriptor_limit(asked.connections + 200)
    try:
        with tempfile.TemporaryDirectory(prefix="zchat-visitors-") as folder:
            courses = {"zchat tcp": run_gateway(asked.connections, few, Path(folder))}
        courses["a plain server"] = run_plain(asked.connections, few)
    except (Missing, zchat.ZchatError, OSError) as error:
        print(f"visitors: {error}", file=sys.stderr)
        return 1
    print(json.dumps(courses) if asked.json else table(courses, few))
    return 0


if __name__ == "__main__":
    sys.exit(main())
