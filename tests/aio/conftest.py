"""Tests of `zchat.aio` run under the event loop of Python and, where there is one for the platform, under uvloop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

SECONDS_MAX = 60.0  # a test that hangs says where

Run = Callable[[Coroutine[Any, Any, T]], T]


class Loops:
    """Runs coroutines in one event loop, and has all that the loop reports."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.reported: list[dict[str, Any]] = []
        self._runner = asyncio.Runner(loop_factory=new_loop)

    def __call__(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """To its end."""
        self._runner.get_loop().set_exception_handler(lambda loop, context: self.reported.append(context))
        return self._runner.run(asyncio.wait_for(coroutine, SECONDS_MAX))

    def close(self) -> None:
        """End the loop."""
        self._runner.close()


def loops() -> list[Any]:
    """How each kind makes one."""
    try:
        import uvloop
    except ImportError:  # there is none for the platform
        return [pytest.param(asyncio.new_event_loop, id="asyncio")]
    return [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]


@pytest.fixture(params=loops())
def run(request: pytest.FixtureRequest) -> Iterator[Loops]:
    """Runs a coroutine. Nothing may be left that the loop has to report."""
    made = Loops(request.param)
    yield made
    made.close()
    assert made.reported == []


@pytest.fixture
def room() -> str:
    """A room that no other test uses."""
    return f"room-{secrets.token_hex(4)}"


class Around:
    """To await it is to let the loop come round once."""

    def __await__(self) -> Generator[None, None, None]:
        """Once."""
        yield


async def until(condition: Callable[[], object], what: str) -> None:
    """Let the loop come round until something is so; the loop does nothing else meanwhile than what it has to."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SECONDS_MAX / 2
    while not condition():
        assert loop.time() < deadline, f"not in time: {what}"
        await Around()
