"""So many requests of a connection are out at a time; the others wait, in their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zchat import wire
from zchat.core.gate import Gate

FETCH, JOIN = wire.Fetch(0, ["den"], 0), wire.Join(0, ["den"])


def test_what_is_too_much_waits_and_goes_on_in_its_order() -> None:
    gate = Gate(2)
    assert [gate.enter("ann", number, FETCH) for number in range(4)] == [True, True, False, False]
    assert gate.free() is None
    gate.leave("ann", 0)
    assert gate.free() == ("ann", 2)
    assert gate.enter("ann", 2, FETCH) and gate.free() is None


def test_what_is_sent_again_is_sent_and_what_takes_no_time_waits_for_nothing() -> None:
    gate = Gate(1)
    assert gate.enter("ann", 1, FETCH) and gate.enter("ann", 1, FETCH)
    assert not gate.enter("bob", 1, FETCH) and not gate.enter("bob", 1, FETCH)
    assert gate.enter("bob", 2, JOIN)
    gate.clear()
    assert gate.free() is None and gate.enter("bob", 1, FETCH)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.booleans()), max_size=60), st.integers(1, 3))
def test_never_are_more_out_and_nobody_waits_while_there_is_room(
    steps: list[tuple[str, int, bool]], out_max: int
) -> None:
    gate, out, waiting = Gate(out_max), set[tuple[str, int]](), list[tuple[str, int]]()
    for session, number, comes in steps:
        asked = session, number
        if comes:
            if gate.enter(session, number, FETCH):
                out.add(asked)
            elif asked not in waiting:
                waiting.append(asked)
        else:
            gate.leave(session, number)
            out.discard(asked)
            waiting = [each for each in waiting if each != asked]
        while (freed := gate.free()) is not None:
            assert freed == waiting.pop(0)
            assert gate.enter(*freed, FETCH)
            out.add(freed)
        assert len(out) <= out_max and (not waiting or len(out) == out_max)
