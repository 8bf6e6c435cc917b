#!/usr/bin/env python3
"""rotating.py: a broker's own key is changed, again and again, while clients publish and listen.

    .venv/bin/python scripts/rotating.py --clients 20 --times 10

Each client publishes numbers to a room of its own and listens to it. It prints how long after `zchat keys server
switch` each client has its next message, and whether any is lost, came twice, or out of order.
Exit status: 0; 1 when something was lost; 2 usage.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from zchat.address import parse
from zchat.client import Client
from zchat.errors import TimedOut
from zchat.key_folder import SERVER, KeyFolder
from zchat.keys import Credentials, Grant
from zchat.sockets.client import Connection
from zchat.sockets.curve import new_pair

SECONDS = 60.0
PAUSE = 0.002  # between two messages of a client
LOOK_SECONDS = 1.0
ZCHAT = (sys.executable, "-m", "zchat")


class Talker:
    """A client that publishes and listens."""

    def __init__(self, address: str, name: str, credentials: Credentials) -> None:
        self.credentials = credentials
        connection = Connection(parse(address), name, {}, None, None, credentials)
        connection.start(SECONDS)
        self.client = Client(connection)
        self.messages = self.client.listen(name)
        self.name = name
        self.sent = 0
        self.came: list[int] = []
        self.waits: list[float] = []

    def publish(self, stop: threading.Event) -> None:
        """Until then."""
        while not stop.wait(PAUSE):
            self.client.send(self.name, str(self.sent))
            self.sent += 1

    def listen(self, stop: threading.Event) -> None:
        """The longest pause between two messages is what a change costs."""
        last = time.monotonic()
        while not stop.is_set() or len(self.came) < self.sent:
            try:
                self.came.append(int(self.messages.get(LOOK_SECONDS).text))
            except TimedOut:
                if stop.is_set() and time.monotonic() - last > SECONDS:
                    return
                continue
            now = time.monotonic()
            self.waits.append(now - last)
            last = now


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"rotating.py: {what}: not within {SECONDS:g} s")
        time.sleep(0.01)


def main() -> int:
    """Run it."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--clients", type=int, default=20)
    options.add_argument("--times", type=int, default=10)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="zchat-") as folder:
        keys = KeyFolder(Path(folder, "keys"))
        said = Path(folder, "stderr")
        words = ("broker", "--bind", "tcp://127.0.0.1:25571", "--keys", str(keys.folder), "--data", f"{folder}/log")
        with said.open("wb") as stderr, subprocess.Popen([*ZCHAT, *words], stderr=stderr) as broker:
            try:
                until(lambda: b"ready on" in said.read_bytes(), "the broker is ready")
                return measured(keys, said, asked.clients, asked.times)
            finally:
                broker.terminate()


def measured(keys: KeyFolder, said: Path, clients: int, times: int) -> int:
    """All of it, with a broker that runs."""
    own = keys.pair(SERVER)
    assert own is not None
    pairs = [new_pair() for _ in range(clients)]
    with keys.locked():
        for number, pair in enumerate(pairs):
            keys.set_user(pair.public, Grant(f"user{number}"))
    until(lambda: b"event=keys-changed" in said.read_bytes(), "the broker has seen them")
    talkers = [
        Talker("tcp://127.0.0.1:25571", f"user{number}", Credentials(pair, [own.public]))
        for number, pair in enumerate(pairs)
    ]
    stop = threading.Event()
    threads = [threading.Thread(target=each, args=(stop,)) for one in talkers for each in (one.publish, one.listen)]
    for thread in threads:
        thread.start()
    longest: list[float] = []
    ready: list[float] = []
    try:
        for _ in range(times):
            key = server(keys, "next")
            until(lambda key=key: all(key in one.credentials.servers for one in talkers), "all are told")  # type: ignore[misc]
            for one in talkers:
                one.waits.clear()
            began, starts = time.monotonic(), said.read_bytes().count(b"ready on")
            server(keys, "switch")
            until(lambda starts=starts: said.read_bytes().count(b"ready on") > starts, "the broker is back")  # type: ignore[misc]
            ready.append(time.monotonic() - began)
            until(lambda key=key: all(one.credentials.servers == [key] for one in talkers), "all are back")  # type: ignore[misc]
            counts = [len(one.came) for one in talkers]
            until(lambda: all(len(one.came) > count for one, count in zip(talkers, counts, strict=True)), "they go on")  # noqa: B023
            longest += [max(one.waits) for one in talkers]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    whole = all(one.came == list(range(one.sent)) for one in talkers)
    total = sum(one.sent for one in talkers)
    how = "all came once, in order" if whole else "NOT all came once, in order"
    print(f"{times} changes of the broker's key, {clients} clients, {total:,} messages: {how}")
    print(f"the broker is ready again {median(ready):.2f} s after `zchat keys server switch` began (median)")
    print(f"pause between two messages of a client: {median(longest):.2f} s median, {max(longest):.2f} s at most")
    for one in talkers:
        one.client.close()
    return 0 if whole else 1


def server(keys: KeyFolder, what: str) -> str:
    """`zchat keys server WHAT`."""
    words = ("keys", "server", what, "--keys", str(keys.folder))
    return subprocess.run([*ZCHAT, *words], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
