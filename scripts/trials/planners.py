"""A process that has messages sent later, takes some of them back, and writes down what the broker has confirmed.

Rules of this file
1. A message is in the journal before the broker is asked. All have the same delay, so they are sent in their order.
2. Each has a word that search finds it by.
"""

from __future__ import annotations

import random
import time

import zchat
from trials.control import Control
from trials.journal import digest

WORDS = 7
END_SECONDS = 60.0


def word(number: int) -> str:
    """By which a message is found."""
    return f"needle{number % WORDS}"


def _cancel(client: zchat.Client, name: str) -> None:
    """Take it back. Where that is refused, as on a full disk, it is sent."""
    try:
        client.cancel(name, timeout=30.0)
    except zchat.Refused:
        pass


def main() -> None:
    """Schedule until told to end; then until nothing waits any more."""
    control = Control()
    task, journal = control.task, control.journal
    draw = random.Random(task["seed"])
    client = control.connect(task["user"])
    number = 0
    while not control.stopping.wait(draw.uniform(0.02, 0.15)):
        number += 1
        body = f"{control.name} {number} {word(number)} " + "x" * draw.randint(0, 100)
        journal.write("P", number, task["room"], 0, digest(client.user, "message", {}, body.encode()))
        try:
            name = client.schedule(task["room"], body, delay=task["delay"], timeout=30.0)
            if draw.random() < 0.1:
                journal.write("U", number)
                _cancel(client, name)
            else:
                journal.write("C", number)
        except zchat.Refused as refused:
            journal.write("F", number, int(refused.definite), refused.code)
        except zchat.TimedOut:
            pass  # nobody knows
    deadline = time.monotonic() + END_SECONDS
    while client.scheduled():
        if time.monotonic() > deadline:
            journal.write("X", f"still scheduled after {END_SECONDS:g} s of calm")
            break
        time.sleep(0.05)
    client.close()
    journal.write("O")


if __name__ == "__main__":
    main()
