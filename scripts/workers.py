#!/usr/bin/env python3
"""workers.py: workers of one group, one of which is killed every second: is each job done, and none by two at once?

    .venv/bin/python scripts/workers.py
    .venv/bin/python scripts/workers.py --jobs 20000 --workers 3 --between 0.5 --json -

The jobs are sent while they are done. Each worker is a process that notes what it takes and what it has done; one that
was killed is followed by another. A job that was taken and not done by the time its worker was killed is done again by
another, which has to be told that it is not the first. Nobody may take what another has who is alive.
Exit status: 0; 1 when a job was not done, or was with two at once; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import zchat  # noqa: E402
from tests.simulation.tasks import Taken, jobs  # noqa: E402
from zchat.testing import broker  # noqa: E402

ROOM, GROUP = "jobs", "workers"
WAIT_SECONDS = 300.0


class Worker:
    """A worker process and its journal."""

    def __init__(self, address: str, folder: Path, number: int, in_flight: int) -> None:
        self.journal = folder / f"worker-{number}"
        self.killed = 0.0
        command = [sys.executable, __file__, "--work", address, str(self.journal), str(in_flight)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """As a power cut does."""
        self.process.kill()
        self.process.wait()
        self.killed = time.monotonic()

    def taken(self) -> list[Taken]:
        """What it took."""
        found: dict[int, list[Any]] = {}
        order: list[list[Any]] = []
        for line in self.journal.read_text().splitlines() if self.journal.exists() else []:
            what, offset, deliveries, at = line.split()
            if what == "take":
                found[int(offset)] = row = [int(offset), int(deliveries), float(at), self.killed or float("inf"), False]
                order.append(row)
            else:
                found[int(offset)][3:] = [float(at), True]
        return [Taken(*row) for row in order]


def main() -> int:
    """Run, print, judge."""
    if sys.argv[1:2] == ["--work"]:
        return work(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200_000, help="how many (default 200,000)")
    parser.add_argument("--workers", type=int, default=5, help="processes at a time (default 5)")
    parser.add_argument("--between", type=float, default=1.0, help="seconds between two kills (default 1)")
    parser.add_argument("--in-flight", type=int, default=100, help="jobs that a worker has at a time (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="which worker is killed when (default 1)")
    parser.add_argument("--json", metavar="FILE", help="the report as JSON, `-` for stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zchat-workers-") as folder, broker("--data", folder) as address:
        found, complaints = run(address, Path(folder), options)
    print(", ".join(f"{value:,} {name}" for name, value in found.items()))
    for complaint in complaints:
        print(f"workers: {complaint}")
    if options.json:
        text = json.dumps({**found, "complaints": complaints}, indent=2)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    return 1 if complaints else 0


def work(address: str, journal: str, in_flight: str) -> int:
    """One worker, until it is killed."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with zchat.connect(address, f"worker-{os.getpid()}") as client:
        mine = client.listen(ROOM, group=GROUP, max_in_flight=int(in_flight), ack_wait=600.0, max_deliveries=0)
        for job in mine:
            deliveries = job.deliveries if isinstance(job, zchat.Job) else 0
            os.write(descriptor, b"take %d %d %.6f\n" % (job.offset, deliveries, time.monotonic()))
            os.write(descriptor, b"done %d %d %.6f\n" % (job.offset, deliveries, time.monotonic()))
    return 0


def run(address: str, folder: Path, options: argparse.Namespace) -> tuple[dict[str, int], list[str]]:
    """Send, kill, wait until all is done."""
    chance, began, number = Random(options.seed), time.monotonic(), options.workers
    with zchat.connect(address, "boss") as boss:
        boss.set_group(ROOM, GROUP, 0)
        workers = [Worker(address, folder, each, options.in_flight) for each in range(options.workers)]
        live = list(workers)
        sender = threading.Thread(target=send, args=(boss, options.jobs), daemon=True)
        sender.start()
        kill_at, last = began + options.between, 0
        while time.monotonic() < began + WAIT_SECONDS:
            (group,) = boss.groups(ROOM, GROUP)
            if not sender.is_alive():
                last = last or boss.send(ROOM, "the last one")
                if group.low >= last:
                    break
            if time.monotonic() >= kill_at:
                kill_at += options.between
                victim = live.pop(chance.randrange(len(live)))
                victim.kill()
                workers.append(Worker(address, folder, number, options.in_flight))
                live.append(workers[-1])
                number += 1
            time.sleep(0.02)
        for worker in live:
            worker.process.kill()
            worker.process.wait()
        offsets = {message.offset for message in boss.history(ROOM)}
        found = {"jobs": len(offsets), "kills": number - options.workers, "redelivered": group.redelivered}
    return judge(found, offsets, [taken for worker in workers for taken in worker.taken()])


def send(boss: zchat.Client, count: int) -> None:
    """All jobs."""
    for number in range(count):
        boss.publish(ROOM, b"job %d" % number)
    boss.flush()


def judge(found: dict[str, int], offsets: set[int], taken: list[Taken]) -> tuple[dict[str, int], list[str]]:
    """What is wrong."""
    found["taken"], found["again"] = len(taken), sum(each.deliveries > 1 for each in taken)
    return found, [f"{kind}: {where}: {what}" for kind, where, what in jobs(offsets, taken)]


if __name__ == "__main__":
    sys.exit(main())
