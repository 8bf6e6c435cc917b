#!/usr/bin/env python3
"""crowd.py: a broker and thousands of clients: all come, all hear one message, all are killed, all have left.

    .venv/bin/python scripts/crowd.py --clients 4000

Each client has a DEALER and a SUB and runs zchat's client core; a process runs many of them without threads.
Prints how long each step took and the memory per client. Exit status: 0; 1 when anything is missing; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import secrets
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zmq

import zchat
from zchat import wire
from zchat.address import Address, Published, parse
from zchat.core import Instant
from zchat.core.client import AWAY, GREETING, ClientCore
from zchat.core.listener import Listener
from zchat.core.ordering import Delivery, OrderedDelivery, Start
from zchat.sockets import options

ROOM_MEMBERS = 250  # clients in one room, if nothing else is said; above 1,000 joins are not written
NEWS = "news"  # all listen to the rooms under it
CLIENT_DESCRIPTORS = 4  # a socket has a connection and a wake-up
SPARE_DESCRIPTORS = 200
COMING_MAX = 100  # of one process: more at once do not come sooner, they time out in the queue
GREETING_SECONDS = 5.0  # without a WELCOME the connection was lost on the way: no monitor says so here
STEP_SECONDS = 120.0  # no step may take longer
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Missing(Exception):
    """Something that had to be is not there."""


# --- a process with many clients ---------------------------------------------------------------------


class Guest:
    """One client: it joins a room, and listens to it and to the news."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: Address, number: int, members: int) -> None:
        self._address = address
        self._core = ClientCore(f"guest-{number}", {}, _nonces())
        room = f"crowd.{number // members}"
        names = [room, f"{NEWS}.*"]
        self._listener = Listener(names, OrderedDelivery(names, Start(), presence=False))
        now = _instant()
        self._core.listen(self._listener, now)
        self._join = self._core.join({room}, now)
        self._dealer = options.client_dealer(context)
        self._sub = options.client_sub(context)
        for each in (self._dealer, self._sub):  # a client of ours dials itself; this one is as short as can be
            each.reconnect_ivl, each.reconnect_ivl_max = 100, 5000
        self._dealer.connect(address.endpoint)
        self._publisher = ""
        self.heard = 0
        self.got = 0  # messages on its SUB
        self.breaks = 0  # of its connection
        self._greeted_at = 0.0

    def descriptors(self) -> list[int]:
        """To be polled; then `turn`."""
        return [int(each.getsockopt(zmq.FD)) for each in (self._dealer, self._sub)]

    @property
    def is_here(self) -> bool:
        """Whether it has joined and is live."""
        return not self._join and self._listener.ordering.is_begun

    def turn(self) -> None:
        """Take all that has come and do what the core says, until nothing comes any more.

        libzmq signals what arrives once, and a send may take the signal: so look again after each one.
        """
        core, now = self._core, _instant()
        if core.state == AWAY and _is_writable(self._dealer):
            self._greeted_at = now.seconds
            core.connected()
        elif core.state == GREETING and now.seconds - self._greeted_at > GREETING_SECONDS:
            self.breaks += 1
            core.disconnected("no answer")
        sent = True
        while sent:
            for frame in _received(self._dealer):
                core.received(frame, now)
            for topic in _received(self._sub):
                core.broadcast(topic, self._sub.recv(), now)
                self.got += 1
            core.elapsed(now)
            sent = self._carry_out(now)

    def _carry_out(self, now: Instant) -> bool:
        core = self._core
        for _, out in core.deliver(now):
            self.heard += sum(isinstance(item, Delivery) and item.room.startswith(NEWS) for item in out)
        if core.welcome is not None:
            publisher = self._address.publisher(Published(core.welcome.publish_port)).endpoint
            if publisher != self._publisher:
                self._sub.connect(publisher)
                self._publisher = publisher
            for subscribes, topic in core.take_subscriptions():
                self._sub.setsockopt(zmq.SUBSCRIBE if subscribes else zmq.UNSUBSCRIBE, topic)
        if any(number == self._join for number, answer in core.take_answers() if isinstance(answer, wire.Done)):
            self._join = 0
        core.take_news()
        sends = core.take_sends()
        try:
            for frame in sends:
                self._dealer.send(frame, zmq.DONTWAIT)
        except zmq.Again:
            self.breaks += 1
            core.disconnected("the connection was lost")
        return bool(sends)


def run_guests(broker: str, members: int, first: int, count: int) -> None:
    """Be `count` clients, and say on stdout when all are here, and when all have heard the news. Until killed.

    Behind each word stands how many messages their SUBs have got.
    """
    raise_descriptor_limit(count * CLIENT_DESCRIPTORS)
    context = options.new_context()
    address = parse(broker)
    print("started", flush=True)
    sys.stdin.readline()
    guests: list[Guest] = []
    by_descriptor: dict[int, Guest] = {}
    epoll = select.epoll()
    coming: list[Guest] = []
    waiting: list[tuple[str, Callable[[], bool]]] = [
        ("here", lambda: len(guests) == count and all(guest.is_here for guest in guests)),
        ("heard", lambda: all(guest.heard == 1 for guest in guests)),
    ]
    look_at = 0.0
    while True:
        coming = [guest for guest in coming if not guest.is_here]
        while len(guests) < count and len(coming) < COMING_MAX:
            guest = Guest(context, address, first + len(guests), members)
            guests.append(guest)
            coming.append(guest)
            for descriptor in guest.descriptors():
                by_descriptor[descriptor] = guest
                epoll.register(descriptor, select.EPOLLIN)
        for guest in {by_descriptor[descriptor] for descriptor, _ in epoll.poll(0.5)}:
            guest.turn()
        if time.monotonic() >= look_at:
            for guest in guests:
                guest.turn()
            look_at = time.monotonic() + 0.5
        while waiting and waiting[0][1]():
            print(waiting.pop(0)[0], sum(guest.got for guest in guests), flush=True)


def _is_writable(socket: zmq.Socket[bytes]) -> bool:
    events = socket.getsockopt(zmq.EVENTS)
    assert isinstance(events, int)
    return bool(events & zmq.POLLOUT)


def _received(socket: zmq.Socket[bytes]) -> Iterator[bytes]:
    while True:
        try:
            frame = socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return
        yield frame


def _nonces() -> Iterator[bytes]:
    while True:
        yield secrets.token_bytes(16)


def _instant() -> Instant:
    return Instant(time.monotonic(), time.time_ns() // 1000)


# --- the course --------------------------------------------------------------------------------------


class Process:
    """A process of ours, and what it says."""

    def __init__(self, arguments: list[str], *, listens: str) -> None:
        piped = {"stdin": subprocess.PIPE, listens: subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, *arguments], **piped)  # type: ignore[call-overload]
        self._said = getattr(self._process, listens)

    def expect(self, pattern: str) -> str:
        """The next line; what the pattern's group matches in it. Raises Missing."""
        ready, _, _ = select.select([self._said], [], [], STEP_SECONDS)
        line = self._said.readline().decode().strip() if ready else "nothing"
        found = re.search(pattern, line)
        if found is None:
            raise Missing(f"waited for {pattern!r}, and there was {line!r}")
        return found.group(found.re.groups)

    def go(self) -> None:
        """Let it go on."""
        self.say("")

    def say(self, line: str) -> None:
        """Tell it something."""
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Of the process."""
        return int(self._process.pid)

    @property
    def resident_bytes(self) -> int:
        """Its memory now."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def end(self, *, kills: bool) -> None:
        """End it and wait for that."""
        if self._process.poll() is None:
            (self._process.kill if kills else self._process.terminate)()
        self._process.wait()


def run(clients: int, processes: int, members: int, folder: Path | None, grace: float) -> dict[str, Any]:
    """The whole course; returns what was measured. Raises Missing."""
    raise_descriptor_limit(SPARE_DESCRIPTORS)
    log = ["--memory"] if folder is None else ["--data", str(folder)]
    command = ["-m", "zchat", "broker", "--no-watch", "--bind", "tcp://127.0.0.1:0"]
    broker = Process([*command, "--grace", str(grace), *log], listens="stderr")
    crowd: list[Process] = []
    try:
        address = broker.expect(r"ready on (\S+)")
        with zchat.connect(address, "host", wait=STEP_SECONDS) as host:
            share = -(-clients // processes)
            for first in range(0, clients, share):
                count = min(share, clients - first)
                arguments = [__file__, "--guests", str(first), str(count), "--broker", address, "--room", str(members)]
                crowd.append(Process(arguments, listens="stdout"))
            for each in crowd:
                each.expect("started")
            return {"room": members} | _measured(host, broker, crowd, clients)
    finally:
        for each in crowd:
            each.end(kills=True)
        broker.end(kills=False)


def _measured(host: zchat.Client, broker: Process, crowd: list[Process], clients: int) -> dict[str, Any]:
    found: dict[str, Any] = {"clients": clients, "processes": len(crowd)}
    broker_before, crowd_before = broker.resident_bytes, sum(each.resident_bytes for each in crowd)
    began = time.monotonic()
    for each in crowd:
        each.go()
    got = [int(each.expect(r"here (\d+)")) for each in crowd]
    found["here_seconds"] = time.monotonic() - began
    found["got_each"] = round(sum(got) / clients, 1)
    present = _until(lambda: _present(host) == clients, "all are registered")
    found["registered_seconds"] = present - began
    found["broker_bytes_each"] = (broker.resident_bytes - broker_before) // clients
    found["client_bytes_each"] = (sum(each.resident_bytes for each in crowd) - crowd_before) // clients
    found["broker_bytes"] = broker.resident_bytes

    began = time.monotonic()
    host.send(f"{NEWS}.today", "hello, all of you")
    for each in crowd:
        each.expect("heard")
    found["heard_seconds"] = time.monotonic() - began

    began = time.monotonic()
    for each in crowd:
        each.end(kills=True)
    _until(lambda: _present(host) == 0, "the registry is empty")
    found["left_seconds"] = _until(lambda: _leaves(host) >= clients, "all leaves are in the log") - began
    found |= _memberships(host)
    if found["memberships"] != clients:
        joined = f"{found['joins']} joins and {found['leaves']} leaves, {found['memberships']} pairs of the two"
        raise Missing(f"of {clients} clients the log has {joined}")
    return found


def _present(host: zchat.Client) -> int:
    return sum(one.session not in ("", host.session_id) for one in host.who())


def _leaves(host: zchat.Client) -> int:
    return sum(message.event == "leave" for message in host.history("crowd.*", presence=True))


def _memberships(host: zchat.Client) -> dict[str, int]:
    """What the log says about who came and went."""
    events: dict[str, list[str]] = {}
    for message in host.history("crowd.*", presence=True):
        events.setdefault(message.session, []).append(message.event)
    counts = Counter(event for each in events.values() for event in each)
    whole = sum(each == ["join", "leave"] for each in events.values())
    return {"joins": counts["join"], "leaves": counts["leave"], "memberships": whole}


def _until(condition: Callable[[], bool], what: str) -> float:
    """Wait for the condition; returns when that was. Raises Missing."""
    deadline = time.monotonic() + STEP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Missing(f"{what}: not within {STEP_SECONDS:g} s")
        time.sleep(0.05)
    return time.monotonic()


def raise_descriptor_limit(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Missing(f"{needed} descriptors are needed, the limit is {hard}: ulimit -n {needed}")
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else needed, hard))


def table(found: dict[str, Any], grace: float) -> str:
    """What people read."""
    rows = [
        ("clients", f"{found['clients']:,} in {found['processes']} processes, each a DEALER and a SUB"),
        ("all are live", f"{found['here_seconds']:.2f} s after the first connects, in rooms of {found['room']:,}"),
        ("until then each", f"got {found['got_each']:,} messages on its SUB"),
        ("all registered", f"{found['registered_seconds']:.2f} s after the first connects"),
        ("all have heard", f"{found['heard_seconds']:.3f} s after one message was sent"),
        ("all have left", f"{found['left_seconds']:.2f} s after the kill -9, grace time {grace:g} s"),
        ("in the log", f"{found['joins']:,} joins, {found['leaves']:,} leaves"),
        ("broker memory", f"{found['broker_bytes_each'] / 1000:.1f} KB per client, "
                          f"{found['broker_bytes'] / 1e6:.0f} MB in all"),
        ("client memory", f"{found['client_bytes_each'] / 1000:.1f} KB each"),
    ]  # fmt: skip
    return "\n".join(f"{name:<15} {text}" for name, text in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="A broker and thousands of clients that come, hear, and are killed.")
    parser.add_argument("--clients", type=int, default=4000, metavar="N")
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="that the clients are spread over")
    parser.add_argument("--room", type=int, default=ROOM_MEMBERS, metavar="N", help="clients that join the same room")
    parser.add_argument("--grace", type=float, default=1.0, metavar="SECONDS", help="of the broker")
    parser.add_argument("--memory", action="store_true", help="the log in memory, and not in a temporary folder")
    parser.add_argument("--json", action="store_true", help="print an object instead of a table")
    parser.add_argument("--guests", type=int, nargs=2, help=argparse.SUPPRESS)  # of this script itself: first, count
    parser.add_argument("--broker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    try:
        if asked.guests:
            run_guests(asked.broker, asked.room, *asked.guests)
        if min(asked.clients, asked.processes, asked.room) < 1:
            parser.error("there is at least one client, one process, and one client in a room")
        with tempfile.TemporaryDirectory(prefix="zchat-crowd-") as name:
            folder = None if asked.memory else Path(name)
            found = run(asked.clients, asked.processes, asked.room, folder, asked.grace)
    except (Missing, zchat.ZchatError) as error:
        print(f"crowd: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found) if asked.json else table(found, asked.grace))
    return 0


if __name__ == "__main__":
    sys.exit(main())
