#!/usr/bin/env python3
"""floods.py: what one good client feels while strangers flood a broker, what that costs, and how soon it is over.

    .venv/bin/python scripts/floods.py
    .venv/bin/python scripts/floods.py --only tiny,endless --seconds 10 --json -
    .venv/bin/python scripts/floods.py --limits

With --limits each kind runs into one limit, of a broker where that is low, at a rate at which a client may well ask;
told is the good client's p99 before and meanwhile, and how often the limit was met. Handshakes are
those of strangers at a broker with keys; the good client has one.

For each kind a new broker on loopback, with a log of its own in a temporary folder. A good client sends, waits for the
ack and asks something, every 20 ms; then the flood comes for some seconds and leaves all at once. Told are the time
of the good client's answers meanwhile, the most memory that the broker had, what its folder grew by, and how long
after the flood it took until no answer was slow and the broker at rest.
Exit status: 0; 1 when a broker ended or an answer never came; with --goals also when a goal is missed; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from attacks import meters  # noqa: E402
from attacks.kinds import KINDS, NOTHING, RATE, ROOMS_10K, TOGETHER, Log  # noqa: E402
from attacks.knocking import Knocks  # noqa: E402
from attacks.limits import EVERY, LIMITS  # noqa: E402
from fuzzing.holders import Holders  # noqa: E402
from trials.journal import lines  # noqa: E402
from trials.places import Network, free_port  # noqa: E402
from trials.processes import Actor, Broker, limited  # noqa: E402

import zchat  # noqa: E402

GOOD = "good"  # whose key the good client has, where a broker has keys; it speaks for others too
CALM_SECONDS = 1.0  # before the flood
LOOK_SECONDS = 0.02
CPU_SECONDS = 0.25  # over which the broker's work is measured,
REST_SHARE = 0.5  # and below which it is at rest
SLOW_SECONDS = 0.1
QUIET_SECONDS = 1.5  # so long must nothing be slow
BACK_SECONDS_MAX = 30.0  # then it is told as more
MEMORY_BYTES_MAX = 4 << 30  # above it the broker is killed: the machine has other work
GOAL_WORST, GOAL_P99, GOAL_BACK, GOAL_BYTES = 1.0, 0.1, 2.0, 600_000_000


class Flood:
    """One kind, from an empty folder to a row."""

    def __init__(self, name: str, folder: Path, options: argparse.Namespace, stack: ExitStack) -> None:
        self._kinds = list(KINDS) if name == TOGETHER else [name]
        self._name, self._options, self._folder = name, options, folder
        self.complaints: list[str] = []
        network = Network()
        port = free_port(network)
        self._address = f"tcp://{network.broker_host}:{port}"
        self._place = [network.broker_host, port, port + 1]
        self._data = folder / "data"
        limits = {} if name == TOGETHER else EVERY[name].limits
        is_keyed = name != TOGETHER and any(isinstance(source, Knocks) for source in EVERY[name].sources)
        self._holders = Holders(folder) if is_keyed else None
        keys = () if self._holders is None else ("--keys", str(self._holders.keys))
        self._broker = Broker(folder, self._complain, self._address, self._data, (*limited(folder, limits), *keys))
        self._calm_seconds = options.seconds if limits else CALM_SECONDS
        gauge = {"address": self._address, "room": "good"}
        prefix = () if self._holders is None else self._holders.prefix(GOOD)
        self._gauge = Actor("gauge", "attacks.gauge", gauge, folder, self._complain, prefix)
        self._flooder = Actor("flooder", "attacks.flooder", {}, folder, self._complain, ())
        for started in (self._broker, self._gauge, self._flooder):
            stack.callback(started.close)

    def run(self) -> dict[str, Any]:
        """The measurement."""
        make_log(ROOMS_10K if self._name == TOGETHER else EVERY[self._name].log, self._data)
        if not self._broker.start():
            raise SystemExit(f"floods: the broker does not start: {self._broker.output.read_text()}")
        pid, server = self._broker.pid, ""
        os.environ.pop("ZCHAT_CONFIG", None)  # of the kind before
        if self._holders is not None:
            self._holders.join(GOOD, self._address, "--gateway", "*")
            os.environ["ZCHAT_CONFIG"] = str(self._holders.profile(GOOD))
            _, server = self._holders.fuzzers()
        self._gauge.start()
        self._gauge.said("ready")
        rate = RATE if self._name == TOGETHER else EVERY[self._name].rate
        with zchat.connect(self._address, "looker") as client:
            log_id = client.log_id
        self._flooder.start(kinds=self._kinds, place=self._place, rate=rate, log_id=log_id, server=server)
        self._flooder.said("ready")
        calm = time.monotonic()
        time.sleep(self._calm_seconds)
        disk_before = meters.disk_bytes(self._data)
        began = time.monotonic()
        self._flooder.tell("go")
        alive = self._watch(pid, began + self._options.seconds)
        self._flooder.end()
        self._flooder.ended(0)
        left = time.monotonic()
        sent = json.loads(self._flooder.said(r"^\{.*\}$").group())
        peak = meters.peak_bytes(pid)
        disk = meters.disk_bytes(self._data) - disk_before
        back = self._back(pid, left) if alive else None
        peak = max(peak, meters.peak_bytes(pid))
        waits = self._waits(began, left)
        met = self._met() if alive and self._name in LIMITS else {}  # after others this address may be let in no more
        found = {
            "kind": self._name,
            "connections": sent.get("connections", 0),
            "cut_off": sent.get("cut off", 0),
            "bytes_per_second": sent.get("bytes", 0) / sent["seconds"],
            "answers": len(waits),
            "p99_before": at(self._waits(calm, began), 0.99),
            "met": met.get(self._name, 0),
            "p50": at(waits, 0.5),
            "p99": at(waits, 0.99),
            "worst": waits[-1] if waits else None,
            "peak_bytes": peak,
            "disk_bytes": disk,
            "back_seconds": back,
        }
        self._end(back is not None)
        return found

    def _met(self) -> dict[str, int]:
        with zchat.connect(self._address, "looker") as client:
            return client.limits_met()

    def _watch(self, pid: int, until: float) -> bool:
        """Whether the broker lived through it."""
        process = self._broker.process
        assert process is not None
        while time.monotonic() < until:
            if process.poll() is not None:
                said = self._broker.output.read_text(errors="replace")
                self.complaints.append(f"the broker ended with {process.returncode}: {said[:500]}")
                return False
            if meters.read(pid).resident_bytes > MEMORY_BYTES_MAX:
                self.complaints.append(f"the broker took more than {MEMORY_BYTES_MAX >> 30} GB and was killed")
                process.kill()
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def _back(self, pid: int, left: float) -> float | None:
        """Seconds until nothing was slow and the broker at rest; None: not as long as it was waited for."""
        last = left
        cpu, cpu_at = meters.read(pid).cpu_seconds, left
        while (now := time.monotonic()) < left + BACK_SECONDS_MAX:
            if now - last > QUIET_SECONDS:
                return last - left
            if now - cpu_at >= CPU_SECONDS:
                before, cpu = cpu, meters.read(pid).cpu_seconds
                if (cpu - before) / (now - cpu_at) > REST_SHARE:
                    last = now
                cpu_at = now
            for began, seconds in self._answers(now):
                if seconds > SLOW_SECONDS:
                    last = max(last, began + seconds)
            time.sleep(LOOK_SECONDS)
        return None

    def _answers(self, now: float) -> list[tuple[float, float]]:
        """When the good client began to wait, and how long; of the last one so far."""
        found = []
        waiting: float | None = None
        for kind, *fields in lines(self._gauge.journals[-1]):
            if kind == "B":
                waiting = float(fields[0])
            elif kind in "AF":
                found.append((float(fields[1]), float(fields[2])))
                waiting = None
        if waiting is not None:
            found.append((waiting, now - waiting))
        return found

    def _waits(self, began: float, left: float) -> list[float]:
        """How long the answers took that were wanted while it was flooded."""
        now = time.monotonic()
        return sorted(seconds for at, seconds in self._answers(now) if at <= left and at + seconds >= began)

    def _end(self, is_back: bool) -> None:
        process = self._broker.process
        assert process is not None
        failures = [" ".join(fields) for kind, *fields in lines(self._gauge.journals[-1]) if kind == "F"]
        if failures:
            self.complaints.append(f"{len(failures)} answers never came: {failures[0]}")
        if process.poll() is not None:
            return
        if is_back:
            self._gauge.end()
            self._gauge.ended(0)
            said = json.loads(self._gauge.said(r"^\{.*\}$").group())
            if said["heard"] != said["sent"] or said["wrong"] or said["foreign"]:
                self.complaints.append(f"the good client heard what it sent not once and in order: {said}")
            self._broker.stop()
        else:
            self.complaints.append(f"not back to normal within {BACK_SECONDS_MAX:g} s")

    def _complain(self, kind: str, where: str, what: str) -> None:
        self.complaints.append(f"{kind}: {where}: {what}")


def make_log(log: Log, folder: Path) -> None:
    """What is there before."""
    if log == NOTHING:
        return
    sizes = ("--records", str(log.records), "--rooms", str(log.rooms), "--bytes", str(log.body_bytes))
    command = [sys.executable, str(Path(__file__).with_name("make_log.py")), str(folder), *sizes]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=None)


def at(times: list[float], share: float) -> float | None:
    """Of sorted times."""
    return times[min(len(times) - 1, int(len(times) * share))] if times else None


def is_good(found: dict[str, Any]) -> bool:
    """Whether all goals are met."""
    figures = (found["worst"], found["p99"], found["back_seconds"])
    if None in figures or found["complaints"]:
        return False
    worst, p99, back = figures
    return bool(worst < GOAL_WORST and p99 < GOAL_P99 and back < GOAL_BACK and found["peak_bytes"] < GOAL_BYTES)


HEAD = "| kind | what | sent | cut off | p50 | p99 | worst | memory | disk | back after |\n" + "| --- " * 10 + "|"


LIMITS_HEAD = "| limit | what | met | p99 before | p99 meanwhile | ratio |\n" + "| --- " * 6 + "|"


def row(found: dict[str, Any]) -> str:
    """Of the table."""
    name = found["kind"]
    what = "all of these together" if name == TOGETHER else EVERY[name].what
    if name in LIMITS:
        before, p99 = found["p99_before"], found["p99"]
        ratio = f"{p99 / before:.1f}" if before and p99 else "–"
        limit = (f"`{name}`", what, f"{found['met']:,}", milliseconds(before), milliseconds(p99), ratio)
        return f"| {' | '.join(limit)} |"
    back = found["back_seconds"]
    cells = [
        f"`{name}`",
        what,
        f"{found['bytes_per_second'] / 1e6:,.1f} MB/s",
        f"{found['cut_off']:,}",
        *(milliseconds(found[each]) for each in ("p50", "p99", "worst")),
        f"{found['peak_bytes'] / 1e6:,.0f} MB",
        f"{max(0, found['disk_bytes']) / 1e6:,.0f} MB",
        f"> {BACK_SECONDS_MAX:g} s" if back is None else f"{back:.1f} s",
    ]
    return f"| {' | '.join(cells)} |"


def milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:,.0f} ms" if seconds >= 0.0095 else f"{seconds * 1000:.1f} ms"


def main() -> int:
    """Run, print, judge."""
    options = _options()
    results = []
    print(LIMITS_HEAD if set(options.only) <= set(LIMITS) else HEAD, flush=True)
    for name in options.only:
        folder = Path(tempfile.mkdtemp(prefix="zchat-floods-", dir=options.folder))
        with ExitStack() as stack:
            flood = Flood(name, folder, options, stack)
            found = flood.run()
        found["complaints"] = flood.complaints
        results.append(found)
        print(row(found), flush=True)
        for complaint in flood.complaints:
            print(f"floods: {name}: {complaint}", file=sys.stderr, flush=True)
        if options.keep:
            print(f"floods: {name}: everything in {folder}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder)
    if options.json:
        data = json.dumps(results, indent=2)
        print(data) if options.json == "-" else Path(options.json).write_text(data + "\n")
    bad = [found["kind"] for found in results if found["complaints"] or (options.goals and not is_good(found))]
    if bad:
        print(f"floods: BROKEN: {', '.join(bad)}", file=sys.stderr)
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    names = [*KINDS, TOGETHER]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], epilog=f"kinds: {', '.join(names)}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", type=_kinds, default=names, metavar="KIND,KIND", help="only these, or these limits")
    which.add_argument("--limits", action="store_true", help="the kinds that run into one limit each, instead")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each flood (default 5)")
    parser.add_argument("--goals", action="store_true", help="a goal that is missed is a failure")
    parser.add_argument("--folder", type=Path, help="where the logs are; default: the temporary folder")
    parser.add_argument("--keep", action="store_true", help="the files stay")
    parser.add_argument("--json", metavar="FILE", help="the figures as JSON, `-` for stdout")
    options = parser.parse_args()
    if options.limits:
        options.only = list(LIMITS)
    return options


def _kinds(text: str) -> Any:
    names = text.split(",")
    for name in names:
        if name not in EVERY and name != TOGETHER:
            raise argparse.ArgumentTypeError(f"no kind {name}; there are {', '.join(KINDS)}, {TOGETHER}")
    return names


if __name__ == "__main__":
    sys.exit(main())
