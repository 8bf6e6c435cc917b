#!/usr/bin/env python3
"""gateway.py: thousands of users over one connection, beside clients that have sockets of their own.

    .venv/bin/python scripts/gateway.py --sessions 10000 --clients 500

A broker, and a process with one connection and a session for each user, which all listen to one room; then another
broker, and a process with a client for each user. Of each it prints how long the users take to begin and to join, the
memory that each costs on either side, and how long one message takes to all of them and to one.
Exit status: 0; 1 when anything is missing; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from crowd import STEP_SECONDS, Missing, Process, raise_descriptor_limit

import zchat

LOBBY, ALONE = "lobby", "alone"
AT_ONCE = 64  # threads that begin sessions, so that many joins are kept by one commit
MESSAGES = 5  # of each kind; the median counts
CLIENT_DESCRIPTORS = 24  # sockets, their monitors and wake-ups
SAID = r"^(\w+) ([\d.]+)$"


# --- a process with many users -----------------------------------------------------------------------


def run_users(broker: str, count: int, *, shares: bool) -> None:
    """Be so many users, over one connection if it `shares`: each step once stdin has a line, and then what it took."""
    raise_descriptor_limit(CLIENT_DESCRIPTORS * (1 if shares else count) + 200)
    gate = zchat.connect(broker, "gate", wait=STEP_SECONDS) if shares else None

    def begin(number: int) -> zchat.Client:
        if gate is not None:
            return gate.session(f"user-{number}", wait=STEP_SECONDS)
        return zchat.connect(broker, f"user-{number}", wait=STEP_SECONDS)

    _say("ready", 0.0)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        began = _go_on()
        clients = list(pool.map(begin, range(count)))
        _say("begun", time.monotonic() - began)
        began = _go_on()
        heard = list(pool.map(lambda client: client.listen(LOBBY, timeout=STEP_SECONDS), clients))
        alone = clients[0].listen(ALONE)
        _say("joined", time.monotonic() - began)
    _go_on()
    for subscriptions in (heard, [alone]):
        for _ in range(MESSAGES):
            sent = [float(messages.get(STEP_SECONDS).text) for messages in subscriptions]
            _say("heard", time.monotonic() - sent[0])
    began = _go_on()
    for client in clients if gate is None else [gate]:
        client.close(STEP_SECONDS)
    _say("left", time.monotonic() - began)


def _say(word: str, seconds: float) -> None:
    print(word, f"{seconds:.6f}", flush=True)


def _go_on() -> float:
    """Once it is told to. Returns when that was."""
    sys.stdin.readline()
    return time.monotonic()


# --- the course --------------------------------------------------------------------------------------


def run(count: int, folder: Path | None, *, shares: bool) -> dict[str, Any]:
    """The whole course with so many users; returns what was measured. Raises Missing."""
    log = ["--memory"] if folder is None else ["--data", str(folder)]
    broker = Process(["-m", "zchat", "broker", "--no-watch", "--bind", "tcp://127.0.0.1:0", *log], listens="stderr")
    users: Process | None = None
    try:
        address = broker.expect(r"ready on (\S+)")
        kind = "--users" if not shares else "--channels"
        users = Process([__file__, kind, str(count), "--broker", address], listens="stdout")
        users.expect("ready")
        with zchat.connect(address, "host", wait=STEP_SECONDS) as host:
            return _measured(host, broker, users, count)
    finally:
        if users is not None:
            users.end(kills=True)
        broker.end(kills=False)


def _measured(host: zchat.Client, broker: Process, users: Process, count: int) -> dict[str, Any]:
    before = broker.resident_bytes, users.resident_bytes
    users.go()
    found: dict[str, Any] = {"users": count, "begun_seconds": float(users.expect(SAID))}
    users.go()
    found["joined_seconds"] = float(users.expect(SAID))
    after = broker.resident_bytes, users.resident_bytes
    found["broker_bytes_each"], found["user_bytes_each"] = (
        (then - first) // count for then, first in zip(after, before, strict=True)
    )
    found["broker_bytes"], found["users_bytes"] = after
    members = len(host.who(LOBBY))
    if members != count:
        raise Missing(f"{members} are in the room, and {count} have joined")
    users.go()
    for name, room in (("to_all_seconds", LOBBY), ("to_one_seconds", ALONE)):
        took = []
        for _ in range(MESSAGES):
            host.send(room, f"{time.monotonic():.6f}")
            took.append(float(users.expect(SAID)))
        found[name] = median(took)
    users.go()
    found["left_seconds"] = float(users.expect(SAID))
    return found


def table(courses: dict[str, dict[str, Any]]) -> str:
    """What people read."""
    rows: list[tuple[str, str]] = [
        ("begun", "{begun_seconds:.2f} s"),
        ("all in one room", "{joined_seconds:.2f} s"),
        ("broker memory", "{broker_kb:.1f} kB each"),
        ("client memory", "{user_kb:.1f} kB each"),
        ("one message to all", "{to_all:.1f} ms"),
        ("one message to one", "{to_one:.2f} ms"),
        ("all have left", "{left_seconds:.2f} s"),
    ]
    lines = [" " * 20 + "".join(f"{name:>28}" for name in courses)]
    for label, form in rows:
        cells = []
        for found in courses.values():
            shown = found | {
                "broker_kb": found["broker_bytes_each"] / 1000,
                "user_kb": found["user_bytes_each"] / 1000,
                "to_all": found["to_all_seconds"] * 1000,
                "to_one": found["to_one_seconds"] * 1000,
            }
            cells.append(f"{form.format(**shown):>28}")
        lines.append(f"{label:<20}" + "".join(cells))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Users over one connection, beside clients with sockets of their own.")
    parser.add_argument("--sessions", type=int, default=10_000, metavar="N", help="over one connection; 0: none")
    parser.add_argument("--clients", type=int, default=500, metavar="N", help="with sockets of their own; 0: none")
    parser.add_argument("--memory", action="store_true", help="the log in memory, and not in a temporary folder")
    parser.add_argument("--json", action="store_true", help="print an object instead of a table")
    parser.add_argument("--channels", type=int, help=argparse.SUPPRESS)  # of this script itself
    parser.add_argument("--users", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--broker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.broker:
        run_users(asked.broker, asked.channels or asked.users, shares=bool(asked.channels))
        return 0
    if min(asked.sessions, asked.clients) < 0 or not asked.sessions + asked.clients:
        parser.error("there is at least one user")
    courses: dict[str, dict[str, Any]] = {}
    try:
        for count, shares, name in ((asked.sessions, True, "sessions"), (asked.clients, False, "clients")):
            if count:
                with tempfile.TemporaryDirectory(prefix="zchat-gateway-") as folder:
                    courses[f"{count:,} {name}"] = run(count, None if asked.memory else Path(folder), shares=shares)
    except (Missing, zchat.ZchatError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    print(json.dumps(courses) if asked.json else table(courses))
    return 0


if __name__ == "__main__":
    sys.exit(main())
