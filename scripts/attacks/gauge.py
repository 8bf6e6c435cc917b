"""An honest client that sends, asks and listens the whole time, and writes down how long each answer took.

    ready        it listens
    {…}          at its end: messages sent, heard, and heard out of their order; answers to no question of its own

The journal gets `B time` when it begins to wait, then `A what time seconds`, `F what time seconds error`, and
`N time kind` when the connection was lost or is back.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial

from trials.control import Control

import zchat

EVERY_SECONDS = 0.02
NUMBER_BYTES = 8
ANSWER_SECONDS = 300.0  # a client waits; what it waited is what is measured


class Listening:
    """What it hears of its own room."""

    def __init__(self, client: zchat.Client, room: str, on_notice: Callable[[zchat.Notice], None]) -> None:
        self.heard = self.wrong = 0
        self._subscription = client.listen(room, on_notice=on_notice)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        for message in self._subscription:
            self.wrong += int.from_bytes(message.body[-NUMBER_BYTES:], "big") != self.heard
            self.heard += 1


def main() -> None:
    """Send, ask and write down until told to end."""
    control = Control()
    room, mark = control.task["room"], bytes.fromhex(control.task.get("mark", ""))
    client = control.connect(control.name)
    listening = Listening(client, room, lambda notice: control.journal.write("N", time.monotonic(), notice.kind))
    print("ready", flush=True)
    sent = foreign = 0
    body = b""

    def look_back() -> None:
        nonlocal foreign
        foreign += [message.body for message in client.history(room, last=1)] != [body]

    questions = {"history": look_back, "who": lambda: client.who(room)}

    def measured(what: str, ask: Callable[[], object]) -> None:
        began = time.monotonic()
        control.journal.write("B", began)
        try:
            ask()
        except zchat.ZchatError as error:
            control.journal.write("F", what, began, time.monotonic() - began, error)
        else:
            control.journal.write("A", what, began, time.monotonic() - began)

    while not control.stopping.wait(EVERY_SECONDS):
        body = mark + sent.to_bytes(NUMBER_BYTES, "big")
        measured("send", partial(client.send, room, body, timeout=ANSWER_SECONDS))
        sent += 1
        name = ("history", "who")[sent % 2]
        measured(name, questions[name])
    deadline = time.monotonic() + 10.0
    while listening.heard < sent and time.monotonic() < deadline:
        time.sleep(0.01)
    said = {"sent": sent, "heard": listening.heard, "wrong": listening.wrong, "foreign": foreign}
    print(json.dumps(said), flush=True)
    client.close()


if __name__ == "__main__":
    main()
