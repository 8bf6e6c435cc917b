#!/usr/bin/env python3
"""torture.py: real processes over real TCP, everything that can break breaks, and every promise is checked.

    .venv/bin/python scripts/torture.py --seconds 60
    .venv/bin/python scripts/torture.py --seconds 900 --seed 7 --faults broker-kill,disk-full --keep /tmp/kept

Writers publish and write down what they sent and what became of it, listeners what they got, workers what they have
done, askers what was answered, planners what is to be sent later; a fault maker kills, stops, cuts and fills. Then all
is calm, everyone catches up, and the journals are checked: every acked message is stored and reached every listener
that asked for it, once and in order, presence adds up, every job was done, and none by two who were alive.
As root it makes network namespaces and a small disk of its own; without, those faults are left out, and it says so.
Exit status: 0; 1 when a promise was broken, with the anomalies and the folder that has all journals; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from trials import cast, faults, histories, places, presence, report, tasks  # noqa: E402
from trials.calm import Calm  # noqa: E402
from trials.commands import Command  # noqa: E402
from trials.places import Disk, Namespaces, Network  # noqa: E402
from trials.processes import Broker, Started  # noqa: E402

from tests.simulation import checker  # noqa: E402

DISK_BYTES, DISK_BYTES_PER_SECOND = 96 << 20, 2 << 20


def main() -> int:
    """Run, check, report."""
    options = _options()
    seed = options.seed if options.seed is not None else random.randrange(1 << 31)
    folder = Path(options.keep or tempfile.mkdtemp(prefix="zchat-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        print(f"torture: {folder} is not empty", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(130))
    print(f"torture: seed {seed}, {options.seconds:g} s, everything in {folder}", file=sys.stderr, flush=True)
    with ExitStack() as stack:
        course = Course(folder, seed, options, stack)
        result = course.run()
    text = report.text(result)
    (folder / "report.txt").write_text(text + "\n")
    print(text)
    if options.json:
        text = json.dumps(report.data(result), indent=2)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    if result.is_good and not options.keep:
        shutil.rmtree(folder)
    return 0 if result.is_good else 1


class Course:
    """One run."""

    def __init__(self, folder: Path, seed: int, options: argparse.Namespace, stack: ExitStack) -> None:
        self._folder, self._seed, self._options, self._stack = folder, seed, options, stack
        self._complaints: list[tuple[str, str, str]] = []
        self.network, disk = _places(folder, options.seconds, stack)
        kinds = [kind for kind in options.faults if kind != "link-cut" or self.network.far]
        self._kinds = [kind for kind in kinds if kind != "disk-full" or disk]
        for kind in sorted(set(options.faults) - set(self._kinds)):
            print(f"torture: without {kind}, which needs root (and `ip` or `mount`)", file=sys.stderr)
        port = places.free_port(self.network)
        data = (disk.folder if disk else folder) / "data"
        args = (*cast.BROKER_ARGS, "--sync", options.sync)
        broker = Broker(folder, self._complain, f"tcp://{self.network.broker_host}:{port}", data, args)
        relay = Started("relay", folder, self._complain)
        actors = cast.enlist(folder, self._complain, self.network, port, seed)
        self._stage = faults.Stage(broker, self.network, disk, relay, actors, self._complain)
        self._port = port

    def run(self) -> report.Result:
        """All of it."""
        stage = self._stage
        for started in (stage.relay, stage.broker, *stage.actors):
            self._stack.callback(started.close)
        if not stage.broker.start():
            raise SystemExit(f"torture: the broker does not start: {stage.broker.output.read_text()}")
        hosts = {"listen": self.network.relay_host, "target": self.network.broker_host, "port": self._port}
        stage.relay.launch([sys.executable, "-m", "trials.relay", json.dumps(hosts)])
        for actor in stage.actors:
            actor.start()
        began = time.monotonic()
        faults.make(stage, self._kinds, self._options.seconds, self._seed)
        tortured = time.monotonic() - began
        calm = Calm(stage, self._folder)
        run = calm.settle()
        for actor in stage.of(*faults.LISTENERS):
            actor.end()
        for actor in stage.of(*faults.LISTENERS):
            actor.ended(0)
        stage.broker.stop()
        events = "".join(f"{micros} {kind} {what}\n" for micros, kind, what in stage.events)
        (self._folder / "faults.txt").write_text(events)
        began = time.monotonic()
        troubles = [(begin, end) for begin, kind, end in faults.spans(stage.events) if kind in faults.TROUBLES]
        for actor in stage.actors:
            if isinstance(actor, Command):
                actor.translate(histories.log_id(run), troubles)
        verdict = checker.check(histories.history(run))
        full = [(begin, end) for begin, kind, end in faults.spans(stage.events) if kind == "disk-full"]
        notes = histories.notes(run, stage.broker.readies, full)
        undone, looked_at = tasks.check(run, stage.events)
        notes.counts.update(looked_at)
        causeless = presence.without_cause(run, stage.events)
        checked = time.monotonic() - began
        complaints = [*self._complaints, *calm.complaints, *notes.complaints, *causeless, *undone]
        return report.Result(
            self._seed, tortured, checked, verdict, complaints, notes, stage.counts, stage.broker, self._folder
        )

    def _complain(self, kind: str, where: str, what: str) -> None:
        self._complaints.append((kind, where, what))


def _places(folder: Path, seconds: float, stack: ExitStack) -> tuple[Network, Disk | None]:
    network, disk = Network(), None
    if os.geteuid() == 0:
        with suppress(OSError, subprocess.CalledProcessError):
            network = Namespaces()
        stack.callback(network.close)
        with suppress(OSError, subprocess.CalledProcessError):
            disk = Disk(folder / "disk", int(DISK_BYTES + seconds * DISK_BYTES_PER_SECOND))
            stack.callback(disk.close)
    return network, disk


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog=f"faults: {', '.join(faults.KINDS)}"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults are made (default 60)")
    parser.add_argument("--seed", type=int, help="of what is drawn; the same faults in the same order")
    parser.add_argument("--faults", type=_kinds, default=list(faults.KINDS), metavar="KIND,KIND", help="only these")
    parser.add_argument("--sync", choices=("full", "normal"), default="full", help="of the broker")
    parser.add_argument("--keep", metavar="DIR", help="an empty folder for all files, which stay")
    parser.add_argument("--json", metavar="FILE", help="the report as JSON, `-` for stdout")
    return parser.parse_args()


def _kinds(text: str) -> Any:
    kinds = text.split(",") if text else []
    for kind in kinds:
        if kind not in faults.KINDS:
            raise argparse.ArgumentTypeError(f"no fault {kind}; there are {', '.join(faults.KINDS)}")
    return kinds


if __name__ == "__main__":
    sys.exit(main())
