#!/usr/bin/env python3
"""stalled.py: a listener is stopped while millions of messages pass, and then goes on: does it get all, and how fast?

    .venv/bin/python scripts/stalled.py
    .venv/bin/python scripts/stalled.py --count 2000000 --json -

A broker with `--sync full`, a publisher with a plain loop, a listener that gets SIGSTOP before the first message
and SIGCONT after the last; the publisher then goes on slowly, so that live messages come while it catches up.
Exit status: 0; 1 when a message was lost, came twice or out of order, or a bound was missed; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from trials.places import Network, free_port  # noqa: E402
from trials.processes import Actor, Broker  # noqa: E402

GROWTH_BYTES_MAX = 100_000_000
RATE_MIN = 300_000
WAIT_SECONDS = 600.0
SAMPLE_SECONDS = 0.05
ROOM = "load"


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=2_000_000, help="messages while it is stopped (default 2 million)")
    parser.add_argument("--size", type=int, default=128, help="bytes of each (default 128)")
    parser.add_argument("--sync", choices=("full", "normal"), default="full", help="of the broker")
    parser.add_argument("--keep", metavar="DIR", help="a folder for all files, which stay")
    parser.add_argument("--json", metavar="FILE", help="the report as JSON, `-` for stdout")
    options = parser.parse_args()
    complaints: list[str] = []
    with ExitStack() as stack:
        folder = options.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="zchat-stalled-"))
        Path(folder).mkdir(exist_ok=True)
        found = run(Path(folder), options, stack, complaints)
    if found["wrong"] or found["received"] != found["published"]:
        complaints.append(f"{found['received']} of {found['published']} received, {found['wrong']} out of their order")
    if found["growth_bytes"] >= GROWTH_BYTES_MAX:
        complaints.append(f"the broker grew by {found['growth_bytes']:,} bytes, bound {GROWTH_BYTES_MAX:,}")
    if found["rate"] < RATE_MIN:
        complaints.append(f"it caught up with {found['rate']:,.0f} msg/s, bound {RATE_MIN:,}")
    print(
        f"{found['count']:,} messages of {found['size']} bytes published in {found['published_seconds']:.2f} s, "
        f"the broker grew by {found['growth_bytes'] / 1e6:.1f} MB; "
        f"caught up in {found['caught_up_seconds']:.2f} s: {found['rate']:,.0f} msg/s, "
        f"while {found['trickle']:,} came live"
    )
    for complaint in complaints:
        print(f"stalled: {complaint}")
    if options.json:
        text = json.dumps({**found, "complaints": complaints}, indent=2)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    return 1 if complaints else 0


def run(folder: Path, options: argparse.Namespace, stack: ExitStack, complaints: list[str]) -> dict[str, Any]:
    """The measurement."""

    def complain(kind: str, where: str, what: str) -> None:
        complaints.append(f"{kind}: {where}: {what}")

    network = Network()
    address = f"tcp://{network.broker_host}:{free_port(network)}"
    broker = Broker(folder, complain, address, folder / "data", ("--sync", options.sync))
    task = {"address": address, "room": ROOM, "size": options.size, "count": options.count, "writer": 1}
    publisher = Actor("publisher", "publisher", task, folder, complain, ())
    listener = Actor("listener", "counter", {**task, "milestones": [options.count]}, folder, complain, ())
    for started in (broker, publisher, listener):
        stack.callback(started.close)
    if not broker.start():
        raise SystemExit(f"stalled: the broker does not start: {broker.output.read_text()}")
    listener.start()
    listener.said("live")
    publisher.start()
    publisher.said("ready")
    before = broker.resident_bytes
    listener.signal(signal.SIGSTOP)
    publisher.tell("go")
    grown = 0
    deadline = time.monotonic() + WAIT_SECONDS
    while "done" not in publisher.output.read_text() and time.monotonic() < deadline:
        grown = max(grown, broker.resident_bytes - before)
        time.sleep(SAMPLE_SECONDS)
    published_seconds = float(publisher.said(r"done (\S+)").group(1))
    went_on = time.monotonic()
    listener.signal(signal.SIGCONT)
    caught_up = float(listener.said(rf"at {options.count} (\S+)", WAIT_SECONDS).group(1)) - went_on
    growth_after = broker.resident_bytes - before
    publisher.tell("end")
    publisher.ended(0)
    published = json.loads(publisher.said(r"^\{.*\}$").group())["count"]
    listener.tell("end")
    listener.ended(0)
    received = json.loads(listener.said(r"^\{.*\}$").group())
    broker.stop()
    return {
        "count": options.count,
        "size": options.size,
        "published_seconds": published_seconds,
        "growth_bytes": grown,
        "growth_bytes_when_caught_up": growth_after,
        "caught_up_seconds": caught_up,
        "rate": options.count / caught_up,
        "published": published,
        "trickle": published - options.count,
        "received": received["total"],
        "wrong": received["wrong"],
    }


if __name__ == "__main__":
    sys.exit(main())
