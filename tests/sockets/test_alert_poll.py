"""Staying awake for a moment before a sleep: when, for how long, and what is found meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from zchat.sockets.alert_poll import AlertPoll

LONG = 60.0  # seconds: no wait of a test is so long


class Pipe:
    """Something to be read, or not; it comes after so many looks of who stays awake."""

    def __init__(self) -> None:
        self.end, self._writes = os.pipe()
        self.looks = self.comes_after = 0

    def let_others(self) -> None:
        self.looks += 1
        if self.looks == self.comes_after:
            self.come()

    def come(self) -> None:
        os.write(self._writes, b"x")

    def close(self) -> None:
        os.close(self.end)
        os.close(self._writes)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def alert(pipe: Pipe, awake_seconds: float = LONG) -> AlertPoll:
    """One whose last wait was short."""
    poll = AlertPoll(awake_seconds, pipe.let_others)
    poll.register(pipe.end)
    pipe.come()
    assert [descriptor for descriptor, _ in poll.wait(60_000, may_stay_awake=True)] == [pipe.end]
    assert not pipe.looks, "the first wait is a sleep"
    os.read(pipe.end, 1)
    return poll


def test_what_comes_soon_after_what_came_soon_wakes_nobody(pipe: Pipe) -> None:
    poll = alert(pipe)
    pipe.comes_after = 3
    assert [descriptor for descriptor, _ in poll.wait(60_000, may_stay_awake=True)] == [pipe.end]
    assert pipe.looks == 3


def test_who_waited_long_sleeps_the_next_time(pipe: Pipe) -> None:
    poll = alert(pipe, awake_seconds=0.01)
    assert poll.wait(1, may_stay_awake=True) == []
    pipe.looks = 0
    assert poll.wait(1, may_stay_awake=True) == [] and not pipe.looks


def test_while_others_work_it_sleeps(pipe: Pipe) -> None:
    poll = alert(pipe)
    assert poll.wait(1, may_stay_awake=False) == [] and not pipe.looks


def test_who_only_looks_neither_sleeps_nor_stays_awake(pipe: Pipe) -> None:
    poll = alert(pipe)
    assert poll.wait(0, may_stay_awake=True) == [] and not pipe.looks
    pipe.come()
    assert [descriptor for descriptor, _ in poll.wait(0, may_stay_awake=True)] == [pipe.end]
    poll.unregister(pipe.end)
    assert poll.wait(0, may_stay_awake=True) == []
