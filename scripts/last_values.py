#!/usr/bin/env python3
"""last_values.py: how long a newcomer waits for the last message of each room, in a log of many rooms and records.

    .venv/bin/python scripts/last_values.py --records 5000000 --rooms 10000 --folder /var/tmp

Makes the log with make_log.py, and removes it at the end. Each is asked five times, the median and the worst are
printed. Exit status: 0; 1 when an answer is wrong; 2 usage.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import zchat
from zchat.testing import broker

MAKE_LOG = Path(__file__).with_name("make_log.py")
QUESTIONS = 5


def main() -> int:
    """Parse, make, measure, print."""
    parser = argparse.ArgumentParser(description="Measure how long the last message of each room takes.")
    parser.add_argument("--records", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--rooms", type=int, default=10_000, help="that have them in turn (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the log is made; default: the temporary folder")
    wanted = parser.parse_args()
    if not 11 <= wanted.rooms <= wanted.records:
        parser.error("at least 11 rooms, and a record for each")
    with tempfile.TemporaryDirectory(prefix="zchat-last-values-", dir=wanted.folder) as name:
        sizes = ["--records", str(wanted.records), "--rooms", str(wanted.rooms)]
        subprocess.run([sys.executable, str(MAKE_LOG), str(Path(name, "log")), *sizes], check=True)
        with broker("--data", str(Path(name, "log"))) as address, zchat.connect(address, "reader") as client:

            def live(pattern: str, rooms: int) -> int:
                with client.listen(pattern, last_per_room=1) as messages:
                    return len({messages.get(60).room for _ in range(rooms)})

            rows: list[tuple[str, int, Callable[[], int]]] = [
                ("one room, listening", 1, lambda: live("load.7", 1)),
                ("ten rooms", 10, lambda: len(list(client.history(*ten, last_per_room=1)))),
                ("all rooms", wanted.rooms, lambda: len(list(client.history("**", last_per_room=1)))),
                ("all rooms, listening", wanted.rooms, lambda: live("**", wanted.rooms)),
                ("all rooms, listed", wanted.rooms, lambda: sum(1 for room in client.rooms(last=True) if room.message)),
            ]
            ten = [f"load.{number}" for number in range(10)]
            return 0 if all([told(*row) for row in rows]) else 1


def told(name: str, rooms: int, ask: Callable[[], int]) -> bool:
    """Ask, and print how long it took; whether the answer was as long as it should be."""
    took = []
    for _ in range(QUESTIONS):
        began = time.monotonic()
        found = ask()
        took.append(time.monotonic() - began)
    print(f"{name:<22} {median(took) * 1e3:8.1f} ms, worst {max(took) * 1e3:.1f} ms")
    if found != rooms:
        print(f"last_values: {name}: {found} rooms, not {rooms}", file=sys.stderr)
    return found == rooms


if __name__ == "__main__":
    sys.exit(main())
