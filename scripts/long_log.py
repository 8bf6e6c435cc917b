#!/usr/bin/env python3
"""long_log.py: a broker on a log of millions of records: how fast it opens, answers, and takes new ones.

    sudo .venv/bin/python scripts/long_log.py --records 20000000 --folder /var/tmp --cold

Makes the log with make_log.py (20,000,000 records: two minutes and 4.5 GB), and removes it at the end. Publishing is
compared with an empty log's, in turns. Exit status: 0; 1 when an answer is wrong; 2 usage.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median

import zchat

MAKE_LOG = Path(__file__).with_name("make_log.py")
WANTED = 10  # messages of each question
QUESTIONS = 5  # of each kind
ROUNDS = 3  # of publishing
BODY = b"x" * 128


def main() -> int:
    """Parse, make, measure, print."""
    parser = argparse.ArgumentParser(description="Measure a broker on a long log.")
    parser.add_argument("--records", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--publish", type=int, default=400_000, help="messages a round (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the log is made; default: the temporary folder")
    parser.add_argument("--cold", action="store_true", help="drop the kernel's caches before each question (root)")
    wanted = parser.parse_args()
    if wanted.cold and os.geteuid():
        parser.error("--cold takes root")
    if wanted.records < WANTED or wanted.publish < 1:
        parser.error(f"at least {WANTED} records, and one to publish")
    with tempfile.TemporaryDirectory(prefix="zchat-long-log-", dir=wanted.folder) as name:
        long, empty = Path(name, "long"), Path(name, "empty")
        subprocess.run([sys.executable, str(MAKE_LOG), str(long), "--records", str(wanted.records)], check=True)
        if wanted.cold:
            drop_caches()
        began = time.monotonic()
        with broker(long) as address:
            print(f"ready        {time.monotonic() - began:.2f} s after its process was started")
            if not all(answers(address, wanted.records, wanted.cold)):
                return 1
            with broker(empty) as other:
                rates = [(rate(address, wanted.publish), rate(other, wanted.publish)) for _ in range(ROUNDS)]
    into_long, into_empty = (median(column) for column in zip(*rates, strict=True))
    print(
        f"publishing   {into_long:,.0f} msg/s, into an empty log {into_empty:,.0f}: {into_long / into_empty:.2f} times"
    )
    return 0


def answers(address: str, records: int, cold: bool) -> Iterator[bool]:
    """Ask for the first messages from some place on; whether they were the right ones."""
    with zchat.connect(address, "reader") as client:
        middle = records // 2
        (message,) = client.history("load.0", after=middle, limit=1)
        for name, start, first in (
            ("--last", {"last": WANTED}, records - WANTED + 1),
            ("--since", {"since": message.time / 1e6}, middle + 1),
            ("--after", {"after": middle}, middle + 1),
        ):
            took = []
            for _ in range(QUESTIONS):
                if cold:
                    drop_caches()
                began = time.monotonic()
                got = [message.offset for message in islice(client.history("load.0", **start), WANTED)]
                took.append(time.monotonic() - began)
            cache = "cold" if cold else "warm"
            print(f"{name:<12} {median(took) * 1e3:.1f} ms, worst {max(took) * 1e3:.1f} ms, {cache} cache")
            is_right = got == list(range(first, first + len(got))) and bool(got)
            if not is_right:
                print(f"long_log: {name} began with {got[:3]}, not with {first}", file=sys.stderr)
            yield is_right


def rate(address: str, count: int) -> float:
    """Stored messages a second, published in a loop."""
    with zchat.connect(address, "publisher") as client:
        began = time.monotonic()
        for _ in range(count):
            client.publish("fresh", BODY)
        client.flush()
        return count / (time.monotonic() - began)


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Its address."""
    command = [sys.executable, "-m", "zchat", "broker", "--no-watch", "--bind", "tcp://127.0.0.1:0"]
    process = subprocess.Popen([*command, "--data", str(folder)], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield process.stderr.readline().split("ready on ")[1].split()[0]
    finally:
        process.terminate()
        process.wait()


def drop_caches() -> None:
    """Have the kernel forget what it knows of files."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


if __name__ == "__main__":
    sys.exit(main())
