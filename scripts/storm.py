#!/usr/bin/env python3
"""storm.py: strangers do to a broker whatever TCP lets them do, beside honest load. It must not end, and lose nothing.

    .venv/bin/python scripts/storm.py --seconds 60
    .venv/bin/python scripts/storm.py --seconds 3600 --attackers 6 --seed 7 --keep /tmp/kept

A broker of its own on loopback, in a temporary folder; nobody starts it again. Publishers, listeners and a client that
asks are at work the whole time. Attackers are processes with plain sockets: random bytes, greetings of ZMTP 1, 2 and 3
cut anywhere, commands in every state, names that are taken or given next, messages that never end, full queues and a
reset, zchat's messages right and changed, on both ports, and closes in every state; they are stopped and killed
themselves. Then they leave, and it is looked whether the broker is the same process, has given memory and descriptors
back, has told each honest listener everything once and in order, and ends with 0 at SIGTERM.
Exit status: 0; 1 when a promise was broken; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from attacks import meters  # noqa: E402
from trials.journal import lines  # noqa: E402
from trials.places import Network, free_port  # noqa: E402
from trials.processes import LETS_COME, Actor, Broker, limited  # noqa: E402

ROOM = "load"
LISTENERS, PUBLISHERS = 2, 2
BURST_MESSAGES = 20_000  # of each publisher at its start; then some hundred a second
LOOK_SECONDS = 0.1
TOLD_SECONDS = 60.0
STOP_SECONDS = (0.3, 2.0)  # an attacker that was stopped goes on, or is killed, after so long
FAULT_SECONDS = 1.5  # between two of them
BACK_SECONDS = 20.0  # of rest, in which memory and descriptors go back;
BUSY_BACK_SECONDS = 300.0  # with the time in which a slow machine reads what was left to it
BUSY_SHARE = 0.5  # of a core that a broker at rest does not ask for
KEPT_BYTES_MAX = 150 << 20  # more than before: sessions that are known for a day, and what the C library keeps
KEPT_DESCRIPTORS_MAX = 8
LAST_TURNS = 30  # of an attacker, told when the broker died
SAID_CHARACTERS = 2000  # by the broker at its end


class Storm:
    """One run."""

    def __init__(self, folder: Path, seed: int, options: argparse.Namespace, stack: ExitStack) -> None:
        self._folder, self._options, self._stack = folder, options, stack
        self._draw = random.Random(seed)
        self.complaints: list[str] = []
        network = Network()
        port = free_port(network)
        address = f"tcp://{network.broker_host}:{port}"
        self._broker = Broker(folder, self._complain, address, folder / "data", limited(folder, LETS_COME))
        task = {"address": address, "room": ROOM, "size": 128, "count": BURST_MESSAGES}
        self._publishers = [
            self._actor(f"publisher-{number}", "publisher", {**task, "writer": number}) for number in range(PUBLISHERS)
        ]
        self._listeners = [self._actor(f"listener-{number}", "counter", task) for number in range(LISTENERS)]
        self._asker = self._actor("asker", "attacks.gauge", {**task, "room": "asked"})
        place = [network.broker_host, port, port + 1]
        self._attackers = [
            self._actor(f"attacker-{number}", "attacks.attacker", {"place": place})
            for number in range(options.attackers)
        ]
        self.highest = meters.Reading(0, 0.0, 0)
        self.faults: Counter[str] = Counter()
        self._back_seconds = 0.0

    def run(self) -> dict[str, Any]:
        """All of it."""
        if not self._broker.start():
            raise SystemExit(f"storm: the broker does not start: {self._broker.output.read_text()}")
        self._pid = self._broker.pid
        honest = [*self._listeners, *self._publishers, self._asker]
        for actor in honest:
            actor.start()
            actor.said("live" if actor in self._listeners else "ready")
        for publisher in self._publishers:
            publisher.tell("go")
        for publisher in self._publishers:
            publisher.said("^done")
        before = meters.read(self._pid)
        for attacker in self._attackers:
            self._start(attacker)
        began = time.monotonic()
        self._weather(began)
        seconds = time.monotonic() - began
        lives = self._lives()
        if lives:
            for attacker in self._attackers:
                attacker.end()
            for attacker in self._attackers:
                attacker.ended(0)
            after = self._gone_back(before)
            published, heard = self._honest_end()
            self._broker.stop()
        else:
            after, published, heard = before, 0, 0
            self._tell_of_the_end()
        return {
            "seconds": round(seconds, 1),
            "back_seconds": round(self._back_seconds, 1),
            "published": published,
            "heard": heard,
            "memory": {
                "before": before.resident_bytes,
                "most": self.highest.resident_bytes,
                "after": after.resident_bytes,
            },
            "descriptors": {"before": before.descriptors, "most": self.highest.descriptors, "after": after.descriptors},
            "answers": answers(self._asker),
            "faults": dict(self.faults),
            "tried": tried(self._attackers),
        }

    # --- the attackers ----------------------------------------------------------------------

    def _weather(self, began: float) -> None:
        """Look after the broker, and stop, kill and replace attackers meanwhile."""
        draw = self._draw
        fault_at, told_at = began + FAULT_SECONDS, began + TOLD_SECONDS
        stopped: tuple[Actor, float] | None = None
        while (now := time.monotonic()) < began + self._options.seconds and self._lives():
            reading = meters.read(self._pid)
            self.highest = meters.Reading(*map(max, zip(self.highest, reading, strict=True)))  # type: ignore[arg-type]
            if stopped is not None and now >= stopped[1]:
                self._go_on(stopped[0])
                stopped = None
            elif stopped is None and now >= fault_at:
                attacker = draw.choice(self._attackers)
                attacker.signal(signal.SIGSTOP)
                self.faults["stopped"] += 1
                stopped = (attacker, now + draw.uniform(*STOP_SECONDS))
                fault_at = now + FAULT_SECONDS * draw.uniform(1.5, 3.0)
            if now >= told_at:
                told_at += TOLD_SECONDS
                print(f"storm: {now - began:.0f} s, {reading.resident_bytes >> 20} MB", file=sys.stderr, flush=True)
            time.sleep(LOOK_SECONDS)
        if stopped is not None:
            self._go_on(stopped[0])

    def _go_on(self, attacker: Actor) -> None:
        if self._draw.random() < 0.5:
            attacker.signal(signal.SIGCONT)
            return
        attacker.kill()
        self.faults["killed"] += 1
        self._start(attacker)

    def _start(self, attacker: Actor) -> None:
        attacker.start(seed=self._draw.randrange(1 << 31))
        attacker.tell("go")

    def _lives(self) -> bool:
        process = self._broker.process
        return process is not None and process.poll() is None

    # --- the end ----------------------------------------------------------------------------

    def _gone_back(self, before: meters.Reading) -> meters.Reading:
        """Wait until memory and descriptors are as before; complain when they stay away."""
        bytes_max, descriptors_max = before.resident_bytes + KEPT_BYTES_MAX, before.descriptors + KEPT_DESCRIPTORS_MAX
        began = looked = time.monotonic()
        asked, rested = meters.asked_seconds(self._pid), 0.0
        while True:
            now = meters.read(self._pid)
            is_back = now.resident_bytes <= bytes_max and now.descriptors <= descriptors_max
            if is_back or rested > BACK_SECONDS or looked - began > BUSY_BACK_SECONDS:
                break
            time.sleep(LOOK_SECONDS)
            last_asked, last_looked = asked, looked
            asked, looked = meters.asked_seconds(self._pid), time.monotonic()
            if asked - last_asked < BUSY_SHARE * (looked - last_looked):
                rested += looked - last_looked
        self._back_seconds = looked - began
        if now.resident_bytes > bytes_max:
            grown = (now.resident_bytes - before.resident_bytes) >> 20
            when = f"{self._back_seconds:.0f} s after the last attacker"
            self.complaints.append(f"memory: {grown} MB more than before, {when}")
        if now.descriptors > descriptors_max:
            self.complaints.append(f"descriptors: {now.descriptors}, before {before.descriptors}")
        return now

    def _honest_end(self) -> tuple[int, int]:
        """The honest end their work; what they published, and what each listener heard, must be the same."""
        counts = {}
        for number, publisher in enumerate(self._publishers):
            publisher.end()
            publisher.ended(0)
            said = json.loads(publisher.said(r"^\{.*\}$").group())
            counts[str(number)] = said["count"]
            acked = sum(run[2] for run in said["runs"])
            if said["unknown"] or acked != said["count"]:
                self.complaints.append(f"{publisher.name}: {said['count']} published, {acked} acked")
        total = sum(counts.values())
        heard = 0
        for listener in self._listeners:
            listener.wait_for({"total": total})
            listener.end()
            listener.ended(0)
            said = json.loads(listener.said(r"^\{.*\}$").group())
            heard += said["total"]
            if said["next"] != counts or said["wrong"] or said["total"] != total:
                what = f"{said['total']} of {total} heard, {said['wrong']} out of their order"
                self.complaints.append(f"{listener.name}: {what}: {said['next']} of {counts}")
        self._asker.end()
        self._asker.ended(0)
        said = json.loads(self._asker.said(r"^\{.*\}$").group())
        if said["sent"] != said["heard"] or said["wrong"] or said["foreign"]:
            self.complaints.append(f"asker: {said}")
        return total, heard

    def _tell_of_the_end(self) -> None:
        self._broker.ended(0)
        said = self._broker.output.read_text(errors="replace")[:SAID_CHARACTERS]
        self.complaints.append(f"the broker ended: {said}")
        for attacker in self._attackers:
            last = deque(lines(attacker.journals[-1]), LAST_TURNS)
            self.complaints.append(f"last of {attacker.name}:\n" + "\n".join("    " + " ".join(line) for line in last))

    def _actor(self, name: str, module: str, task: dict[str, Any]) -> Actor:
        actor = Actor(name, module, task, self._folder, self._complain, ())
        self._stack.callback(actor.close)
        return actor

    def _complain(self, kind: str, where: str, what: str) -> None:
        self.complaints.append(f"{kind}: {where}: {what}")


def tried(attackers: list[Actor]) -> dict[str, int]:
    """From the journals: how often what was done."""
    counts: Counter[str] = Counter()
    for attacker in attackers:
        for journal in attacker.journals:
            for kind, *fields in lines(journal):
                if kind == "Y":
                    _, port, state, names, pace = fields
                    counts.update(("connections", f"port {port}", f"state {state}", f"pace {pace}"))
                    counts.update(f"deed {name}" for name in names.split(","))
                elif kind == "C":
                    counts[f"recipe {fields[1]}"] += 1
                elif kind == "Z":
                    counts[f"end {fields[0]}"] += 1
    return dict(sorted(counts.items()))


def answers(asker: Actor) -> dict[str, float]:
    """How long the honest client waited: milliseconds."""
    times = sorted(float(fields[2]) * 1000 for kind, *fields in lines(asker.journals[-1]) if kind == "A")
    if not times:
        return {}
    return {
        "count": len(times),
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
        "worst": times[-1],
    }


def text(found: dict[str, Any], complaints: list[str], seed: int, folder: Path) -> str:
    """For people."""
    tried, memory, descriptors, waits = (found[name] for name in ("tried", "memory", "descriptors", "answers"))
    rows = []
    for group in ("port", "state", "deed", "pace", "recipe", "end"):
        of = {name.partition(" ")[2]: count for name, count in tried.items() if name.startswith(f"{group} ")}
        rows.append(f"{group + 's':<10}" + ", ".join(f"{name} {count:,}" for name, count in of.items()))
    rows.append("attackers " + ", ".join(f"{name} {count:,}" for name, count in found["faults"].items()))
    rows.append(f"honest    {found['published']:,} published and acked, {found['heard']:,} heard")
    if waits:
        rows.append(f"answers   {', '.join(f'{name} {value:,.1f}' for name, value in waits.items())} (ms)")
    rows.append("memory    " + ", ".join(f"{name} {value / 1e6:,.0f} MB" for name, value in memory.items()))
    rows[-1] += f", that {found['back_seconds']:g} s after the last attacker"
    rows.append("files     " + ", ".join(f"{name} {value:,}" for name, value in descriptors.items()))
    rows += [f"storm: {complaint}" for complaint in complaints]
    if complaints:
        rows.append(f"again: scripts/storm.py --seed {seed}; journals in {folder}")
    good = "BROKEN" if complaints else "good"
    rows.append(
        f"{good}: seed {seed}, {found['seconds']:g} s, {tried.get('connections', 0):,} connections of one deed or more"
    )
    return "\n".join(rows)


def main() -> int:
    """Run, print, judge."""
    options = _options()
    seed = options.seed if options.seed is not None else random.randrange(1 << 31)
    folder = Path(options.keep or tempfile.mkdtemp(prefix="zchat-storm-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        print(f"storm: {folder} is not empty", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(130))
    print(f"storm: seed {seed}, {options.seconds:g} s, everything in {folder}", file=sys.stderr, flush=True)
    with ExitStack() as stack:
        storm = Storm(folder, seed, options, stack)
        stack.callback(storm._broker.close)
        found = storm.run()
    print(text(found, storm.complaints, seed, folder))
    if options.json:
        data = json.dumps(
            {"good": not storm.complaints, "seed": seed, **found, "complaints": storm.complaints}, indent=2
        )
        print(data) if options.json == "-" else Path(options.json).write_text(data + "\n")
    if not storm.complaints and not options.keep:
        shutil.rmtree(folder)
    return 1 if storm.complaints else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is attacked (default 60)")
    parser.add_argument("--attackers", type=int, default=4, metavar="N", help="processes (default 4)")
    parser.add_argument("--seed", type=int, help="of what is drawn")
    parser.add_argument("--keep", metavar="DIR", help="an empty folder for all files, which stay")
    parser.add_argument("--json", metavar="FILE", help="the report as JSON, `-` for stdout")
    options = parser.parse_args()
    if options.attackers < 1:
        parser.error("there is at least one attacker")
    return options


if __name__ == "__main__":
    sys.exit(main())
