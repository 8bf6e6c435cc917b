"""Whole runs with rules that change: who may read a room loses nothing of it, who may not gets nothing of it."""

from __future__ import annotations

import os

import pytest

from tests.simulation.ruled import RuledBroker, RuledCore, simulate_ruled
from tests.simulation.seeds import check_all
from zchat.core.rooms import Feed

SEEDS = int(os.environ.get("ZCHAT_SEEDS", "25"))


@pytest.mark.slow
@pytest.mark.timeout(300 + 2 * SEEDS)
def test_whichever_way_a_room_goes_every_promise_is_kept() -> None:
    counts = check_all(simulate_ruled, range(SEEDS), ())
    assert counts["rules changed"] > SEEDS and counts["said one by one"] > SEEDS


class BroadcastsAll(RuledCore):
    """Whatever the rules say."""

    def _broadcast(self, feed: Feed, frame: bytes) -> None:
        self._broadcasts.append((feed.topic, frame))


class ForgetsTheSessions(RuledCore):
    """What is said to some is said to nobody: it has to be fetched, and no more than that."""

    def _broadcast(self, feed: Feed, frame: bytes) -> None:
        if not self._ways.is_direct(feed):
            super()._broadcast(feed, frame)


class LeakingBroker(RuledBroker):
    core_type = BroadcastsAll


class ForgetfulBroker(RuledBroker):
    core_type = ForgetsTheSessions


@pytest.mark.slow
def test_a_forbidden_broadcast_is_caught() -> None:
    with pytest.raises(AssertionError, match="was broadcast"):
        for seed in range(SEEDS):
            simulate_ruled(seed, 150, LeakingBroker)


@pytest.mark.slow
def test_what_is_dropped_on_the_way_to_one_session_is_found_and_fetched() -> None:
    for seed in range(3):
        outcome = simulate_ruled(seed, 150, ForgetfulBroker)
        assert outcome.verdict.answer == "valid" or not outcome.verdict.anomalies, outcome
