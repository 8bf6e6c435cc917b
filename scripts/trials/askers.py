"""A process that asks who serves a room, one request after the other, and writes down what came of each and when."""

from __future__ import annotations

import random
import time

import zchat
from trials.control import Control

TIMEOUT_SECONDS = 2.0


def ask(client: zchat.Client, room: str, body: bytes, timeout: float, *, retry: bool = False) -> tuple[str, bool]:
    """The code of the error, or empty, and whether the reply is the right one."""
    try:
        reply = client.request(room, body, timeout=timeout, retry=retry)
    except zchat.Refused as refused:
        return refused.code, False
    except zchat.Unreachable:
        return "unreachable", False
    except zchat.TimedOut:
        return "timed-out", False
    except zchat.ZchatError as error:
        return type(error).__name__, False
    return "", reply.body[::-1] == body


def main() -> None:
    """Ask until told to end."""
    control = Control()
    task, journal = control.task, control.journal
    draw = random.Random(task["seed"])
    client = control.connect(task["user"])
    number = 0
    while not control.stopping.wait(draw.uniform(0.0, 0.03)):
        number += 1
        body = f"{control.name} {number} ".encode() + draw.randbytes(draw.randint(0, 300))
        journal.write("Q", number, TIMEOUT_SECONDS)
        began = time.monotonic()
        error, is_right = ask(client, task["room"], body, TIMEOUT_SECONDS)
        journal.write("R", number, f"{time.monotonic() - began:.3f}", int(is_right), error or "-")
    client.close()
    journal.write("O")


if __name__ == "__main__":
    main()
