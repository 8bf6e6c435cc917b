"""The threads beside the broker's loop: jobs in order, and one that takes long lets others by."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.conftest import eventually
from zchat.core.read_pause import read_pause
from zchat.sockets import workers
from zchat.sockets.workers import Workers

STEP_SECONDS = 0.00001  # that a look at the clock takes
LONG_SECONDS = 0.02
WAIT_SECONDS = 60


class Clock:
    """Of a machine on which nothing takes time but to look at the clock, and to sleep."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        self.now += STEP_SECONDS
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What jobs wait for that do not end by themselves."""
    held = threading.Event()
    yield held
    held.set()


@pytest.fixture
def pool(clock: Clock) -> Iterator[Workers]:
    pool = Workers(2, clock.monotonic, clock.sleep)
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def _ended_in_order(pool: Workers, held: threading.Event) -> None:
    """Jobs are let go before the threads are waited for."""


def naps(pool: Workers, clock: Clock, seconds: float) -> list[float]:
    """What a job of so many seconds slept, each time."""
    done = threading.Event()
    clock.slept.clear()

    def job() -> None:
        pause, until = read_pause.get(), clock.now + seconds
        while pause is not None and clock.now < until:
            pause()
        done.set()

    pool.work(job)
    assert done.wait(WAIT_SECONDS)
    return list(clock.slept)


def hold(pool: Workers, held: threading.Event) -> None:
    """A job has begun, and ends when that is set."""
    begun = threading.Event()

    def job() -> None:
        begun.set()
        held.wait(WAIT_SECONDS)

    pool.work(job)
    assert begun.wait(WAIT_SECONDS)


def test_jobs_begin_in_their_order_and_are_counted(pool: Workers, held: threading.Event) -> None:
    begun: list[int] = []
    assert not pool.at_work
    hold(pool, held)
    for number in range(50):
        pool.work(lambda number=number: begun.append(number))  # type: ignore[misc]
    eventually(lambda: len(begun) == 50, "the other thread does the others")
    assert begun == [*range(50)] and pool.at_work
    held.set()
    eventually(lambda: not pool.at_work, "all are done")


def test_a_job_lets_others_have_its_processor_now_and_then(pool: Workers, clock: Clock) -> None:
    slept = naps(pool, clock, LONG_SECONDS)
    most = LONG_SECONDS / workers.WORK_SECONDS
    assert most / 2 < len(slept) <= most and set(slept) == {workers.NAP_SECONDS}


def test_a_long_job_waits_for_the_loop_but_gets_its_share(pool: Workers, clock: Clock) -> None:
    pool.give_way = True
    slept = naps(pool, clock, LONG_SECONDS)
    pauses = slept.count(workers.NAP_SECONDS)
    assert pauses >= LONG_SECONDS / (workers.PAUSE_SECONDS_MAX + 2 * workers.WORK_SECONDS)
    assert LONG_SECONDS / 2 < sum(slept) < LONG_SECONDS - (pauses - 1) * workers.WORK_SECONDS


def test_a_long_job_waits_for_one_that_has_only_begun(pool: Workers, clock: Clock, held: threading.Event) -> None:
    hold(pool, held)
    assert workers.LOOK_SECONDS in naps(pool, clock, LONG_SECONDS)


def test_a_short_job_waits_for_nobody(pool: Workers, clock: Clock) -> None:
    pool.give_way = True
    assert workers.LOOK_SECONDS not in naps(pool, clock, workers.SHORT_SECONDS * 0.9)
