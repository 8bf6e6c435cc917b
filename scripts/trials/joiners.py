"""A process that comes and goes: a session, some rooms, a while, and out again; again and again until it is told."""

from __future__ import annotations

import random
import time

import zchat
from trials.control import Control


def main() -> None:
    """Join and leave until told to end."""
    control = Control()
    task, journal = control.task, control.journal
    draw = random.Random(task["seed"])
    while not control.stopping.is_set():
        client = control.connect(task["user"])
        for _ in range(draw.randint(1, 3)):
            rooms = draw.sample(task["rooms"], draw.randint(1, min(3, len(task["rooms"]))))
            try:
                subscription = client.listen(*rooms)
            except zchat.Refused as refused:
                if refused.code != "log-full":
                    journal.write("X", f"refused to join {rooms}: {refused}")
                control.stopping.wait(0.2)
                continue
            journal.write("I", time.time_ns() // 1000, *rooms)
            control.stopping.wait(draw.choice((0.0, 0.05, 0.3, 1.5)))
            if draw.random() < 0.5:
                break  # the client's end is enough
            _close(subscription)
            journal.write("O")
        client.close()
        journal.write("O")


def _close(subscription: zchat.Subscription) -> None:
    try:
        subscription.close()
    except zchat.Refused:
        pass  # a full disk: its leave is written later


if __name__ == "__main__":
    main()
