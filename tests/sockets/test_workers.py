"""The threads beside the broker's loop: jobs in order, and one that takes long lets others by."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from tests.conftest import eventually
from zchat.core.read_pause import read_pause
from zchat.sockets import workers
from zchat.sockets.workers import Workers

LONG_SECONDS = 0.02


@pytest.fixture
def pool() -> Iterator[Workers]:
    pool = Workers(2)
    yield pool
    pool.close()


def worked(seconds: float) -> int:
    """Work for so long; how often it was asked to pause."""
    pause, times = read_pause.get(), 0
    assert pause is not None
    until = monotonic() + seconds
    while monotonic() < until:
        pause()
        times += 1
    return times


def test_jobs_begin_in_their_order_and_are_counted(pool: Workers) -> None:
    begun: list[int] = []
    held, release = threading.Event(), threading.Event()

    def holds() -> None:
        held.set()
        release.wait()

    assert not pool.at_work
    pool.work(holds)
    held.wait()
    for number in range(50):
        pool.work(lambda number=number: begun.append(number))  # type: ignore[misc]
    eventually(lambda: len(begun) == 50, "the other thread does them")
    assert begun == [*range(50)] and pool.at_work
    release.set()
    eventually(lambda: not pool.at_work, "all are done")


def naps(pool: Workers, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[float]:
    """How long a job of so many seconds slept, each time."""
    slept: list[float] = []
    done = threading.Event()
    monkeypatch.setattr(workers, "sleep", slept.append)  # what is slept is not worked

    def job() -> None:
        worked(seconds)
        done.set()

    pool.work(job)
    assert done.wait(30)
    return slept


def test_a_job_lets_others_have_its_processor_now_and_then(pool: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = naps(pool, monkeypatch, LONG_SECONDS)
    assert 1 < len(slept) <= LONG_SECONDS / workers.WORK_SECONDS + 1 and set(slept) == {workers.NAP_SECONDS}


def test_a_long_job_waits_for_the_loop_and_for_a_short_one_but_not_for_ever(
    pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.give_way = True
    assert workers.LOOK_SECONDS in naps(pool, monkeypatch, LONG_SECONDS)
    pool.give_way = False
    begun, release = threading.Event(), threading.Event()

    def begins() -> None:
        begun.set()
        release.wait()

    pool.work(begins)
    begun.wait()
    assert workers.LOOK_SECONDS in naps(pool, monkeypatch, LONG_SECONDS)
    release.set()


def test_a_short_job_waits_for_nobody(pool: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SHORT_SECONDS", 3600.0)
    pool.give_way = True
    assert workers.LOOK_SECONDS not in naps(pool, monkeypatch, LONG_SECONDS)
