"""A process that publishes: in one of several ways, and writes down what it sends and what becomes of it.

Rules of this file
1. A message is in the journal before it is published, its outcome as soon as it is known.
2. Bodies begin with writer and number, so every message is one of its kind.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import zchat
from trials.control import Control
from trials.journal import Journal, digest

UNKNOWN_MAX = 5_000  # messages without an outcome: then it waits
END_SECONDS = 60.0


class Letter(NamedTuple):
    """One message to be sent."""

    room: str
    size: int
    volatile: bool = False
    event: str = "message"
    headers: dict[str, str] | None = None


class Writer:
    """Publishes under a name of its own and keeps the books."""

    def __init__(self, name: str, client: zchat.Client, journal: Journal) -> None:
        self._name = name
        self._client = client
        self._journal = journal
        self._number = 0
        self._open: deque[tuple[int, zchat.Publication]] = deque()
        self._filler = random.Random(name).randbytes(1 << 20).replace(b" ", b"_")

    def publish(self, letters: list[Letter]) -> None:
        """All of them, one `publish` each."""
        ready = []
        for letter in letters:
            self._number += 1
            head = f"{self._name} {self._number} ".encode()
            begin = self._number * 997 % (len(self._filler) - letter.size)
            body = head + self._filler[begin : begin + letter.size]
            proof = digest(self._client.user, letter.event, letter.headers or {}, body)
            self._journal.note("P", self._number, letter.room, int(letter.volatile), proof)
            ready.append((self._number, letter, body))
        self._journal.flush()
        for number, letter, body in ready:
            publication = self._client.publish(
                letter.room, body, event=letter.event, headers=letter.headers, volatile=letter.volatile
            )
            self._open.append((number, publication))

    def settle(self, wait: float = 0.0) -> None:
        """Write down the outcomes that are known, waiting for the oldest up to `wait` seconds."""
        while self._open:
            number, publication = self._open[0]
            if not wait and not publication.done():
                break
            try:
                self._journal.note("A", number, publication.result(wait))
            except zchat.Refused as refused:
                self._journal.note("F", number, int(refused.definite), refused.code)
            except zchat.TimedOut:
                break
            self._open.popleft()
        self._journal.flush()

    @property
    def unsettled(self) -> int:
        """Messages without an outcome."""
        return len(self._open)


def plan(style: str, rooms: list[str], draw: random.Random) -> Iterator[tuple[float, list[Letter]]]:
    """(seconds to pause, what to send then), for ever."""
    began = time.monotonic()
    while True:
        room = draw.choice(rooms)
        if style == "steady":
            yield draw.uniform(0.002, 0.012), [_letter(room, draw)]
        elif style == "bursts":
            burst = draw.sample(rooms, min(2, len(rooms)))
            yield draw.uniform(0.1, 1.0), [_letter(draw.choice(burst), draw) for _ in range(draw.randint(50, 1200))]
        elif style == "fat":
            yield draw.uniform(0.1, 0.4), [Letter(room, draw.randint(5_000, 60_000))]
        elif style == "wander":
            yield draw.uniform(0.01, 0.04), [_letter(f"{room}.{int(time.monotonic() - began) // 2}", draw)]
        else:
            raise ValueError(f"no style {style}")


def _letter(room: str, draw: random.Random) -> Letter:
    chance = draw.random()
    if chance < 0.04:
        return Letter(room, draw.randint(0, 200), volatile=True)
    if chance < 0.08:
        return Letter(room, draw.randint(0, 200), event="note", headers={"n": str(draw.randint(0, 9)), "会": "议"})
    return Letter(room, draw.randint(0, 300))


def main() -> None:
    """Publish until told to end."""
    control = Control()
    task = control.task
    client = control.connect(task["user"])
    writer = Writer(control.name, client, control.journal)
    for pause, letters in plan(task["style"], task["rooms"], random.Random(task["seed"])):
        if control.stopping.wait(pause):
            break
        writer.publish(letters)
        writer.settle()
        while writer.unsettled > UNKNOWN_MAX and not control.stopping.is_set():
            writer.settle(0.1)
    deadline = time.monotonic() + END_SECONDS
    while writer.unsettled and time.monotonic() < deadline:
        writer.settle(0.5)
    if writer.unsettled:
        control.journal.write("X", f"no outcome for {writer.unsettled} messages in {END_SECONDS:g} s of calm")
    client.close()
    control.journal.write("O")


if __name__ == "__main__":
    main()
