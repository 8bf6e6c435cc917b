#!/usr/bin/env python3
"""web_crowd.py: many Socket.IO clients on `zchat web`, beside the same clients on python-socketio alone.

    .venv/bin/python scripts/web_crowd.py --clients 5000 --messages 1000 --plain-messages 50
    .venv/bin/python scripts/web_crowd.py --clients 1000 --messages 100 --profile

Each server has a process, on uvicorn with the same options, and so have the clients, which do no more than they
must. Of each server it prints how long the clients take to come in, the memory that each costs, how long one event
takes from one client to all others, and how long many take; with `--profile` also which functions take that time.

A server may lose clients, as it is too busy to hear their pongs: then it is told how many, and what those heard who are
left. Exit status: 0; 1 when `zchat web` lost any, or anything else is missing; 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

import zchat
from zchat.sockets.kernel import raise_descriptor_limit
from zchat.testing import broker

SECONDS_MAX = 3_600.0
LOST_SECONDS = 20.0
SILENT_SECONDS = 120.0  # without an event for anybody: nothing more comes
KINDS = ("zchat web", "python-socketio")
ROWS = 10  # of a profile
AT_ONCE = 64  # clients that connect
REPEATS = 5
BODY = "x" * 100
PING, PONG = 9, 10  # kinds of frames
HANDSHAKE = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def run_plain(listen: str) -> None:
    """Be python-socketio alone: what one emits goes to all others."""
    import socketio
    import uvicorn

    server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")

    async def tick(sid: str, *args: Any) -> None:
        await server.emit("tick", args, skip_sid=sid)

    async def burst(sid: str, count: int, body: str) -> None:
        for number in range(count):
            await server.emit("tick", (number, body), skip_sid=sid)

    server.on("tick", tick)
    server.on("burst", burst)
    host, _, port = listen.rpartition(":")
    config = uvicorn.Config(
        socketio.ASGIApp(server),
        host,
        int(port),
        log_level="error",
        ws_per_message_deflate=False,
        http="h11",
        backlog=4096,
    )
    print("ready", file=sys.stderr, flush=True)
    uvicorn.Server(config).run()


class Wire(asyncio.Protocol):
    """One client, as small as can be."""

    heard = 0  # by all
    wanted = 0
    lost = 0
    done: asyncio.Event

    def __init__(self, host: str, joined: bytes) -> None:
        self._host, self._joined = host, joined
        self.is_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._got = b""
        self._upgraded = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(HANDSHAKE.format(host=self._host).encode())

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._upgraded:
            head, end, rest = self._got.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101 "), head
            self._upgraded, self._got = True, rest
            self.say('40{"room":"crowd","presence":false}')
        at, size = 0, len(self._got)
        while size - at >= 2:
            length, begin = self._got[at + 1], at + 2
            if length == 126:
                length, begin = int.from_bytes(self._got[at + 2 : at + 4]), at + 4
            if size < begin + length:
                break
            if self._got[at] & 15 == PING:  # of the server under python-socketio: every 20 s
                self._write(0x80 | PONG, self._got[begin : begin + length])
            else:
                self._frame(self._got[begin : begin + length])
            at = begin + length
        self._got = self._got[at:]

    def _frame(self, payload: bytes) -> None:
        if payload.startswith(b'42["tick"'):
            Wire.heard += 1
            if Wire.heard == Wire.wanted:
                Wire.done.set()
        elif payload == b"2":
            self.say("3")
        elif not self.is_in.done() and payload.startswith(self._joined):
            self.is_in.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.is_in.done():
            self.is_in.set_exception(ConnectionError("a client was cut off"))
        Wire.lost += 1

    def say(self, text: str) -> None:
        self._write(0x81, text.encode())

    def _write(self, kind: int, payload: bytes) -> None:
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
        self.transport.write(bytes([kind]) + length + b"\0\0\0\0" + payload)  # masked with zeros


async def all_heard(wanted: int) -> None:
    """Until so many events were heard, by all clients together, or by those that are left nothing more."""
    Wire.wanted = wanted
    Wire.done.clear()
    while (heard := Wire.heard) < wanted:
        with suppress(TimeoutError):
            await asyncio.wait_for(Wire.done.wait(), LOST_SECONDS if Wire.lost else SILENT_SECONDS)
        if heard == Wire.heard < wanted:
            if not Wire.lost:
                raise TimeoutError(f"{wanted - heard} events are missing")
            return


async def measured(
    at: str, server: int, clients: int, messages: int, address: str | None, is_profiled: bool
) -> dict[str, float]:
    """The whole course against a server. With a broker's address it is `zchat web`."""
    host, _, port = at.rpartition(":")
    Wire.heard, Wire.lost, Wire.done = 0, 0, asyncio.Event()
    loop = asyncio.get_running_loop()
    joined = b"40{" if address is None else b'42["joined"'
    gate = asyncio.Semaphore(AT_ONCE)

    async def come_in() -> Wire:
        async with gate:
            _, wire = await loop.create_connection(lambda: Wire(at, joined), host, int(port))
            await asyncio.wait_for(wire.is_in, SECONDS_MAX)
            return wire

    before, began = resident(server), time.monotonic()
    wires = await asyncio.gather(*(come_in() for _ in range(clients)))
    came, memory = time.monotonic() - began, resident(server) - before
    took = []
    for _ in range(REPEATS):
        heard, began = Wire.heard, time.monotonic()
        wires[0].say(f'42["tick",0,"{BODY}"]')
        await all_heard(heard + clients - 1)
        took.append(time.monotonic() - began)
    if is_profiled:
        os.kill(server, signal.SIGUSR1)
    heard, began = Wire.heard, time.monotonic()
    if address is None:
        wires[0].say(f'42["burst",{messages},"{BODY}"]')
        await all_heard(heard + messages * (clients - 1))
    else:
        await loop.run_in_executor(None, publish, address, messages)
        await all_heard(heard + messages * clients)
    many, got = time.monotonic() - began, Wire.heard - heard
    found = {"came": came, "memory": memory / clients, "one": median(took), "many": many, "heard": got}
    if is_profiled:
        os.kill(server, signal.SIGUSR1)
    found |= {"lost": Wire.lost, "peak": resident(server)}
    for wire in wires:
        wire.transport.close()
    return found


def publish(address: str, messages: int) -> None:
    """What a program at the broker says to all."""
    with zchat.connect(address, "loud") as client:
        for number in range(messages):
            client.publish("crowd", json.dumps([number, BODY]), event="tick", headers={"args": "json"})
        client.flush(SECONDS_MAX)


def resident(process: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def course(kind: str, clients: int, messages: int, profile: Path | None) -> dict[str, float]:
    """Start a server, and measure it."""
    raise_descriptor_limit()
    before = [sys.executable, __file__, *([] if profile is None else ["--profiled", str(profile)])]
    with ExitStack() as stack:
        if kind == "python-socketio":
            address, listen = None, free_address()
            command = [*before, "--plain", listen]
        else:
            address = stack.enter_context(broker())
            command = [*before, "--web", address]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        stack.callback(server.wait)
        stack.callback(server.kill)
        assert server.stderr is not None
        said = server.stderr.readline()
        if address is None:
            wait_for(listen)
        else:
            found = re.search(r"http://([^,\s]+)", said)
            assert found is not None, said
            listen = found[1]
        measures = asyncio.run(measured(listen, server.pid, clients, messages, address, profile is not None))
        if profile is not None:
            assert "profile" in server.stderr.readline()
        return measures


def be_profiled(into: str) -> None:
    """The first SIGUSR1 begins a profile of this thread, the second ends and stores it."""
    profile, began = cProfile.Profile(), list[int]()

    def toggle(number: int, frame: object) -> None:
        began.append(number)
        if len(began) == 1:
            profile.enable()
        else:
            profile.disable()
            profile.dump_stats(into)
            print("profile stored", file=sys.stderr, flush=True)

    signal.signal(signal.SIGUSR1, toggle)


def told(profile: Path) -> str:
    """The functions that take the most time themselves."""
    stats: Any = pstats.Stats(str(profile))
    rows = sorted(stats.stats.items(), key=lambda row: -row[1][2])
    lines = []
    for (file, line, name), (_, calls, own, _, _) in rows[:ROWS]:
        where = f"{'/'.join(Path(file).parts[-2:])}:{line} {name}" if line else name
        lines.append(f"  {own / stats.total_tt:4.0%}  {calls:>11,}  {where}")
    return "\n".join(lines)


def free_address() -> str:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def wait_for(listen: str) -> None:
    import socket

    host, _, port = listen.rpartition(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def table(found: dict[str, dict[str, float]], clients: int, counts: dict[str, int]) -> str:
    """What people read."""
    rows = [
        (f"{clients:,} clients are in", "{came:.2f} s"),
        ("memory of the server, each", "{kb:.1f} kB"),
        ("one event to all", "{ms:.1f} ms"),
        ("events to all", "{count:,}"),
        ("they take", "{many:.2f} s"),
        ("deliveries a second", "{rate:,.0f}"),
        ("clients that it lost", "{lost:,}"),
        ("memory of the server then", "{peak_mb:.0f} MB"),
    ]
    lines = [" " * 30 + "".join(f"{name:>18}" for name in found)]
    for label, form in rows:
        cells = []
        for kind, each in found.items():
            rate = each["heard"] / each["many"]
            shown = {**each, "kb": each["memory"] / 1000, "ms": each["one"] * 1000, "rate": rate, "count": counts[kind]}
            cells.append(f"{form.format(**shown, peak_mb=each['peak'] / 1e6):>18}")
        lines.append(f"{label:<30}" + "".join(cells))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Socket.IO clients on zchat web, beside python-socketio alone.")
    parser.add_argument("--clients", type=int, default=500, metavar="N")
    parser.add_argument("--messages", type=int, default=100, metavar="N", help="to all, one after the other")
    parser.add_argument("--plain-messages", type=int, metavar="N", help="of python-socketio, if it takes too long")
    parser.add_argument("--profile", action="store_true", help="show what takes the time of many; they take longer")
    parser.add_argument("--only", choices=KINDS, action="append", help="only this server")
    parser.add_argument("--json", action="store_true", help="print an object instead of a table")
    for hidden in ("--plain", "--web", "--profiled"):  # of this script itself
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.profiled:
        be_profiled(asked.profiled)
    if asked.web:
        sys.argv = ["zchat", "web", "--listen", "0", "--broker", asked.web]
        runpy.run_module("zchat", run_name="__main__", alter_sys=True)
    if asked.plain:
        run_plain(asked.plain)
        return 0
    if min(asked.clients - 1, asked.messages) < 1:
        parser.error("there are at least two clients and one message")
    counts = dict.fromkeys(KINDS, asked.messages) | ({KINDS[1]: asked.plain_messages} if asked.plain_messages else {})
    try:
        with tempfile.TemporaryDirectory(prefix="zchat-web-crowd-") as folder:
            profiles = {kind: Path(folder, kind) if asked.profile else None for kind in asked.only or KINDS}
            found = {kind: course(kind, asked.clients, counts[kind], profile) for kind, profile in profiles.items()}
            shown = "".join(f"\n{kind}\n{told(at)}\n" for kind, at in profiles.items() if at is not None)
    except (OSError, TimeoutError, zchat.ZchatError) as error:
        print(f"web_crowd: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found) if asked.json else table(found, asked.clients, counts) + shown)
    return 1 if found.get(KINDS[0], {}).get("lost") else 0


if __name__ == "__main__":
    sys.exit(main())
