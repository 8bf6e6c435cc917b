"""A process that serves a room: the reply to a request is what it says, turned round."""

from __future__ import annotations

import zchat
from trials.control import Control


def answer(message: zchat.Message) -> bytes:
    """What an asker expects."""
    return message.body[::-1]


def main() -> None:
    """Serve until told to end."""
    control = Control()
    client = control.connect(control.task["user"])
    while not control.stopping.is_set():
        try:
            with client.serve(control.task["room"], answer, timeout=5.0):
                control.stopping.wait()
        except (zchat.TimedOut, zchat.Refused):
            control.stopping.wait(0.2)
    client.close()
    control.journal.write("O")


if __name__ == "__main__":
    main()
