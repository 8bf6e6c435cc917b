"""What every process of a trial has: a task from its command line, and words that it is told on stdin.

Rule of this file: a process whose starter has gone ends at once, so none is left behind.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import zchat
from trials.journal import Journal

BROKER_WAIT_SECONDS = 120.0  # a broker may be down for as long as its disk is full


class Control:
    """What it is to do, and what it was told since."""

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it
        self.task: dict[str, Any] = json.loads(sys.argv[1])
        self.name: str = self.task["name"]
        self.journal = Journal(Path(self.task["journal"]))
        self.going = threading.Event()
        self.stopping = threading.Event()
        self.last: dict[str, int] | None = None  # room -> offset to wait for
        threading.Thread(target=self._listen, daemon=True).start()

    def connect(self, user: str) -> zchat.Client:
        """A session, as soon as there is a broker that gives one."""
        deadline = time.monotonic() + BROKER_WAIT_SECONDS
        while True:
            try:
                client = zchat.connect(self.task["address"], user, wait=10.0)
            except zchat.ZchatError:
                if time.monotonic() > deadline:
                    raise
                continue
            self.journal.write("S", client.session_id, client.log_id)
            return client

    def _listen(self) -> None:
        for line in sys.stdin:
            word, _, more = line.strip().partition(" ")
            if word == "last":
                self.last = json.loads(more)
            elif word == "go":
                self.going.set()
            elif word == "end":
                self.going.set()
                self.stopping.set()
        os._exit(3)
