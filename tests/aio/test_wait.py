"""How a task goes on whose wait is over: at once, in its own context; or when the loop comes round."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from tests.aio.conftest import Around, Loops
from zchat.aio.wait import Wait

whose = ContextVar("whose", default="nobody's")


class Waiter:
    """A task that awaits a wait, and notes what it sees."""

    def __init__(self, kind: type[Wait] = Wait) -> None:
        self.wait = kind(loop=asyncio.get_running_loop())
        self.saw: list[tuple[object, ...]] = []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        whose.set("the task's")
        try:
            result = await self.wait
        except asyncio.CancelledError:
            self.saw.append(("cancelled",))
            raise
        self.saw.append((result, whose.get(), asyncio.current_task() is self.task))


def called_by_the_loop(function: Callable[[], object]) -> asyncio.Future[object]:
    """What it returns, called between two tasks."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[object] = loop.create_future()
    loop.call_soon(lambda: told.set_result(function()))
    return told


def test_a_task_goes_on_within_the_call_in_its_own_context(run: Loops) -> None:
    async def talk() -> None:
        waiter = Waiter()
        await Around()

        def over() -> list[tuple[object, ...]]:
            waiter.wait.go_on(True)
            return list(waiter.saw)

        assert await called_by_the_loop(over) == [(True, "the task's", True)]
        assert whose.get() == "nobody's"
        await waiter.task

    run(talk())


def test_a_task_whose_wait_is_settled_goes_on_when_the_loop_comes_round(run: Loops) -> None:
    async def talk() -> None:
        waiter = Waiter()
        await Around()
        waiter.wait.settle(False)
        assert waiter.saw == [], "another task runs"
        await waiter.task
        assert waiter.saw == [(False, "the task's", True)]

    run(talk())


@pytest.mark.parametrize("later", [Wait.settle, Wait.go_on])
@pytest.mark.parametrize("first", [Wait.settle, Wait.go_on])
def test_a_wait_is_over_once(
    run: Loops, first: Callable[[Wait, bool], None], later: Callable[[Wait, bool], None]
) -> None:
    async def talk() -> None:
        waiter = Waiter()
        await Around()

        def both() -> None:
            first(waiter.wait, True)
            later(waiter.wait, False)

        await called_by_the_loop(both)
        await waiter.task
        assert waiter.saw == [(True, "the task's", True)]

    run(talk())


@pytest.mark.parametrize("over", [Wait.settle, Wait.go_on])
def test_a_task_that_is_cancelled_first_sees_that_alone(run: Loops, over: Callable[[Wait, bool], None]) -> None:
    async def talk() -> None:
        waiter = Waiter()
        await Around()

        def cancelled() -> None:
            assert waiter.task.cancel()
            over(waiter.wait, True)

        await called_by_the_loop(cancelled)
        assert (await asyncio.gather(waiter.task, return_exceptions=True))[0].__class__ is asyncio.CancelledError
        assert waiter.saw == [("cancelled",)]

    run(talk())


def test_a_wait_that_is_over_before_it_is_awaited_holds_nobody_up(run: Loops) -> None:
    async def talk() -> None:
        wait = Wait(loop=asyncio.get_running_loop())
        wait.go_on(True)
        assert await wait is True

    run(talk())


@pytest.mark.parametrize("end", [lambda wait: wait.settle(True), lambda wait: wait.cancel()])
def test_it_ends_where_the_loop_is_closed_and_the_task_never_goes_on(end: Callable[[Wait], object]) -> None:
    async def begun() -> Waiter:
        waiter = Waiter()
        await Around()
        return waiter

    loop = asyncio.new_event_loop()
    waiter = loop.run_until_complete(begun())
    loop.close()
    end(waiter.wait)
    assert waiter.wait.done() and waiter.saw == []
    waiter.task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_others_are_told_of_a_wait_as_of_any_future(run: Loops) -> None:
    async def talk() -> None:
        waiter, told = Waiter(), list[bool]()
        await Around()
        waiter.wait.add_done_callback(lambda wait: told.append(wait.result()))
        await called_by_the_loop(lambda: waiter.wait.go_on(True))
        await waiter.task
        await Around()
        assert told == [True] and waiter.saw == [(True, "the task's", True)]

    run(talk())


class Interrupted(Wait):
    """A handler of signals runs in the middle of its end."""

    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None

    def done(self) -> bool:
        is_done, before, self.before = super().done(), self.before, None
        if before is not None:
            before()
        return is_done

    def set_result(self, result: bool) -> None:
        super().set_result(result)
        after, self.after = self.after, None
        if after is not None:
            after()


@pytest.mark.parametrize("over", [Wait.settle, Wait.go_on])
def test_one_that_is_cancelled_in_the_middle_of_its_end_is_cancelled(
    run: Loops, over: Callable[[Wait, bool], None]
) -> None:
    async def talk() -> None:
        waiter = Waiter(Interrupted)
        await Around()
        assert isinstance(waiter.wait, Interrupted)
        waiter.wait.before = waiter.task.cancel
        await called_by_the_loop(lambda: over(waiter.wait, True))
        await asyncio.gather(waiter.task, return_exceptions=True)
        assert waiter.saw == [("cancelled",)]

    run(talk())


@pytest.mark.parametrize("over", [Wait.settle, Wait.go_on])
def test_one_whose_end_was_torn_can_be_told_again(run: Loops, over: Callable[[Wait, bool], None]) -> None:
    def tear() -> None:
        raise ZeroDivisionError

    async def talk() -> None:
        waiter = Waiter(Interrupted)
        await Around()
        assert isinstance(waiter.wait, Interrupted)
        waiter.wait.after = tear

        def torn() -> None:
            with pytest.raises(ZeroDivisionError):
                over(waiter.wait, True)
            waiter.wait.settle(True)

        await called_by_the_loop(torn)
        await waiter.task
        assert waiter.saw == [(True, "the task's", True)]

    run(talk())
