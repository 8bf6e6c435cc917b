#!/usr/bin/env python3
"""servers.py: servers of one room, one of which is killed every second: is every request answered, or told why not?

    .venv/bin/python scripts/servers.py
    .venv/bin/python scripts/servers.py --seconds 5 --servers 2 --between 0.5 --json -

Each server is a process; one that was killed is followed by another. Askers ask one request after the other, half of
them so that another server is asked where one dies. Each request has to end within its timeout: with the right reply,
or with a code that says what became of it.
Exit status: 0; 1 when a request had no end, a wrong one, or a late one; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from trials.askers import ask  # noqa: E402
from trials.servers import answer  # noqa: E402

import zchat  # noqa: E402
from tests.simulation.tasks import Asked, requests  # noqa: E402
from zchat.testing import broker  # noqa: E402

ROOM = "ask"
SLACK_SECONDS = 2.0  # beyond a request's timeout, where the cores are taken


def main() -> int:
    """Run, print, judge."""
    if sys.argv[1:2] == ["--serve"]:
        return serve(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (default 30)")
    parser.add_argument("--servers", type=int, default=3, help="processes at a time (default 3)")
    parser.add_argument("--askers", type=int, default=4, help="threads that ask (default 4)")
    parser.add_argument("--between", type=float, default=1.0, help="seconds between two kills (default 1)")
    parser.add_argument("--timeout", type=float, default=2.0, help="of a request, in seconds (default 2)")
    parser.add_argument("--seed", type=int, default=1, help="which server is killed when (default 1)")
    parser.add_argument("--json", metavar="FILE", help="the report as JSON, `-` for stdout")
    options = parser.parse_args()
    with broker("--memory") as address:
        asked, kills = run(address, options)
    wrong = requests(asked, SLACK_SECONDS)
    errors = Counter(each.error for each in asked if each.error)
    slowest = max((each.seconds or 0.0 for each in asked), default=0.0)
    found = {"requests": len(asked), "replies": len(asked) - errors.total(), "kills": kills, "errors": dict(errors)}
    print(", ".join(f"{name} {value}" for name, value in {**found, "slowest": f"{slowest:.2f} s"}.items()))
    for anomaly in wrong:
        print(f"servers: {anomaly.kind}: {anomaly.where}: {anomaly.what}")
    if options.json:
        text = json.dumps(
            {**found, "slowest_seconds": round(slowest, 3), "complaints": list(map(list, wrong))}, indent=2
        )
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    return 1 if wrong or not found["replies"] else 0


def serve(address: str) -> int:
    """One server, until it is killed."""
    with zchat.connect(address, "server") as client, client.serve(ROOM, answer) as service:
        print("ready", flush=True)
        service.wait()
    return 0


def start(address: str) -> subprocess.Popen[bytes]:
    """A server process, which takes requests when it says so."""
    return subprocess.Popen([sys.executable, __file__, "--serve", address], stdout=subprocess.PIPE)


def run(address: str, options: argparse.Namespace) -> tuple[list[Asked], int]:
    """Ask, kill, and wait until all that was asked has ended."""
    chance, kills = Random(options.seed), 0
    servers = [start(address) for _ in range(options.servers)]
    over, asked = threading.Event(), [list[Asked]() for _ in range(options.askers)]
    try:
        for server in servers:
            assert server.stdout is not None and server.stdout.readline(), "it serves"
        threads = [
            threading.Thread(target=asks, args=(address, number, options.timeout, over, asked[number]), daemon=True)
            for number in range(options.askers)
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + options.seconds
        while time.monotonic() + options.between < end:
            time.sleep(options.between)
            victim = servers.pop(chance.randrange(len(servers)))
            victim.kill()
            victim.wait()
            kills += 1
            servers.append(start(address))
        over.set()
        for thread in threads:
            thread.join(options.timeout + 10 * SLACK_SECONDS)
    finally:
        for server in servers:
            server.kill()
            server.wait()
    return [each for those in asked for each in those], kills


def asks(address: str, number: int, timeout: float, over: threading.Event, asked: list[Asked]) -> None:
    """One asker. What it asks is in the list before it has ended."""
    with zchat.connect(address, f"asker-{number}") as client:
        count = 0
        while not over.is_set():
            count += 1
            what = f"{number} {count}"
            asked.append(Asked(what, timeout, None))
            began = time.monotonic()
            error, is_right = ask(client, ROOM, what.encode(), timeout, retry=bool(number % 2))
            asked[-1] = Asked(what, timeout, time.monotonic() - began, error, is_right)


if __name__ == "__main__":
    sys.exit(main())
