"""Reads in slices: they give way when it is time, and say the same in the end."""

from __future__ import annotations

import time

import pytest

from zchat.core.log import Gap, Sliced, whole
from zchat.core.read_pause import read_pause
from zchat.log import slices
from zchat.log.slices import Slice, add_gaps, paced


def steps(count: int) -> Sliced[int]:
    for _ in range(count):
        yield
    return count


def pauses(sliced: Sliced[int]) -> int:
    return sum(1 for _ in sliced)


def test_what_yields_after_every_step_gives_way_only_when_a_slice_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    assert pauses(paced(steps(50))) == 50
    monkeypatch.setattr(slices, "SLICE_SECONDS", 3600.0)
    assert pauses(paced(steps(50))) == 0
    assert whole(paced(steps(50))) == 50


def test_a_slice_is_over_after_its_time() -> None:
    began, slice_ = time.monotonic(), Slice()
    while not slice_.is_over:
        pass
    assert time.monotonic() - began >= slices.SLICE_SECONDS


def test_what_reads_pauses_at_every_look_as_its_thread_says() -> None:
    paused: list[int] = []
    token = read_pause.set(lambda: paused.append(1))
    try:
        assert whole(paced(steps(50))) == 50
    finally:
        read_pause.reset(token)
    assert len(paused) == 50
    assert whole(paced(steps(50))) == 50 and len(paused) == 50


def test_an_error_of_a_step_comes_through() -> None:
    def fails() -> Sliced[int]:
        yield
        raise ValueError

    with pytest.raises(ValueError):
        whole(paced(fails()))


def test_a_gap_over_several_slices_is_one() -> None:
    gaps: list[Gap] = []
    add_gaps(gaps, [Gap("a", 1, 10, "trimmed"), Gap("b", 4, 6, "damaged")], 0)
    add_gaps(gaps, [Gap("a", 11, 20, "trimmed"), Gap("b", 11, 12, "damaged")], 10)
    add_gaps(gaps, [Gap("a", 21, 22, "damaged"), Gap("b", 25, 26, "damaged")], 20)
    assert gaps == [
        Gap("a", 1, 20, "trimmed"),
        Gap("b", 4, 6, "damaged"),
        Gap("b", 11, 12, "damaged"),
        Gap("a", 21, 22, "damaged"),
        Gap("b", 25, 26, "damaged"),
    ]
