"""A process that purges a room again and again while others write in it."""

from __future__ import annotations

import random

import zchat
from trials.control import Control


def main() -> None:
    """Purge until told to end."""
    control = Control()
    task = control.task
    draw = random.Random(task["seed"])
    client = control.connect(task["user"])
    while not control.stopping.wait(draw.uniform(0.5, 2.0)):
        try:
            client.purge(task["room"], timeout=30.0)
        except (zchat.Refused, zchat.TimedOut):
            pass  # nobody is owed that something goes
    client.close()
    control.journal.write("O")


if __name__ == "__main__":
    main()
