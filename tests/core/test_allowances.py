"""Allowances: what may be taken and when, whom they take for one peer, and that they stay small themselves."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.core import Instant
from zchat.core.allowances import Allowance, Allowances, Remembered, Share, origin
from zchat.errors import WireError
from zchat.settings import Settings


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, 1_700_000_000_000_000 + round(seconds * 1e6))


# --- buckets ------------------------------------------------------------------------------------


def test_a_burst_may_be_taken_at_once_and_then_as_much_as_comes_back() -> None:
    allowance = Allowance[str](4, 1.0)
    assert [allowance.take("a", 1, at(0)) for _ in range(6)] == [True] * 4 + [False] * 2
    assert not allowance.take("a", 1, at(0.9))
    assert allowance.take("a", 1, at(1)) and not allowance.take("a", 1, at(1))
    assert allowance.take("a", 4, at(60)) and not allowance.take("a", 1, at(60))


def test_what_is_refused_is_not_taken_not_even_in_part() -> None:
    allowance = Allowance[str](4, 1.0)
    assert not allowance.take("a", 5, at(0)) and len(allowance) == 0
    assert allowance.take("a", 3, at(0)) and not allowance.take("a", 2, at(0))
    assert allowance.has("a", 1, at(0)) and not allowance.has("a", 2, at(0))
    assert allowance.take("a", 1, at(0))


def test_each_key_has_its_own() -> None:
    allowance = Allowance[str](1, 1.0)
    assert allowance.take("a", 1, at(0)) and allowance.take("b", 1, at(0))
    allowance.forget("a")
    assert allowance.take("a", 1, at(0)) and not allowance.take("b", 1, at(0))


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    allowance = Allowance[str](1, 1.0)
    assert allowance.take("a", 1, at(0))
    assert not allowance.take("a", 1, at(-60))


def test_buckets_that_are_full_again_are_forgotten() -> None:
    allowance = Allowance[int](10, 1.0)
    for key in range(1_000):
        assert allowance.take(key, 1, at(key / 100))
    assert len(allowance) <= 201  # each was full again after a second
    allowance.take(-1, 1, at(60))
    allowance.take(-2, 1, at(60))
    assert len(allowance) < 200


def test_there_are_at_most_so_many_buckets_and_the_one_used_longest_ago_goes_first() -> None:
    allowance = Allowance[int](1, 0.001, keys_max=3)
    for key in (1, 2, 3, 4):
        assert allowance.take(key, 1, at(0))
    assert len(allowance) == 3
    assert allowance.take(1, 1, at(0)) and not allowance.take(4, 1, at(0))


@given(
    st.integers(1, 20),
    st.sampled_from([0.5, 1.0, 7.0]),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5), st.sampled_from([0.0, 0.1, 1.0, 9.0])), max_size=60),
)
def test_never_more_than_the_burst_and_what_came_back_and_never_less(
    burst: int, refill: float, steps: list[tuple[str, int, float]]
) -> None:
    allowance = Allowance[str](burst, refill)
    full = {"a": float(burst), "b": float(burst)}
    seconds = 0.0
    for key, tokens, wait in steps:
        seconds += wait
        full = {each: min(float(burst), left + wait * refill) for each, left in full.items()}
        if abs(full[key] - tokens) < 1e-6:
            continue  # rounding decides
        assert allowance.take(key, tokens, at(seconds)) == (full[key] > tokens)
        full[key] -= tokens if full[key] > tokens else 0
        assert len(allowance) <= 2


# --- origins ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),  # one host may have them all
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::1", "127.0.0.1", False),
        ("", "pid 7", True),  # not TCP: one for all
        ("pid 8", "pid 7", True),
        ("pid 8", "127.0.0.1", False),
        ("what:ever", "", True),
    ],
)
def test_an_origin_is_what_a_stranger_cannot_choose(one: str, other: str, is_same: bool) -> None:
    assert (origin(one) == origin(other)) == is_same


# --- what is remembered -------------------------------------------------------------------------


def test_the_first_is_forgotten_when_there_are_too_many() -> None:
    remembered = Remembered[int](2, 9)
    assert [remembered.put(name, number, name) for number, name in enumerate("aba")] == [[], [], []]
    assert remembered.put("c", 3, "c") == [1]
    assert list(remembered.items()) == [("a", 2), ("c", 3)] and remembered.first() == 2


def test_who_has_too_many_loses_its_own_first_and_others_lose_none() -> None:
    remembered = Remembered[str](100, 3)
    for name in ("honest 1", "honest 2"):
        remembered.put(name, name, "10.0.0.1")
    remembered.put("from before", "from before", None)
    forgotten = [remembered.put(f"bad {number}", f"bad {number}", "10.0.0.2") for number in range(10)]
    assert forgotten == [[]] * 3 + [[f"bad {number}"] for number in range(7)]
    assert [name for name, _ in remembered.items()][:3] == ["honest 1", "honest 2", "from before"]
    assert len(remembered) == 6


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"), st.sampled_from(["x", "y", None])), max_size=60))
def test_it_is_bounded_in_all_and_for_each_origin(steps: list[tuple[bool, str, str | None]]) -> None:
    remembered = Remembered[int](4, 2)
    there: dict[str, tuple[int, str | None]] = {}
    for number, (puts, name, of) in zip(count(), steps, strict=False):
        if puts:
            forgotten = remembered.put(name, number, of)
            there.pop(name, None)
            there[name] = (number, of)
            there = {each: row for each, row in there.items() if row[0] not in forgotten}
        else:
            assert remembered.pop(name) == there.pop(name, (None,))[0]
        assert list(remembered.items()) == [(each, row[0]) for each, row in there.items()]
        assert len(remembered) <= 4
        for each in ("x", "y"):
            assert sum(row[1] == each for row in there.values()) <= 2


# --- all of a broker's --------------------------------------------------------------------------


def test_honest_use_is_never_refused() -> None:
    allowances = Allowances(Settings())
    for client in range(4_000):  # after a restart, all from one host, and none has a row in the log
        connection = b"%d" % client
        allowances.begin(connection, "10.0.0.1", at(0))
        allowances.may_join(connection, "10.0.0.1", 4, at(0))
        allowances.join(connection, "10.0.0.1", 4, at(0))
    for _ in range(2):
        allowances.may_join(b"one", "10.0.0.2", 1_024, at(0))
        allowances.join(b"one", "10.0.0.2", 1_024, at(0))
    allowances.make("10.0.0.1", 50_000, at(0))  # rooms of one program


def test_a_connection_begins_so_many_sessions_and_an_address_makes_so_much() -> None:
    allowances = Allowances(Settings(connection_sessions_max=2, address_makings_max=5))
    allowances.begin(b"c1", "10.0.0.1", at(0))
    allowances.begin(b"c1", "10.0.0.1", at(0))
    refused(allowances, b"c1", "10.0.0.1")
    allowances.disconnected(b"c1")
    allowances.begin(b"c1", "10.0.0.1", at(0))
    allowances.make("10.0.0.1", 2, at(0))
    refused(allowances, b"c2", "10.0.0.1")
    allowances.begin(b"c2", "10.0.0.2", at(0))
    allowances.make("10.0.0.1", 0, at(0))


def test_joins_of_an_address_are_counted_over_its_connections() -> None:
    allowances = Allowances(Settings(address_joins_max=5, address_joins_a_second_max=1))
    for connection in (b"c1", b"c2"):
        allowances.may_join(connection, "10.0.0.1", 2, at(0))
        allowances.join(connection, "10.0.0.1", 2, at(0))
        allowances.disconnected(connection)
    with pytest.raises(WireError) as caught:
        allowances.may_join(b"c3", "10.0.0.1", 2, at(0))
    assert caught.value.code == "busy"
    allowances.may_join(b"c3", "10.0.0.2", 2, at(0))
    allowances.may_join(b"c3", "10.0.0.1", 2, at(1))


@given(st.lists(st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.2", ""]), st.integers(0, 5)), max_size=30))
def test_a_share_is_bounded_in_all_and_for_each_origin_and_is_had_again(steps: list[tuple[str, int]]) -> None:
    share, held = Share(replace(Settings(), servers_max=10, address_servers_max=6), "servers_max"), dict[str, int]()
    for address, amount in steps:
        if not share.met(address, amount):
            share.add(address, amount)
            held[address] = held.get(address, 0) + amount
        assert share.held == sum(held.values()) <= 10
        assert all(of <= 6 for of in held.values())
    for address, amount in held.items():
        assert not share.met(address, -amount), "to give back is always allowed"
        share.add(address, -amount)
    assert share.held == 0 and not share.met("10.0.0.3", 6) and share.met("10.0.0.3", 7)


def test_a_share_says_which_limit_was_met() -> None:
    share = Share(replace(Settings(), servers_max=10, address_servers_max=6), "servers_max")
    share.add("10.0.0.1", 6)
    for address, amount, limit in (("10.0.0.1", 1, "address_servers_max"), ("10.0.0.2", 5, "servers_max")):
        with pytest.raises(WireError) as caught:
            share.check(address, amount, "over-limit", "too many")
        assert (caught.value.limit, caught.value.code) == (limit, "over-limit")
    share.check("10.0.0.2", 4, "over-limit", "too many")


def refused(allowances: Allowances, connection: bytes, address: str) -> None:
    with pytest.raises(WireError) as caught:
        allowances.begin(connection, address, at(0))
    assert caught.value.code == "busy"


def test_one_user_holds_so_much_and_no_more_from_wherever_its_sessions_come() -> None:
    share = Share(replace(Settings(), servers_max=10, address_servers_max=6, user_servers_max=3), "servers_max")
    share.add("10.0.0.1", 2, "Alice")
    share.add("10.0.0.2", 1, "alice")
    assert share.met("10.0.0.3", 1, "ALICE") == "user_servers_max"
    assert share.met("10.0.0.3", 1, "bob") == ""
    share.add("10.0.0.1", -2, "alice")
    assert share.met("10.0.0.3", 2, "alice") == ""


def test_what_nobody_is_known_to_hold_counts_for_all_alone() -> None:
    share = Share(replace(Settings(), servers_max=3, address_servers_max=2), "servers_max")
    share.add(None, 2)
    assert share.met("", 1) == "" and share.met("", 2) == "servers_max"
