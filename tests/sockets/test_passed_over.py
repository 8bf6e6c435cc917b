"""Who has ended and may have frames left in a ROUTER that is never dry."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import zmq

from zchat.sockets.passed_over import LOOK_SECONDS, ROUNDS, PassedOver
from zchat.sockets.peer import Peer


def connections(number: int) -> dict[bytes, Peer]:
    return {bytes([each]): Peer(-1, None, 0.0) for each in range(number)}


def everybody_speaks(of: dict[bytes, Peer], *but: bytes) -> None:
    for connection, peer in of.items():
        if connection not in but:
            peer.messages += ROUNDS * 2


def test_all_are_forgotten_when_nothing_is_left() -> None:
    of, passed = connections(3), PassedOver()
    passed.add(b"\0")
    passed.add(b"\1")
    assert passed.done(of, 0.0, dry=True) == [b"\0", b"\1"]
    assert not passed.heard


def test_one_that_was_not_heard_while_all_had_their_turns_is_forgotten_and_others_are_not() -> None:
    of, passed, seconds = connections(9), PassedOver(), 1.0
    passed.add(b"\0")
    passed.add(b"\1")
    assert passed.done(of, seconds, dry=False) == []
    everybody_speaks(of, b"\0")
    assert passed.done(of, seconds + LOOK_SECONDS, dry=False) == [b"\0"]
    del of[b"\0"]
    everybody_speaks(of, b"\1")
    assert passed.done(of, seconds + LOOK_SECONDS, dry=False) == [], "it is not time"
    assert passed.done(of, seconds + 2 * LOOK_SECONDS, dry=False) == [b"\1"]


def test_while_little_is_read_nobody_is_forgotten() -> None:
    of, passed = connections(9), PassedOver()
    passed.add(b"\0")
    passed.done(of, 0.0, dry=False)
    of[b"\1"].messages += ROUNDS * len(of) - 1
    assert passed.done(of, 1 * LOOK_SECONDS, dry=False) == []
    of[b"\1"].messages += 1
    assert passed.done(of, 2 * LOOK_SECONDS, dry=False) == [b"\0"]


def test_one_that_ended_since_the_last_look_is_kept_for_a_whole_one() -> None:
    of, passed = connections(9), PassedOver()
    passed.add(b"\0")
    passed.done(of, 0.0, dry=False)
    everybody_speaks(of, b"\0", b"\1")
    passed.add(b"\1")
    assert passed.done(of, 1 * LOOK_SECONDS, dry=False) == [b"\0"]
    del of[b"\0"]
    everybody_speaks(of, b"\1")
    assert passed.done(of, 2 * LOOK_SECONDS, dry=False) == [b"\1"]


def test_a_time_of_which_nothing_was_left_is_none_to_count_from() -> None:
    of, passed = connections(9), PassedOver()
    passed.add(b"\0")
    passed.done(of, 0.0, dry=False)
    passed.done(of, 0.1, dry=True)
    everybody_speaks(of)
    passed.add(b"\1")
    assert passed.done(of, 1 * LOOK_SECONDS, dry=False) == []


def test_who_is_known_no_more_counts_no_more() -> None:
    of, passed = connections(9), PassedOver()
    passed.add(b"\0")
    passed.done(of, 0.0, dry=False)
    everybody_speaks(of, b"\0")
    assert passed.done(of, 1 * LOOK_SECONDS, dry=False) == [b"\0"]
    of = connections(9)
    passed.add(b"\1")
    assert passed.done(of, 2 * LOOK_SECONDS, dry=False) == []
    everybody_speaks(of, b"\1")
    assert passed.done(of, 3 * LOOK_SECONDS, dry=False) == [b"\1"]


@pytest.mark.parametrize("speakers", [2, 30])
def test_a_router_hears_each_that_has_something_left_in_every_round(speakers: int) -> None:
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        router = stack.enter_context(context.socket(zmq.ROUTER))
        router.rcvhwm = 0
        router.bind("inproc://router")  # what is sent there is in its queues at once
        for number in range(speakers):
            dealer = stack.enter_context(context.socket(zmq.DEALER))
            dealer.sndhwm = 0
            dealer.connect("inproc://router")
            for _ in range(50 if number else 5_000):  # one of them has more than all others
                dealer.send(b"%d" % number)
        left = dict.fromkeys(range(1, speakers), 50)
        last = dict.fromkeys(range(speakers), 0)
        for heard in range(5_000 + 50 * (speakers - 1)):
            number = int(router.recv_multipart(zmq.DONTWAIT)[1])
            last[number] = heard
            left[number] = left.get(number, 0) - 1
            late = [each for each, count in left.items() if count > 0 and heard - last[each] > ROUNDS * speakers]
            assert not late, "it has something left and was not heard"
