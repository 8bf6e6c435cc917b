from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import thread_time

import pytest

from tests.simulation.checker import INVALID, UNKNOWN, VALID, check
from tests.simulation.history import (
    ACKED,
    JOIN,
    LEAVE,
    MESSAGE,
    REFUSED,
    Begun,
    Gap,
    History,
    Item,
    Listening,
    Log,
    Lost,
    Reached,
    Record,
    Sent,
    Volatile,
)
from tests.simulation.history import UNKNOWN as UNKNOWN_OUTCOME

ONE, TWO, THREE = (Sent("w", number, "a", number * 11, ACKED, number) for number in (1, 2, 3))
REFUSAL = Sent("w", 4, "a", 44, REFUSED)
VOLATILE = Sent("w", 4, "a", 44, ACKED, 0, True)
DIED = Sent("w", 4, "a", 44, UNKNOWN_OUTCOME)


def of(sent: Sent, offset: int = 0, room: str = "", body: int = 0) -> Record:
    return Record(room or sent.room, offset or sent.offset, MESSAGE, sent.writer, sent.number, body or sent.body)


def join(offset: int, session: str = "s") -> Record:
    return Record("a", offset, JOIN, session)


def leave(offset: int, session: str = "s") -> Record:
    return Record("a", offset, LEAVE, session)


ALL = (of(ONE), of(TWO), of(THREE))


def history(
    sent: Sequence[Sent] = (ONE, TWO, THREE),
    stored: Sequence[Record] = ALL,
    got: Sequence[Item] = ALL,
    after: int = 0,
    not_above: int = 0,
    gone: tuple[Gap, ...] = (),
    members: dict[str, set[str]] | None = None,
    presence: bool = False,
    complete: bool = True,
    volatile: Sequence[tuple[int, Sent]] = (),
) -> History:
    items: list[Item] = [Begun("l", after, not_above), *got]
    listening = Listening("x", ("a",), presence, items, complete)
    broadcast = {"a": [Volatile(broker, each.writer, each.number) for broker, each in volatile]} if volatile else {}
    return History(sent, [Log("l", stored, gone, members)], [listening], broadcast)


FLEETING = [Sent("v", number, "a", number, ACKED, 0, True) for number in range(1, 7)]


def fleeting(got: Sequence[int | Lost]) -> History:
    """Of six volatile messages the last two are of another start of the broker; the listener gets those."""
    items = [item if isinstance(item, Lost) else of(FLEETING[item]) for item in got]
    volatile = [(1 if each.number < 5 else 2, each) for each in FLEETING]
    return history([ONE, TWO, THREE, *FLEETING], got=[*ALL, *items], volatile=volatile)


def test_a_history_in_which_all_went_well_is_valid() -> None:
    verdict = check(history())
    assert verdict.answer == VALID, str(verdict)
    assert verdict.counts == {"acked": 3, "volatile": 0, "stored": 3, "delivered": 3}


def test_a_history_in_which_nothing_happened_is_unknown() -> None:
    assert check(History([], [], [])).answer == UNKNOWN
    assert check(history(got=[], after=3)).answer == UNKNOWN


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("lost", history(got=[of(ONE), of(THREE)])),
        ("lost", history(got=[of(ONE), of(TWO)])),
        ("lost", history(got=[of(ONE), of(THREE)], complete=False)),
        ("lost", history(got=[of(ONE), Gap("a", 2, 2)], gone=(Gap("a", 2, 2),))),
        ("lost", history(got=[of(ONE), Reached(2), of(TWO), of(THREE)])),
        ("doubled", history(got=[*ALL, of(TWO)])),
        ("doubled", history(stored=[*ALL, of(TWO, 4)], got=[*ALL, of(TWO, 4)])),
        ("reordered", history(got=[of(ONE), of(THREE), of(TWO)])),
        ("reordered", history(got=[of(TWO), of(THREE), of(ONE)], after=1)),
        ("reordered", history(stored=[of(ONE), of(THREE), of(TWO)])),
        ("reordered", history(sent=[ONE, TWO], stored=[of(TWO, 1), of(ONE, 2)], got=[of(TWO, 1), of(ONE, 2)])),
        ("unsent", history(sent=[ONE, TWO])),
        ("unsent", history(sent=[ONE, TWO, THREE], got=[*ALL, Record("a", 0, MESSAGE, "nobody", 1, 5)])),
        ("refused_appears", history(sent=[ONE, TWO, THREE, REFUSAL], stored=[*ALL, of(REFUSAL, 4)], after=0)),
        ("refused_appears", history(sent=[ONE, TWO, THREE, REFUSAL], got=[*ALL, of(REFUSAL)])),
        ("join_without_leave", history(stored=[*ALL, join(4), join(5)])),
        ("join_without_leave", history(stored=[*ALL, join(4)], members={"a": set()})),
        ("leave_without_join", history(stored=[*ALL, leave(4)])),
        ("leave_without_join", history(stored=[*ALL, join(4), leave(5), leave(6)])),
        ("members_wrong", history(members={"a": {"s"}})),
        ("members_wrong", history(stored=[*ALL, join(4), leave(5)], members={"a": {"s"}})),
        ("acked_not_stored", history(stored=[of(ONE), of(TWO)], got=[of(ONE), of(TWO)])),
        ("acked_not_stored", history(stored=[of(ONE), of(TWO), of(THREE, 7)], got=[of(ONE), of(TWO), of(THREE, 7)])),
        ("not_stored", history(got=[*ALL, of(DIED, 9)], sent=[ONE, TWO, THREE, DIED])),
        ("body_changed", history(got=[of(ONE), of(TWO, body=9), of(THREE)])),
        ("body_changed", history(stored=[of(ONE), of(TWO, body=9), of(THREE)])),
        ("body_changed", history(stored=[of(ONE), of(TWO), of(THREE, room="b")], got=[of(ONE), of(TWO)])),
        ("body_changed", history(got=[of(ONE), of(THREE, 2), of(THREE)])),
        ("false_gap", history(got=[of(ONE), Gap("a", 2, 2), of(THREE)])),
        (
            "late_gap",
            history(got=[of(ONE), of(THREE), Gap("a", 2, 2)], stored=[of(ONE), of(THREE)], gone=(Gap("a", 2, 2),)),
        ),
        ("miscounted", fleeting([0, Lost("a", 1), 3])),
        ("miscounted", fleeting([0, Lost("a", 3), 3])),
        ("miscounted", fleeting([0, 2])),
        ("miscounted", fleeting([0, Lost("a", 1), 1])),
        ("miscounted", fleeting([1, 0])),
        ("miscounted", fleeting([0, 0])),
        ("miscounted", fleeting([0, 5])),
        ("miscounted", fleeting([0, Lost("a", 5), 5])),
        ("unasked", history(not_above=1, after=1)),
        ("unasked", history(stored=[*ALL, join(4)], got=[*ALL, join(4)])),
    ],
)
def test_each_anomaly_is_caught(kind: str, bad: History) -> None:
    verdict = check(bad)
    assert verdict.answer == INVALID and kind in {anomaly.kind for anomaly in verdict.anomalies}, str(verdict)
    assert verdict.counts[kind] >= 1


@pytest.mark.parametrize(
    "good",
    [
        history(got=ALL[1:], after=1),
        history(got=ALL[:2], complete=False),
        history(got=[of(ONE), of(TWO), Reached(2), of(THREE), Reached(9)]),
        history(after=2),  # the last of them, and more than it was owed
        history(sent=[ONE, TWO, THREE, REFUSAL]),
        history(sent=[ONE, TWO, THREE, DIED]),
        history(sent=[ONE, TWO, THREE, DIED], stored=[*ALL, of(DIED, 4)], got=[*ALL, of(DIED, 4)]),
        history(got=[of(ONE), Gap("a", 2, 2), of(THREE)], gone=(Gap("a", 2, 2),)),
        history(stored=[of(TWO), of(THREE)], got=[of(TWO), of(THREE)], gone=(Gap("a", 1, 1),)),
        history(stored=[*ALL[1:], leave(4)], got=ALL[1:], gone=(Gap("a", 1, 1),)),
        history(stored=[*ALL, join(4), leave(5), join(6)], members={"a": {"s"}}),
        history(stored=[*ALL, join(4)], got=[*ALL, join(4)], presence=True),
        fleeting([0, 1, 2, 3, 4, 5]),
        fleeting([2, Lost("a", 1), 4]),
        fleeting([0, Lost("a", 1), Lost("a", 1), 3, Lost("a", 1), 5]),  # of another start of the broker all are told,
        fleeting([0, Lost("a", 4), 5]),  # and of the one before as many as were seen to be lost
        history(
            sent=[ONE, TWO, THREE, Sent("w", 4, "a", 44, ACKED, 0, True)],
            got=[*ALL, Record("a", 0, MESSAGE, "w", 4, 44)],
        ),
    ],
)
def test_what_keeps_every_promise_is_valid(good: History) -> None:
    verdict = check(good)
    assert verdict.answer == VALID, str(verdict)


def test_a_listener_goes_on_in_another_log() -> None:
    again = [of(ONE), of(TWO, 2)]
    logs = [Log("l", ALL), Log("m", again)]
    items: list[Item] = [Begun("l", 0), of(ONE), Begun("m", 0), *again]
    assert check(History([ONE, TWO, THREE], logs, [Listening("x", ("a",), False, items, True)])).answer == VALID
    verdict = check(History([ONE, TWO, THREE], logs, [Listening("x", ("**",), False, items[:-1], True)]))
    assert [anomaly.what for anomaly in verdict.anomalies] == ["a 2 never came"]


def test_writers_whose_numbers_have_gaps_are_a_fault_of_the_harness() -> None:
    with pytest.raises(ValueError, match="sent 3 after 1"):
        check(history(sent=[ONE, THREE]))


@pytest.mark.slow
def test_long_histories_take_a_time_that_grows_with_their_length_only() -> None:
    def seconds(records: int) -> float:
        def sent() -> Iterator[Sent]:
            return (Sent("w", at, "a", at, ACKED, at) for at in range(1, records + 1))

        def stored() -> Iterator[Record]:
            return (Record("a", at, MESSAGE, "w", at, at) for at in range(1, records + 1))

        def got() -> Iterator[Item]:
            yield Begun("l", 0)
            yield from stored()

        begun = thread_time()
        listening = Listening("x", ("a",), False, got(), True)
        assert check(History(sent(), [Log("l", stored())], [listening])).answer == VALID
        return thread_time() - begun

    short = seconds(10_000)
    assert seconds(80_000) < 30 * short
