#!/usr/bin/env python3
"""half_open.py: thousands of connections that stay in the middle of something, and what others feel of them.

    .venv/bin/python scripts/half_open.py --connections 10000

A third of the connections to `zchat web` says nothing, a third stops in the head of a request, and a third in the
handshake of a WebSocket. Meanwhile somebody sends over HTTP and reads what was sent. It prints how long that takes,
with and without them, what a connection costs in memory, and when the gateway has closed them all.
Exit status: 0; 1 when somebody was not served, or a connection stayed; 2 usage.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from zchat.sockets.kernel import raise_descriptor_limit
from zchat.testing import broker

TRIES = 20  # of the one who is served
CLOSED_SECONDS = 60.0  # until all of them are to be closed
HEAD = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\n"
BEGUN = ("", "POST /gen", HEAD + "Upgrade: websocket\r\nConnection: Upg")


def serves(host: str, port: int, tries: int = TRIES) -> list[float]:
    """How long it takes to send something and to read it, each time."""
    took = []
    for number in range(tries):
        began = time.monotonic()
        with closing(http.client.HTTPConnection(host, port, timeout=CLOSED_SECONDS)) as one:
            one.request("POST", "/general", f"number {number}")
            assert one.getresponse().read()
            one.request("GET", "/general/json?last=1&poll=1")
            said = one.getresponse().read().decode()
            assert f"number {number}" in said, said
        took.append(time.monotonic() - began)
    return took


def come(host: str, port: int, count: int) -> list[socket.socket]:
    """So many, each of which stays where it is."""
    found = []
    for number in range(count):
        one = socket.create_connection((host, port), timeout=CLOSED_SECONDS)
        one.sendall(BEGUN[number % len(BEGUN)].format(host=f"{host}:{port}").encode())
        found.append(one)
    return found


def until_closed(connections: list[socket.socket]) -> int:
    """Wait until the other side has closed them. Returns how many it has not."""
    poll, left = select.poll(), {one.fileno(): one for one in connections}
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + CLOSED_SECONDS
    while left and time.monotonic() < deadline:
        for descriptor, _ in poll.poll(1_000):
            try:
                is_open = bool(left[descriptor].recv(4_096))
            except OSError:
                is_open = False
            if not is_open:
                poll.unregister(descriptor)
                del left[descriptor]
    return len(left)


def resident(process: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(count: int) -> dict[str, Any]:
    """The whole course."""
    raise_descriptor_limit()
    with broker("--memory") as address:
        web = [sys.executable, "-m", "zchat", "web", "--listen", "0", "--broker", address]
        server = subprocess.Popen(web, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        try:
            at = re.search(r"http://([^,\s]+)", server.stderr.readline())
            assert at is not None, "it is ready"
            host, _, port = at[1].rpartition(":")
            alone = serves(host, int(port))
            before, began = resident(server.pid), time.monotonic()
            connections = come(host, int(port), count)
            came = time.monotonic() - began
            beside = serves(host, int(port))
            bytes_each = (resident(server.pid) - before) / count
            left = until_closed(connections)
            closed = time.monotonic() - began
            after = serves(host, int(port))
            for one in connections:
                one.close()
        finally:
            server.kill()
            server.wait()
    return {
        "connections": count,
        "came_seconds": round(came, 2),
        "bytes_each": round(bytes_each),
        "alone_ms": round(median(alone) * 1000, 1),
        "beside_ms": round(median(beside) * 1000, 1),
        "beside_worst_ms": round(max(beside) * 1000, 1),
        "after_ms": round(median(after) * 1000, 1),
        "closed_seconds": round(closed, 1),
        "left": left,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Half-open connections to zchat web, and what others feel of them.")
    parser.add_argument("--connections", type=int, default=1_000, metavar="N")
    parser.add_argument("--json", action="store_true", help="print an object instead of lines")
    asked = parser.parse_args()
    if asked.connections < 1:
        parser.error("there is at least one connection")
    try:
        found = run(asked.connections)
    except (OSError, AssertionError, http.client.HTTPException) as error:
        print(f"half_open: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found) if asked.json else "\n".join(f"{name:<16} {value:>12,}" for name, value in found.items()))
    return 1 if found["left"] else 0


if __name__ == "__main__":
    sys.exit(main())
