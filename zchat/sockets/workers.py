"""The broker's threads beside its loop: they do one job after the other, in the order in which they were given.

Rules of this file
1. A job raises nothing; a thread ends with the broker only.
2. A job that takes long lets others by: the loop, and jobs that have only begun. It sleeps for a moment now and then,
   since the kernel may have put who was woken onto the processor that the job has, where it would wait for some ms; and
   for longer where the others have more to do. It gets its share all the same.

    a job of 5 ms     at work ‖ 0.3 ms, a nap ‖ 0.3 ms, a nap ‖ 0.3 ms, the loop has a turn ‖ 0.3 ms, a nap …

Tests: tests/sockets/test_workers.py, tests/sockets/test_readers.py.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from time import monotonic, sleep

from zchat.core.read_pause import read_pause

SHORT_SECONDS = 0.001  # one that takes longer lets others by
WORK_SECONDS = 0.0003  # between two naps,
WORK_SHARE = 0.25  # and as much of what the last one took: on a busy machine that is long, and enough for others
NAP_SECONDS = 0.00001  # and what the kernel adds: about 0.06 ms
LOOK_SECONDS = 0.0002  # whether the others have done
PAUSE_SECONDS_MAX = 0.002  # then it goes on beside them

ReaderJob = Callable[[], None]


class Workers:
    """A few threads."""

    def __init__(
        self, count: int, clock: Callable[[], float] = monotonic, sleep: Callable[[float], object] = sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self.give_way = False  # the loop is at work, or waits for who works for it
        self._is_closed = False
        self._jobs: queue.SimpleQueue[ReaderJob | None] = queue.SimpleQueue()
        self._given = 0  # jobs, by the one thread that gives them,
        self._done = [0] * count  # and done, by each thread
        self._short: set[int] = set()  # threads whose job has only begun
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

    # --- by each thread ---------------------------------------------------------------------

    def _run(self, number: int) -> None:
        began = works_until = 0.0

        def pause() -> None:
            nonlocal works_until
            now = self._clock()
            if now < works_until:
                return
            self._sleep(NAP_SECONDS)
            if now - began >= SHORT_SECONDS:
                self._short.discard(number)
                self._let_others_by(now + PAUSE_SECONDS_MAX)
            goes_on = self._clock()
            works_until = goes_on + max(WORK_SECONDS, (goes_on - now) * WORK_SHARE)

        read_pause.set(pause)
        while (job := self._jobs.get()) is not None and not self._is_closed:
            began = self._clock()
            works_until = began + WORK_SECONDS
            self._short.add(number)
            job()
            self._short.discard(number)
            self._done[number] += 1

    def _let_others_by(self, until: float) -> None:
        while (self.give_way or self._short) and self._clock() < until:
            self._sleep(LOOK_SECONDS)
