#!/usr/bin/env python3
"""fuzz.py: everything that takes bytes from a network is given everything once, and a little different each time.

    .venv/bin/python scripts/fuzz.py --seconds 60
    .venv/bin/python scripts/fuzz.py --seconds 3600 --seed 7 --keep /tmp/kept
    .venv/bin/python scripts/fuzz.py --only frames --seconds 600

    codecs     in process: all that makes sense of bytes and text                  guided by coverage (atheris)
    core       in process: the broker's loop, under what clients say and happens   guided by coverage (atheris)
    tcp        a broker: bytes of anything, on both ports, ended in any way
    zmtp       a broker: greetings of ZMTP 1, 2 and 3, handshakes of NULL, PLAIN and CURVE, commands and PINGs anywhere
    frames     a broker: messages of all kinds behind a HELLO, plausible and changed; subscriptions
    strangers  a broker with keys: any of these three
    keyed      a broker with keys: messages and subscriptions of one whom it knows, encrypted
    lines      `zchat tcp`: what is typed, and telnet
    http       `zchat web`: requests; with `websocket` its frames, packets of Socket.IO and lines of JSON

Each has its share of the time. In process nothing may be raised but what is declared, and an honest client beside it
must be answered. A process must live, say no traceback, end at SIGTERM, not grow by more than some MB, tell honest
users everything once and in order, and nobody what is an inbox's. `pip install -e '.[fuzz]'` brings atheris.
Exit status: 0; 1 when something was found; 2 usage, or atheris is not there.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from attacks import meters  # noqa: E402
from fuzzing import guests  # noqa: E402
from fuzzing.holders import Holders  # noqa: E402
from trials.journal import lines  # noqa: E402
from trials.places import Network, free_port  # noqa: E402
from trials.processes import LETS_COME, Actor, Broker, Started, environment, limited  # noqa: E402

GUIDED = ("codecs", "core")
BROKER = ("tcp", "zmtp", "frames")
KEYED = ("strangers", "keyed")
DOORS = ("lines", "http", "websocket")
LEVELS = (*GUIDED, *BROKER, *KEYED, *DOORS)
DOOR_ENDS = {"tcp": 0, "web": 128 + signal.SIGTERM}  # how each ends at SIGTERM
LOOK_SECONDS = 0.2
GUEST_SECONDS = 1.0  # between two words of the guests
BACK_SECONDS = 20.0
GROWN_BYTES_MAX = 150 << 20  # sessions that are known for a day, and what the C library keeps
LAST_COURSES = 10  # of a fuzzer, told when a process died
SAID_CHARACTERS = 2_000


@dataclass
class Found:
    """What came of one stage."""

    what: str
    executions: int
    crashes: int
    bytes_before: int
    bytes_after: int
    complaints: list[str]


class Guided:
    """One of the targets in process."""

    def __init__(self, name: str, folder: Path, seed: int, seconds: float) -> None:
        self._name, self._folder, self._seed, self._seconds = name, folder, seed, seconds

    def run(self) -> Found:
        """All of it; libFuzzer stops at the first that it finds."""
        self._folder.mkdir()
        command = [sys.executable, "-m", "fuzzing.guided", self._name, str(self._folder)]
        limits = [str(max(1, round(self._seconds))), str(self._seed % (1 << 31) or 1)]
        done = subprocess.run([*command, *limits], capture_output=True, text=True, errors="replace", env=environment())
        (self._folder / "output").write_text(done.stdout + done.stderr)
        executions = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
        sizes = [int(found) << 20 for found in re.findall(r"rss: (\d+)Mb", done.stderr)] or [0]
        complaints = []
        if done.returncode:
            inputs = [path for path in self._folder.iterdir() if path.is_file() and path.name != "output"]
            raised = done.stderr.partition("=== Uncaught Python exception: ===")[2] or done.stderr
            complaints.append(f"{self._name}: {raised.strip()[:SAID_CHARACTERS]}")
            complaints += [f"again, in scripts/: python -m fuzzing.guided {self._name} {path}" for path in inputs]
        count = int(executions[-1]) if executions else 0
        return Found(self._name, count, int(bool(done.returncode)), sizes[0], sizes[-1], complaints)


class Stage:
    """A broker, or one and its doors, under fuzzers, beside honest users."""

    def __init__(self, levels: list[str], folder: Path, options: argparse.Namespace, stack: ExitStack) -> None:
        self._levels, self._folder, self._options = levels, folder, options
        self.complaints: list[str] = []
        folder.mkdir()
        network = Network()
        self._host = network.broker_host
        port = free_port(network)
        self._holders = Holders(folder) if set(levels) & set(KEYED) else None
        args = limited(folder, LETS_COME)
        if self._holders is not None:
            args += "--keys", str(self._holders.keys)
        self._broker = Broker(folder, self._complain, f"tcp://{self._host}:{port}", folder / "data", args)
        self._place: tuple[str, int, int] = (self._host, port, port + 1)
        self._doors: list[Started] = []
        if set(levels) & set(DOORS):
            lines_port = free_port(network)
            self._place = (self._host, lines_port, lines_port + 1)
            self._doors = [Started(name, folder, self._complain) for name in ("tcp", "web")]
        secret = secrets.token_bytes(16).hex()
        task = {"address": self._broker.address}
        self._honest = [
            self._honest_one("witness", {**task, "room": "witness"}),
            self._honest_one("keeper", {**task, "room": "@keeper.0", "mark": secret}),
        ]
        fuzzed = {"place": self._place, "secret": secret, "levels": levels, "seed": options.seed}
        self._fuzzers = [
            Actor(
                f"fuzzer-{number}",
                "fuzzing.fuzzer",
                {**fuzzed, "first": options.first + number, "step": options.fuzzers},
                folder,
                self._complain,
                (),
            )
            for number in range(options.fuzzers)
        ]
        for started in (self._broker, *self._doors, *self._honest, *self._fuzzers):
            stack.callback(started.close)

    def _honest_one(self, name: str, task: dict[str, str]) -> Actor:
        prefix = () if self._holders is None else self._holders.prefix(f"{name}.0")
        return Actor(name, "attacks.gauge", task, self._folder, self._complain, prefix)

    def run(self, seconds: float) -> Found:
        """All of it."""
        if not self._broker.start():
            raise SystemExit(f"fuzz: the broker does not start: {self._broker.output.read_text()}")
        for door, port in zip(self._doors, self._place[1:], strict=False):
            listen = ["--listen", f"{self._host}:{port}", "-b", self._broker.address]
            door.launch([sys.executable, "-m", "zchat", door.name, *listen], piped=False)
            door.said("ready on")
        more = {}
        if self._holders is not None:
            for actor in self._honest:
                self._holders.join(f"{actor.name}.0", self._broker.address)
            more["keys"] = self._holders.fuzzers()
        for actor in self._honest:
            actor.start()
        for actor in self._fuzzers:
            actor.start(**more)
        for actor in (*self._honest, *self._fuzzers):
            actor.said("^ready")
        fuzzed = [door.pid for door in self._doors] or [self._broker.pid]
        before = resident(fuzzed)
        for fuzzer in self._fuzzers:
            fuzzer.tell("go")
        self._watch(time.monotonic() + seconds)
        if not self._lives():
            self._tell_of_the_end()
            return Found(" ".join(self._levels), self._tried(), 1, before, 0, self.complaints)
        executions = self._end_fuzzers()
        after = self._gone_back(fuzzed, before)
        self._end_honest()
        for door in self._doors:
            door.signal(signal.SIGTERM)
            door.ended(DOOR_ENDS[door.name])
        self._broker.stop()
        return Found(" ".join(self._levels), executions, 0, before, after, self.complaints)

    def _watch(self, until: float) -> None:
        guest_at = 0.0
        while time.monotonic() < until and self._lives():
            time.sleep(LOOK_SECONDS)
            if self._doors and time.monotonic() >= guest_at:
                guest_at = time.monotonic() + GUEST_SECONDS
                self._ask_guests()

    def _ask_guests(self) -> None:
        for level, door, guest, port in zip(
            (("lines",), ("http", "websocket")),
            self._doors,
            (guests.at_lines, guests.at_web),
            self._place[1:],
            strict=True,
        ):
            if set(level) & set(self._levels) and (wrong := guest(self._host, port)):
                self.complaints.append(f"{door.name}: an honest guest: {wrong}")

    def _lives(self) -> bool:
        processes = (self._broker.process, *(door.process for door in self._doors))
        return all(process is not None and process.poll() is None for process in processes)

    def _end_fuzzers(self) -> int:
        for fuzzer in self._fuzzers:
            fuzzer.end()
        courses: Counter[str] = Counter()
        for fuzzer in self._fuzzers:
            fuzzer.ended(0)
            said = json.loads(fuzzer.said(r"^\{.*\}$").group())
            courses.update(said["courses"])
            if said["leaked"]:
                self.complaints.append(f"{fuzzer.name} was told what is in another's inbox, {said['leaked']} times")
        return sum(courses.values())

    def _end_honest(self) -> None:
        for actor in self._honest:
            actor.end()
            actor.ended(0)
            said = json.loads(actor.said(r"^\{.*\}$").group())
            if not said["sent"] or said["sent"] != said["heard"] or said["wrong"] or said["foreign"]:
                self.complaints.append(f"{actor.name}, who is honest: {said}")

    def _gone_back(self, pids: list[int], before: int) -> int:
        """The memory, once it is as it was, or after a while."""
        deadline = time.monotonic() + BACK_SECONDS
        while (now := resident(pids)) > before + GROWN_BYTES_MAX and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        if now > before + GROWN_BYTES_MAX:
            self.complaints.append(f"memory: {now >> 20} MB after it, {before >> 20} MB before")
        return now

    def _tried(self) -> int:
        return sum(1 for each in self._fuzzers for kind, *_ in lines(each.journals[-1]) if kind == "Q")

    def _tell_of_the_end(self) -> None:
        for started in (self._broker, *self._doors):
            if started.process is not None and started.process.poll() is not None:
                started.ended(0)
                said = started.output.read_text(errors="replace")[:SAID_CHARACTERS]
                self.complaints.append(f"{started.name} ended: {said}")
        for fuzzer in self._fuzzers:
            last = deque((f for kind, *f in lines(fuzzer.journals[-1]) if kind == "Q"), LAST_COURSES)
            told = ", ".join(" ".join(course) for course in last)
            self.complaints.append(f"last courses of {fuzzer.name}: {told}; again with --first NUMBER")

    def _complain(self, kind: str, where: str, what: str) -> None:
        self.complaints.append(f"{kind}: {where}: {what}")


def resident(pids: list[int]) -> int:
    """Memory of these processes together."""
    return sum(meters.read(pid).resident_bytes for pid in pids)


def stages(options: argparse.Namespace, folder: Path, stack: ExitStack) -> list[Found]:
    """One after the other, each with its share of the time; each is told when it is done."""
    groups = [[name] for name in GUIDED if name in options.only]
    groups += [of for all_of in (BROKER, KEYED, DOORS) if (of := [name for name in all_of if name in options.only])]
    every = len(options.only)
    found = []
    print(HEAD, flush=True)
    for levels in groups:
        seconds = options.seconds * len(levels) / every
        if levels[0] in GUIDED:
            found.append(Guided(levels[0], folder / levels[0], options.seed, seconds).run())
        else:
            found.append(Stage(levels, folder / levels[0], options, stack).run(seconds))
        print(row(found[-1], seconds), flush=True)
        for complaint in found[-1].complaints:
            print(f"fuzz: {complaint}", file=sys.stderr, flush=True)
    return found


HEAD = "| level | executions | a second | crashes | RSS at start | RSS at end |\n" + "| --- " * 6 + "|"


def row(found: Found, seconds: float) -> str:
    """Of the table."""
    speed = found.executions / seconds
    cells = (found.what, f"{found.executions:,}", f"{speed:,.0f}", found.crashes)
    sizes = (f"{size / 1e6:,.0f} MB" for size in (found.bytes_before, found.bytes_after))
    return f"| {' | '.join(map(str, (*cells, *sizes)))} |"


def main() -> int:
    """Run, print, judge."""
    options = _options()
    folder = Path(options.keep or tempfile.mkdtemp(prefix="zchat-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        print(f"fuzz: {folder} is not empty", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(130))
    print(f"fuzz: seed {options.seed}, {options.seconds:g} s, everything in {folder}", file=sys.stderr, flush=True)
    with ExitStack() as stack:
        found = stages(options, folder, stack)
    bad = [each for each in found if each.complaints]
    if options.json:
        data = json.dumps({"good": not bad, "seed": options.seed, "stages": [vars(each) for each in found]}, indent=2)
        print(data) if options.json == "-" else Path(options.json).write_text(data + "\n")
    again = f"--seed {options.seed}; everything in {folder}"
    print(f"BROKEN: {', '.join(each.what for each in bad)}: {again}" if bad else f"good: seed {options.seed}")
    if not bad and not options.keep:
        shutil.rmtree(folder)
    return 1 if bad else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], epilog=f"levels: {', '.join(LEVELS)}")
    parser.add_argument("--seconds", type=float, default=60.0, help="of all levels together (default 60)")
    parser.add_argument("--only", type=_levels, default=list(LEVELS), metavar="LEVEL,LEVEL", help="only these")
    parser.add_argument("--fuzzers", type=int, default=4, metavar="N", help="processes that send (default 4)")
    parser.add_argument("--seed", type=int, default=None, help="of what is drawn")
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="of the courses (default 0)")
    parser.add_argument("--keep", metavar="DIR", help="an empty folder for all files, which stay")
    parser.add_argument("--json", metavar="FILE", help="the report as JSON, `-` for stdout")
    options = parser.parse_args()
    if options.fuzzers < 1:
        parser.error("there is at least one fuzzer")
    if set(options.only) & set(GUIDED) and importlib.util.find_spec("atheris") is None:
        parser.error(f"{' and '.join(GUIDED)} need atheris: pip install -e '.[fuzz]', or --only the others")
    options.seed = random.randrange(1, 1 << 31) if options.seed is None else options.seed
    return options


def _levels(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in LEVELS]:
        raise argparse.ArgumentTypeError(f"no level {unknown[0]}; there are {', '.join(LEVELS)}")
    return [name for name in LEVELS if name in names]


if __name__ == "__main__":
    sys.exit(main())
