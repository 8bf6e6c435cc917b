"""A process that takes jobs of a group, one after the other, and writes down what it takes and what it has done.

Rule of this file: that a job is done is in the journal before the broker is told.
"""

from __future__ import annotations

import random
import time

import zchat
from trials.control import Control

GROUP = "crew"
IN_FLIGHT = 20
ACK_WAIT_SECONDS = 120.0  # longer than any fault: what goes to another before is from one who has gone


def main() -> None:
    """Work until told to end."""
    control = Control()
    task, journal = control.task, control.journal
    draw = random.Random(task["seed"])
    client = control.connect(task["user"])
    while True:
        try:
            mine = client.listen(
                task["room"],
                group=GROUP,
                max_in_flight=IN_FLIGHT,
                ack_wait=ACK_WAIT_SECONDS,
                max_deliveries=0,
                auto_commit=False,
                after=0,
                on_notice=lambda notice: journal.write("N", notice.kind, notice.offset, notice.records),
            )
            break
        except zchat.Refused:
            if control.stopping.wait(0.3):  # a full disk
                return
    journal.write("I", time.time_ns() // 1000, task["room"])
    while not control.stopping.is_set():
        try:
            job = mine.get(0.1)
        except zchat.TimedOut:
            continue
        assert isinstance(job, zchat.Job)
        journal.write("H", job.offset, job.deliveries, time.time_ns() // 1000)
        if draw.random() < 0.05:
            time.sleep(draw.random() * 0.05)
        journal.write("D", job.offset, time.time_ns() // 1000)
        job.ack()
    try:
        mine.close()
        client.close()
    except zchat.Refused:
        pass  # a full disk: its leave is written later
    journal.write("O")


if __name__ == "__main__":
    main()
