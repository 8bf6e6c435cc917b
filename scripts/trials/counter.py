"""A process that listens to numbered messages and looks at nothing but their order.

    live                  it listens
    at N T                it had N messages at the time T (monotonic), for each N that it was told
    {…}                   at its end: messages by writer, and how many were not the next one of their writer

The journal gets a line `T received taken` now and then, and `N back received` when the connection was.
"""

from __future__ import annotations

import json
import time

import zchat
from trials.control import Control

TIMES_SECONDS = 0.005


def main() -> None:
    """Listen until told to end."""
    control = Control()
    task, journal = control.task, control.journal
    milestones: list[int] = sorted(task.get("milestones", []), reverse=True)
    next_number: dict[int, int] = {}
    wrong = total = 0
    noted = 0.0

    def noticed(notice: zchat.Notice) -> None:
        journal.write("N", notice.kind, time.time_ns() // 1000, notice.records)

    client = control.connect(control.name)
    subscription = client.listen(task["room"], on_notice=noticed)
    print("live", flush=True)
    while True:
        try:
            message = subscription.get(0.2)
        except zchat.TimedOut:
            if control.stopping.is_set() and total >= (control.last or {}).get("total", 0):
                break
            continue
        body = message.body
        number, writer = int.from_bytes(body[:8], "big"), body[8]
        wrong += number != next_number.get(writer, 0)
        next_number[writer] = number + 1
        total += 1
        if milestones and total >= milestones[-1]:
            print(f"at {milestones.pop()} {time.monotonic()}", flush=True)
        if task.get("times") and (now := time.monotonic()) - noted > TIMES_SECONDS:
            noted = now
            journal.write("T", time.time_ns() // 1000, message.time)
    client.close()
    print(json.dumps({"total": total, "next": next_number, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    main()
