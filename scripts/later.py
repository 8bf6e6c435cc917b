#!/usr/bin/env python3
"""later.py: thousands of messages that are to be sent later, and a broker that is killed while they fall due.

    .venv/bin/python scripts/later.py --messages 10000 --kills 5

They fall due one after the other. Meanwhile the broker is killed with SIGKILL, and started again at once by its parent.
The room has each of them once; how late each came is told, for those of the seconds around a kill apart.
Exit status: 0; 1 when anything is missing, doubled or late; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crowd import Missing, Process

import zchat

MESSAGES, KILLS, SPREAD_SECONDS = 2_000, 2, 6.0
AT_ONCE = 32
SCHEDULED_A_SECOND = 400  # at least, while they are handed over
LATE_SECONDS = 1.0  # at most, while the broker runs
WAIT_SECONDS = 60.0
ROOM = "later"


def run(messages: int, kills: int, seconds: float, folder: Path) -> dict[str, Any]:
    """The whole course; returns what was measured. Raises Missing."""
    broker = Process(["-m", "zchat", "broker", "--bind", "tcp://127.0.0.1:0", "--data", str(folder)], listens="stderr")
    try:
        address = broker.expect(r"ready on (\S+)")
        with zchat.connect(address, "host", wait=WAIT_SECONDS, timeout=WAIT_SECONDS) as host:
            return _measured(host, broker, messages, kills, seconds)
    finally:
        broker.end(kills=False)


def _measured(host: zchat.Client, broker: Process, messages: int, kills: int, seconds: float) -> dict[str, Any]:
    began = time.time()
    first = began + 2.0 + messages / SCHEDULED_A_SECOND
    due = [first + seconds * number / messages for number in range(messages)]
    with ThreadPoolExecutor(AT_ONCE) as pool:  # they share commits
        list(pool.map(lambda number: host.schedule(ROOM, str(number), at=due[number]), range(messages)))
    found: dict[str, Any] = {"messages": messages, "scheduled_seconds": time.time() - began}
    if not len(host.scheduled()) and due[0] > time.time():
        raise Missing("nothing is scheduled")
    killed: list[float] = []
    for number in range(kills):
        time.sleep(max(0.0, first + seconds * (number + 0.5) / kills - time.time()))
        killed.append(time.time())
        os.kill(_child(broker), signal.SIGKILL)
        broker.expect("started again")
        broker.expect("ready on")
    came = _stored(host, messages, due[-1])
    late = [moment - at for moment, at in zip(came, due, strict=True)]
    calm = [by for by, at in zip(late, due, strict=True) if not any(-0.1 < at - when < 3 for when in killed)]
    found |= {"kills": kills, "late_seconds": max(late), "late_calm_seconds": max(calm, default=0.0), "calm": len(calm)}
    if min(late) < -0.01 or found["late_calm_seconds"] > LATE_SECONDS:
        raise Missing(f"one came {min(late):.3f} s, one {found['late_calm_seconds']:.3f} s after its time")
    return found


def _stored(host: zchat.Client, messages: int, last: float) -> list[float]:
    """When each of them was stored. Raises Missing when one is not, or is there twice."""
    deadline = last + WAIT_SECONDS
    while True:
        stored = list(host.history(ROOM))
        if len(stored) >= messages and not host.scheduled():
            break
        if time.time() > deadline:
            raise Missing(f"{len(stored)} of {messages} came")
        time.sleep(0.2)
    times = {int(message.text): message.time / 1e6 for message in stored}
    if len(times) != len(stored) or sorted(times) != list(range(messages)):
        raise Missing(f"{len(stored)} came, and {len(times)} different ones of {messages}")
    return [times[number] for number in range(messages)]


def _child(broker: Process) -> int:
    """The broker itself, which its parent starts again."""
    pid = broker.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = re.findall(r"\d+", children)
    if len(found) != 1:
        raise Missing(f"the broker has {len(found)} processes")
    return int(found[0])


def main() -> int:
    parser = argparse.ArgumentParser(description="Messages that are sent later, and a broker that is killed.")
    parser.add_argument("--messages", type=int, default=MESSAGES, metavar="N")
    parser.add_argument("--kills", type=int, default=KILLS, metavar="N")
    parser.add_argument("--seconds", type=float, default=SPREAD_SECONDS, help="over which they fall due")
    parser.add_argument("--json", action="store_true", help="print an object instead of a line")
    asked = parser.parse_args()
    if asked.messages < 1 or asked.kills < 0 or asked.seconds <= 0:
        parser.error("there is at least one message, and time for it")
    try:
        with tempfile.TemporaryDirectory(prefix="zchat-later-") as folder:
            found = run(asked.messages, asked.kills, asked.seconds, Path(folder))
    except (Missing, zchat.ZchatError, OSError) as error:
        print(f"later: {error}", file=sys.stderr)
        return 1
    calm = (
        f"at most {found['late_calm_seconds'] * 1000:.0f} ms late, and {found['late_seconds']:.2f} s around the kills"
    )
    told = f"{found['messages']:,} messages, {found['kills']} kills: each came once, {calm}"
    print(json.dumps(found) if asked.json else told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
