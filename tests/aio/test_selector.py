"""An event loop watches a port's descriptors: it says which one tells of something, as long as it is registered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from selectors import EVENT_READ

import pytest

from tests.aio.conftest import Loops, until
from zchat.aio.selector import LoopSelector


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    """Two: (to be read, to be written)."""
    made = [os.pipe(), os.pipe()]
    yield made
    for each in made:
        os.close(each[0])
        os.close(each[1])


def test_it_says_which_one_tells_of_something(run: Loops, pipes: list[tuple[int, int]]) -> None:
    async def watch() -> None:
        told: list[str] = []
        selector = LoopSelector()
        selector.register(pipes[0][0], EVENT_READ, "first")
        selector.begin(told.append)
        selector.register(pipes[1][0], EVENT_READ, "second")
        os.write(pipes[1][1], b"x")
        await until(lambda: told, "it tells")
        assert set(told) == {"second"}
        os.write(pipes[0][1], b"x")
        await until(lambda: "first" in told, "it tells of the other one")
        selector.close()

    run(watch())


@pytest.mark.parametrize("ends", ["unregister", "close"])
def test_it_says_nothing_of_one_that_is_watched_no_more(run: Loops, pipes: list[tuple[int, int]], ends: str) -> None:
    async def watch() -> None:
        told: list[str] = []
        (read, write), other = pipes
        selector = LoopSelector()
        selector.register(read, EVENT_READ, "x")
        selector.begin(told.append)
        if ends == "unregister":
            selector.unregister(read)
        else:
            selector.close()
        os.write(write, b"x")
        seen: list[bool] = []
        asyncio.get_running_loop().add_reader(other[0], seen.append, True)
        os.write(other[1], b"x")  # the loop has looked at all that it watches once this is seen
        await until(lambda: len(seen) > 3, "the loop looked")
        asyncio.get_running_loop().remove_reader(other[0])
        assert told == []
        if ends == "unregister":
            selector.close()

    run(watch())


def test_where_the_loop_runs_no_more_it_is_asked(pipes: list[tuple[int, int]]) -> None:
    async def made() -> LoopSelector:
        selector = LoopSelector()
        selector.begin(lambda data: None)
        return selector

    loop = asyncio.new_event_loop()
    selector = loop.run_until_complete(made())
    (read, write), _ = pipes
    selector.register(read, EVENT_READ, "x")
    assert selector.select(0.0) == []
    os.write(write, b"x")
    assert [key.data for key, _ in selector.select(0.0)] == ["x"]
    loop.close()
    another, its_end = pipes[1]
    selector.register(another, EVENT_READ, "y")
    os.write(its_end, b"y")
    assert {key.data for key, _ in selector.select(0.0)} == {"x", "y"}
    selector.close()
    assert not selector.get_map()
