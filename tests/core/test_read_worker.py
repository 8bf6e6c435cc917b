"""Reads beside the loop: in slices, and whatever is raised is an answer."""

from __future__ import annotations

from tests.core.test_broker_loop import Bench, publish
from zchat import wire
from zchat.errors import LogError


def answers(bench: Bench) -> list[wire.BrokerMessage]:
    for _ in range(4):
        bench.turns()
        bench.world.run(0.1)
    bench.turns()
    return [message for _, message in bench.sent if not isinstance(message, wire.Welcome)]


def asked(*messages: wire.ClientMessage) -> Bench:
    bench = Bench()
    bench.hello(b"anna")
    bench.frames += [(b"anna", wire.encode(message)) for message in messages]
    return bench


def test_history_is_answered() -> None:
    bench = asked(wire.Seek(1, ["a"], 5), wire.Fetch(2, ["a"], 0, 0))
    position, page = answers(bench)
    assert isinstance(position, wire.Position) and isinstance(page, wire.Page)
    assert (position.request, page.request) == (1, 2)


def test_whatever_is_raised_is_an_answer_and_told_once() -> None:
    bench = asked(wire.Seek(1, ["a"], 5), wire.Fetch(2, ["a"], 0, 0))

    def fails(*args: object) -> None:
        raise LogError("log-damaged", "a page")

    bench.log.read = bench.log.seek = fails  # type: ignore[method-assign, assignment]
    told = answers(bench)
    assert [(each.number, each.code) for each in told if isinstance(each, wire.Error)] == [
        (1, "log-damaged"),
        (2, "log-damaged"),
    ]
    assert len(bench.told) == 1 and "the log cannot be read" in bench.told[0]


def test_a_repeat_that_cannot_be_looked_up_is_refused() -> None:
    bench = asked()
    bench.frames += [(b"anna", publish(5, b"x")), (b"anna", publish(3, b"x"))]

    def fails(*args: object) -> None:
        raise MemoryError

    bench.log.find = fails  # type: ignore[method-assign, assignment]
    errors = [each for each in answers(bench) if isinstance(each, wire.Error)]
    assert [(each.about, each.number, each.code) for each in errors] == [("publish", 3, "log-failed")]
