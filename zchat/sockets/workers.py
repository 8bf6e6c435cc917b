"""The broker's threads beside its loop: they do one job after the other, in the order in which they were given.

Rules of this file: a job raises nothing; a thread ends with the broker only. Tests: tests/sockets/test_readers.py.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

ReaderJob = Callable[[], None]


class Workers:
    """A few threads."""

    def __init__(self, count: int) -> None:
        self._is_closed = False
        self._jobs: queue.SimpleQueue[ReaderJob | None] = queue.SimpleQueue()
        self._given = 0  # jobs, by the one thread that gives them,
        self._done = [0] * count  # and done, by each thread
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name="zchat-read", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def work(self, job: ReaderJob) -> None:
        """Have it done soon. Called by one thread."""
        self._given += 1
        self._jobs.put(job)

    @property
    def at_work(self) -> bool:
        """Whether a job is not done."""
        return self._given != sum(self._done)

    def close(self) -> None:
        """End the threads; what waits is not done."""
        self._is_closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while (job := self._jobs.get()) is not None and not self._is_closed:
            job()
            self._done[number] += 1
