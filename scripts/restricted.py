#!/usr/bin/env python3
"""restricted.py: messages a second to all members of a room that not everybody may read, beside one that everybody may.

    .venv/bin/python scripts/restricted.py --members 1000

Both rooms have the same members, each with a DEALER and a SUB, and get the same messages, by turns. What is restricted
comes over the ROUTER, a send for each member; else the XPUB hands one to all. Members count, and ask for what was
dropped on the way. Exit status: 0; 1 when anything is missing; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import zmq
from crowd import Missing, Process, raise_descriptor_limit

import zchat
from zchat import wire
from zchat.address import Published, parse
from zchat.errors import WireError
from zchat.names import topic
from zchat.sockets import options

RESTRICTED, PUBLIC = "news.restricted", "news.public"
RULES = f'[rooms."{RESTRICTED}"]\nread = ["member-*"]\n'
BODY = b"x" * 128
SOCKETS = 2  # of each member; each has a connection and a wake-up
STEP_SECONDS = 120.0
AGAIN_SECONDS = 5.0  # what was dropped and is not there by then is asked for


class Member:
    """Counts what it hears."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], broker: str, number: int) -> None:
        address = parse(broker)
        self.dealer, self.sub = options.client_dealer(context), options.client_sub(context)
        for each in (self.dealer, self.sub):  # a client of ours dials itself, and is not taken for dead
            each.reconnect_ivl, each.reconnect_ivl_max = 100, 5000
        self.dealer.heartbeat_ivl = 0
        self.dealer.connect(address.endpoint)
        self._hello = wire.encode(wire.Hello(wire.VERSION, f"member-{number}"))
        self.knock()
        self.reached = {RESTRICTED: 0, PUBLIC: 0}
        self.is_here = self._is_connected = False
        self.fetched = 0  # batches that had been dropped
        self._asked: dict[str, float] = {}  # rooms of which something is fetched, and since when
        self._address = address

    def knock(self) -> None:
        """Say HELLO; once more where that was lost."""
        self._knocked = time.monotonic()
        self.dealer.send(self._hello)

    def turn(self) -> None:
        """Take what there is."""
        if not self.is_here and time.monotonic() - self._knocked > AGAIN_SECONDS:
            self.knock()
        while (frame := _received(self.dealer)) is not None:
            self._said(wire.decode_broker(frame))
        while (found := _received_parts(self.sub)) is not None:
            self._heard(*found)

    def _said(self, message: wire.BrokerMessage) -> None:
        if isinstance(message, wire.HelloAgain):
            self.knock()
        elif isinstance(message, wire.Welcome):
            published = Published(message.publish_port, message.publish_host, message.port)
            if not self._is_connected:
                self._is_connected = True
                self.sub.connect(self._address.publisher(published).endpoint)
                self.sub.subscribe(topic(PUBLIC))
            self.sub.subscribe(wire.PRIVATE_TOPIC + os.urandom(16))
            self.dealer.send(wire.encode(wire.Subscribe(1, [topic(RESTRICTED)])))
        elif isinstance(message, wire.Direct):
            self._heard(message.topic, bytes(message.message))
        elif isinstance(message, wire.Page):
            for room, batch in message.batches:
                self._asked.pop(room, None)
                self.fetched += 1
                self._counts(room, bytes(batch))
            if message.more and message.batches:
                self._fetch(message.batches[-1][0])
        elif isinstance(message, wire.Error) and message.code != "busy":  # else it asks again
            raise WireError(message.code, message.text)

    def _heard(self, name: bytes, frame: bytes) -> None:
        if name.startswith(wire.PRIVATE_TOPIC):
            self.is_here = True
            return
        if frame[1] == wire.MESSAGES:
            self._counts(RESTRICTED if name == topic(RESTRICTED) else PUBLIC, frame)

    def _counts(self, room: str, frame: bytes) -> None:
        batch = wire.decode_raw_batch(frame)
        if batch.prev > self.reached[room]:
            self._fetch(room)
        else:
            last = batch.base - 1 + sum(wire.count_of(entry.records) for entry in batch.entries)
            self.reached[room] = max(self.reached[room], last)

    def _fetch(self, room: str) -> None:
        if time.monotonic() - self._asked.get(room, -AGAIN_SECONDS) >= AGAIN_SECONDS:
            self._asked[room] = time.monotonic()
            self.dealer.send(wire.encode(wire.Fetch(7, [room], self.reached[room])))

    def looks(self, room: str, offset: int) -> bool:
        """Whether it has all up to there; what was dropped at the end is asked for now and then."""
        if self.reached[room] < offset and not self._asked:
            self._asked[room] = time.monotonic()  # in a while
        elif self.reached[room] < offset:
            self._fetch(room)
        return self.reached[room] >= offset


def run_members(broker: str, first: int, count: int) -> None:
    """Be `count` of them; for each line `room offset` say when all have got so far. Until killed."""
    raise_descriptor_limit(count * SOCKETS * 2)
    context, epoll = options.new_context(), select.epoll()
    members: list[Member] = []
    of: dict[int, Member] = {}
    wanted = ""
    epoll.register(0, select.EPOLLIN)
    while True:
        while len(members) < count and len(members) - sum(each.is_here for each in members) < 50:
            member = Member(context, broker, first + len(members))
            members.append(member)
            for socket in (member.dealer, member.sub):
                of[options.descriptor(socket)] = member
                epoll.register(options.descriptor(socket), select.EPOLLIN | select.EPOLLET)
            if len(members) == count:
                wanted = "here"
        ready = {descriptor for descriptor, _ in epoll.poll(0.2)}
        for member in {of[descriptor] for descriptor in ready if descriptor} if ready else members:
            member.turn()
        if 0 in ready:
            wanted = sys.stdin.readline().strip()
        if wanted == "here" and all(member.is_here for member in members):
            print("here", flush=True)
            wanted = ""
        elif " " in wanted:
            room, offset = wanted.split()
            if all([member.looks(room, int(offset)) for member in members]):
                print("reached", sum(member.fetched for member in members), flush=True)
                wanted = ""


def _received(socket: zmq.Socket[bytes]) -> bytes | None:
    try:
        return socket.recv(zmq.DONTWAIT)
    except zmq.Again:
        return None


def _received_parts(socket: zmq.Socket[bytes]) -> tuple[bytes, bytes] | None:
    try:
        name, frame = socket.recv_multipart(zmq.DONTWAIT)
        return name, frame
    except zmq.Again:
        return None


# --- the course -------------------------------------------------------------------------------------------


def run(members: int, processes: int, messages: int, rounds: int) -> dict[str, Any]:
    """All of it."""
    found: dict[str, list[float]] = {PUBLIC: [], RESTRICTED: []}
    used: dict[str, list[float]] = {PUBLIC: [], RESTRICTED: []}
    with tempfile.TemporaryDirectory(prefix="zchat-restricted-") as name:
        config = Path(name, "broker.toml")
        config.write_text(RULES)
        options_ = ["--no-watch", "--memory", "--insecure", "--bind", "tcp://127.0.0.1:0", "--config", str(config)]
        broker = Process(["-m", "zchat", "broker", *options_], listens="stderr")
        crowd: list[Process] = []
        try:
            address = broker.expect(r"ready on (\S+) ")
            share = -(-members // processes)
            for first in range(0, members, share):
                mine = str(min(share, members - first))
                crowd.append(Process([__file__, "--be", str(first), mine, "--broker", address], listens="stdout"))
            for process in crowd:
                process.expect("(here)")
            fetched = 0
            with zchat.connect(address, user="publisher") as client:
                for _ in range(rounds):
                    for room in (PUBLIC, RESTRICTED):
                        began, before = time.monotonic(), _used(broker.pid)
                        for _ in range(messages - 1):
                            client.publish(room, BODY)
                        last = client.publish(room, BODY).result(STEP_SECONDS)
                        for process in crowd:
                            process.say(f"{room} {last}")
                        fetched = sum(int(process.expect(r"reached (\d+)")) for process in crowd)
                        found[room].append(messages / (time.monotonic() - began))
                        used[room].append(_used(broker.pid) - before)
        finally:
            for process in (*crowd, broker):
                process.end(kills=True)
    public, restricted = (statistics.median(found[room]) for room in (PUBLIC, RESTRICTED))
    return {
        "members": members,
        "messages": messages,
        "public": public,
        "restricted": restricted,
        "ratio": restricted / public,
        "public_cpu": statistics.median(used[PUBLIC]) / messages / members,
        "restricted_cpu": statistics.median(used[RESTRICTED]) / messages / members,
        "fetched": fetched,
    }


def _used(pid: int) -> float:
    """Seconds of processors that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(found: dict[str, Any]) -> str:
    """What people read."""
    each = found["members"]
    rows = [
        f"{name:<11} {found[name]:>8,.0f} messages/s to each of {each:,}, {found[name] * each:>11,.0f} deliveries/s, "
        f"{found[f'{name}_cpu'] * 1e9:,.0f} ns of the broker's processors each"
        for name in ("public", "restricted")
    ]
    return "\n".join([*rows, f"ratio       {found['ratio']:.2f}; {found['fetched']:,} batches were fetched"])


def main() -> int:
    parser = argparse.ArgumentParser(description="A restricted room with many members, beside one that is broadcast.")
    parser.add_argument("--members", type=int, default=1000, metavar="N")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="that the members are spread over")
    parser.add_argument("--messages", type=int, default=5_000, metavar="N", help="in each round, to each room")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="the medians are told")
    parser.add_argument("--json", action="store_true", help="print an object instead of a table")
    parser.add_argument("--be", type=int, nargs=2, help=argparse.SUPPRESS)  # of this script itself: first, count
    parser.add_argument("--broker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if min(asked.members, asked.processes, asked.messages, asked.rounds) < 1:
        parser.error("there is at least one member, process, message and round")
    try:
        if asked.be:
            run_members(asked.broker, *asked.be)
        found = run(asked.members, asked.processes, asked.messages, asked.rounds)
    except (Missing, zchat.ZchatError, subprocess.SubprocessError) as error:
        print(f"restricted: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found) if asked.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
