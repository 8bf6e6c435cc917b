"""One session by itself: its outcomes are bounded, its row has what the log needs, WHO tells what it is."""

from __future__ import annotations

from zchat.core.session import FORGOTTEN, GONE, LIVE, OUTCOMES_MAX, TRANSITIONS, Session, member_of


def session() -> Session:
    return Session("s1", "alice", 1, 2)


def test_outcomes_of_the_newest_publishes_are_remembered() -> None:
    alice = session()
    for seq in range(1, OUTCOMES_MAX + 3):
        alice.accept(seq)
        alice.settle(seq, 10 * seq)
    assert len(alice.outcomes) == OUTCOMES_MAX and 2 not in alice.outcomes and alice.outcomes[3] == 30
    alice.settle(2, 20)
    assert 2 not in alice.outcomes, "what is forgotten stays forgotten"


def test_a_row_has_the_rooms_whose_log_has_its_join() -> None:
    alice = session()
    alice.rooms, alice.written = {"a": 5, "crowd": 6}, {"a"}
    assert alice.row().rooms == {"a": 5}
    assert member_of(alice, "a").rooms == ["a", "crowd"]
    assert (member_of(alice, "crowd").since, member_of(alice, "").since) == (6, 1)


def test_whoever_joined_or_stored_something_is_known() -> None:
    alice = session()
    assert not alice.is_known
    alice.has_stored = True
    assert alice.is_known


def test_nothing_follows_on_forgotten_and_bye_ends_every_other_state() -> None:
    assert TRANSITIONS[FORGOTTEN] == {}
    assert {state: after["bye"] for state, after in TRANSITIONS.items() if after} == dict.fromkeys(
        TRANSITIONS.keys() - {FORGOTTEN}, FORGOTTEN
    )
    assert TRANSITIONS[GONE]["resumed"] == LIVE
