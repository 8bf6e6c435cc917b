"""What becomes of a listener's question: asked again, later each time, and told."""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer
from zchat.core.listener import REFUSALS_MAX, Listener
from zchat.core.ordering import FILLING, LIVE, Notice, OrderedDelivery, Start
from zchat.errors import WireError


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, 0)


def filling() -> Listener:
    """One whose FETCH (10, 40] is out."""
    listener = Listener(["a"], OrderedDelivery(["a"], Start(after=10), False))
    listener.ordering.synced(40, 0)
    assert listener.ordering.take_question() == wire.Fetch(0, ["a"], 10, 40)
    listener.asked = 7
    return listener


def test_answers_that_make_no_sense_are_told_once_and_asked_for_again_later_and_later() -> None:
    listener = filling()
    lies: list[Answer] = [
        wire.Done(7),
        wire.HeadsAre(7, 4, []),
        wire.Page(7, [], 10, True, []),
        wire.Page(7, [("b", wire.raw(b"\xc1"))], 40, False, []),
        WireError("bad-frame", "no message"),
    ]
    waits, now = [], 0.0
    for lie in lies:
        assert listener.answered(lie, at(now)) is True
        assert listener.asked == 0 and listener.ordering.state == FILLING
        waits.append(round(listener.pause.until - at(now).seconds, 3))
        now = listener.pause.until - 1_000.0
        assert listener.ordering.take_question() == wire.Fetch(0, ["a"], 10, 40)
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8]
    (told,) = listener.ordering.take()
    assert isinstance(told, Notice) and told.kind == "lost" and "Done in answer to Fetch" in told.reason
    listener.answered(wire.Page(7, [], 40, False, []), at(now))
    assert listener.ordering.state == LIVE and listener.ordering.take() == [Notice("live", 40)]


def test_a_refusal_stays_asked_and_is_told_when_it_goes_on() -> None:
    listener = filling()
    for _ in range(REFUSALS_MAX + 2):
        assert listener.answered(wire.Error("request", 7, "log-damaged", "row 9"), at(0)) is None
    assert listener.asked == 7
    assert listener.ordering.take() == [Notice("lost", reason="the broker refuses: row 9 [log-damaged]")]


def test_fetches_that_bring_nothing_wait() -> None:
    listener = Listener(["a"], OrderedDelivery(["a"], Start(), False))
    listener.ordering.synced(40, 0)
    waits, now = [], 0.0
    for last in range(41, 46):
        listener.ordering.watermark("a", last)
        assert listener.ordering.take_question() == wire.Fetch(0, ["a"], last - 1, last)
        gap = ("a", last, last, "damaged")
        listener.answered(wire.Page(7, [], last, False, [wire.Gap(*gap)]), at(now))
        waits.append(round(listener.pause.until - at(now).seconds, 3))
        now = listener.pause.until - 1_000.0
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8]
