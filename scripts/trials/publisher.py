"""A process that publishes numbered messages in a plain loop, as fast as it goes, and knows where each is stored.

    ready       it has a session; it begins with `go`
    done S      all were acked, S seconds after it began
    {…}         at its end: how many, runs of acked ones as [number, offset, how many], and how many are unknown

After `done` it goes on with a message every few milliseconds, until told to end.
"""

from __future__ import annotations

import json
import time
from collections import deque

import zchat
from trials.control import Control

TRICKLE_SECONDS = 0.002
LOOK_MESSAGES = 256  # outcomes are looked at this often


class Acks:
    """Where acked messages are stored, as runs."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.unknown = 0  # the broker knows them and not where they are
        self._open: deque[zchat.Publication] = deque()
        self._settled = 0

    def expect(self, publication: zchat.Publication) -> None:
        """The next message was published."""
        self._open.append(publication)

    def settle(self, *, wait: bool) -> None:
        """Take the outcomes that are known; with `wait`, all."""
        while self._open and (wait or self._open[0].done()):
            try:
                self._acked(self._open.popleft().result())
            except zchat.Refused as refused:
                if refused.definite:
                    raise
                self.unknown += 1
            self._settled += 1

    def _acked(self, offset: int) -> None:
        last = self.runs[-1] if self.runs else None
        if last and last[0] + last[2] == self._settled and last[1] + last[2] == offset:
            last[2] += 1
        else:
            self.runs.append([self._settled, offset, 1])


def main() -> None:
    """Publish until told to end."""
    control = Control()
    task = control.task
    room, count, writer = task["room"], task["count"], task["writer"]
    filler = bytes([writer]) + b"." * (task["size"] - 9)
    client = control.connect(control.name)
    acks = Acks()
    print("ready", flush=True)
    control.going.wait()
    began = time.monotonic()
    number = 0
    while number < count and not control.stopping.is_set():
        for _ in range(min(LOOK_MESSAGES, count - number)):
            acks.expect(client.publish(room, number.to_bytes(8, "big") + filler))
            number += 1
        acks.settle(wait=False)
    acks.settle(wait=True)
    print(f"done {time.monotonic() - began:.3f}", flush=True)
    while not control.stopping.wait(TRICKLE_SECONDS):
        acks.expect(client.publish(room, number.to_bytes(8, "big") + filler))
        number += 1
    acks.settle(wait=True)
    client.close()
    print(json.dumps({"count": number, "runs": acks.runs, "unknown": acks.unknown}), flush=True)


if __name__ == "__main__":
    main()
