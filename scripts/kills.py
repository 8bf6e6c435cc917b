#!/usr/bin/env python3
"""kills.py: the broker is killed at full load, again and again: is every acked message there, and how soon is it back?

    .venv/bin/python scripts/kills.py --times 50
    .venv/bin/python scripts/kills.py --times 10 --between 1 --json -
    .venv/bin/python scripts/kills.py --times 50 --between 1.2 --signal ABRT

Two publishers with a plain loop each, a listener, a broker with `--sync full`. After each `kill -9` the broker is
started again at once. One that aborts (`--signal ABRT`) is started again by the process that watches it, which waits
where the broker has not served for a second. Beside them a pulse: a publisher of a message every few milliseconds, and
its listener, which has no backlog. Times are the pulse's and count from the end: until the broker says that it is
ready, until the connection is back, until the first message that was sent since.
Exit status: 0; 1 when an acked message was lost, came twice or out of order, or the bound was missed; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from array import array
from bisect import bisect_right
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from trials.journal import lines  # noqa: E402
from trials.places import Network, free_port  # noqa: E402
from trials.processes import Actor, Broker  # noqa: E402

import zchat  # noqa: E402

FIRST_SECONDS_MAX = {"KILL": 0.5, "ABRT": 1.0}  # the median
WAIT_SECONDS = 600.0
NEWS_SECONDS_MAX = 30.0
ROOM, PULSE = "load", "pulse"
PUBLISHERS = 2


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=50, help="how often the broker is killed (default 50)")
    parser.add_argument("--between", type=float, default=0.5, help="seconds of full load before each (default 0.5)")
    parser.add_argument("--signal", choices=("KILL", "ABRT"), default="KILL", help="what ends it (default KILL)")
    parser.add_argument("--size", type=int, default=128, help="bytes of each message (default 128)")
    parser.add_argument("--keep", metavar="DIR", help="a folder for all files, which stay")
    parser.add_argument("--json", metavar="FILE", help="the report as JSON, `-` for stdout")
    options = parser.parse_args()
    complaints: list[str] = []
    with ExitStack() as stack:
        folder = options.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="zchat-kills-"))
        Path(folder).mkdir(exist_ok=True)
        found = Kills(Path(folder), options, stack, complaints).run()
    first_max = FIRST_SECONDS_MAX[options.signal]
    if found["first_seconds"]["median"] >= first_max:
        complaints.append(f"the median until the first message is not below {first_max:g} s")
    if found["unknown"]:
        complaints.append(f"{found['unknown']} messages are stored, and their publisher was not told where")
    print(", ".join(f"{found[name]:,} {name}" for name in ("kills", "acked", "unknown", "stored", "received")))
    for part in ("ready", "back", "first"):
        times = found[f"{part}_seconds"]
        print(f"  until {part + ':':7}median {times['median'] * 1000:.0f} ms, worst {times['worst'] * 1000:.0f} ms")
    for complaint in complaints:
        print(f"kills: {complaint}")
    if options.json:
        text = json.dumps({**found, "complaints": complaints}, indent=2)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    return 1 if complaints else 0


class Kills:
    """The measurement."""

    def __init__(self, folder: Path, options: argparse.Namespace, stack: ExitStack, complaints: list[str]) -> None:
        self._options = options
        self._complaints = complaints
        network = Network()
        self._address = f"tcp://{network.broker_host}:{free_port(network)}"
        is_watched = options.signal == "ABRT"
        self._broker = Broker(
            folder, self._complain, self._address, folder / "data", ("--sync", "full"), is_watched=is_watched
        )
        task = {"address": self._address, "room": ROOM, "size": options.size, "count": 1 << 40, "times": True}
        self._publishers = [
            Actor(f"publisher-{number}", "publisher", {**task, "writer": number}, folder, self._complain, ())
            for number in range(PUBLISHERS)
        ]
        self._listener = Actor("listener", "counter", task, folder, self._complain, ())
        pulse = {**task, "room": PULSE, "count": 0, "writer": PUBLISHERS}
        self._pulse = Actor("pulse", "publisher", pulse, folder, self._complain, ())
        self._pulse_listener = Actor("pulse-listener", "counter", pulse, folder, self._complain, ())
        for started in (self._broker, self._listener, self._pulse_listener, self._pulse, *self._publishers):
            stack.callback(started.close)

    def run(self) -> dict[str, Any]:
        """All of it."""
        broker = self._broker
        if not broker.start():
            raise SystemExit(f"kills: the broker does not start: {broker.output.read_text()}")
        for listener in (self._listener, self._pulse_listener):
            listener.start()
        for listener in (self._listener, self._pulse_listener):
            listener.said("live")
        publishers = [*self._publishers, self._pulse]
        for publisher in publishers:
            publisher.start()
        for publisher in publishers:
            publisher.said("ready")
        for publisher in publishers:
            publisher.tell("go")
        starts = []
        for _ in range(self._options.times):
            time.sleep(self._options.between)
            is_watched = self._options.signal == "ABRT"
            broker.abort() if is_watched else broker.kill()
            starts.append(time.time_ns() // 1000)
            if not (broker.comes_back() if is_watched else broker.start()):
                raise SystemExit(f"kills: the broker is not started again: {broker.output.read_text()}")
            self._wait_for_news(starts[-1])
        for publisher in publishers:
            publisher.tell("end")
        reports = [json.loads(publisher.said(r"^\{.*\}$", WAIT_SECONDS).group()) for publisher in publishers]
        for publisher in publishers:
            publisher.ended(0)
        sent = reports[:-1]
        stored = self._check(sent)
        self._listener.tell("last " + json.dumps({"total": stored}))
        self._listener.tell("end")
        self._listener.ended(0, WAIT_SECONDS)
        received = json.loads(self._listener.said(r"^\{.*\}$").group())
        if received["wrong"] or received["total"] != stored:
            self._complaints.append(f"the listener got {received['total']}, {received['wrong']} out of their order")
        broker.stop()
        return {
            "kills": len(starts),
            "acked": sum(run[2] for one in sent for run in one["runs"]),
            "unknown": sum(one["unknown"] for one in sent),
            "stored": stored,
            "received": received["total"],
            **self._times(starts),
        }

    def _complain(self, kind: str, where: str, what: str) -> None:
        self._complaints.append(f"{kind}: {where}: {what}")

    def _wait_for_news(self, start: int) -> None:
        """Until the listener has a message that was taken since then."""
        deadline = time.monotonic() + NEWS_SECONDS_MAX
        while not any(word == "T" and int(more[1]) >= start for word, *more in self._news()):
            if time.monotonic() > deadline:
                self._complaints.append(f"no message within {NEWS_SECONDS_MAX:g} s of a restart")
                return
            time.sleep(0.01)

    def _news(self) -> list[list[str]]:
        """The end of the journal of the pulse's listener."""
        text = self._pulse_listener.journals[-1].read_text()[-2000:]
        return [line.split() for line in text.split("\n")[1:-1]]

    def _check(self, acked: list[dict[str, Any]]) -> int:
        """Every acked message is stored where its ack says, once and in order. Returns how many are stored."""
        where = [array("q") for _ in acked]
        wrong = 0
        with zchat.connect(self._address, "reader") as client:
            for message in client.history(ROOM):
                number, writer = int.from_bytes(message.body[:8], "big"), message.body[8]
                wrong += number != len(where[writer])
                where[writer].append(message.offset)
        if wrong:
            self._complaints.append(f"{wrong} messages in the log are not the next one of their publisher")
        for publisher, offsets in zip(acked, where, strict=True):
            for number, offset, count in publisher["runs"]:
                if offsets[number : number + count] != array("q", range(offset, offset + count)):
                    self._complaints.append(f"acked and not there: {count} from {number} on, at {offset}")
        return sum(map(len, where))

    def _times(self, starts: list[int]) -> dict[str, Any]:
        back: dict[int, float] = {}
        first: dict[int, float] = {}
        for word, *more in lines(self._pulse_listener.journals[-1]):
            if word == "N" and more[0] == "back":
                start = bisect_right(starts, int(more[1])) - 1
                back.setdefault(start, (int(more[1]) - starts[start]) / 1e6)
            elif word == "T":
                start = bisect_right(starts, int(more[1])) - 1
                first.setdefault(start, (int(more[0]) - starts[start]) / 1e6)
        first.pop(-1, None)  # before the first kill
        parts = {"ready": self._broker.start_seconds[1:], "back": list(back.values()), "first": list(first.values())}
        return {
            f"{part}_seconds": {
                "median": round(median(times), 4),
                "worst": round(max(times), 4),
                "all": [round(each, 3) for each in times],
            }
            for part, times in parts.items()
        }


if __name__ == "__main__":
    sys.exit(main())
