"""scripts/bench.py works: a smoke run of few messages. It says nothing about speed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.scripts import module, run


@pytest.mark.slow
def test_a_quick_run_measures_zchat_and_the_peers_that_are_there() -> None:
    done = run(
        "bench.py", "--quick", "--count", "200", "--only", "volatile,durable,shared,request,oneshot", "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    found = {(one["scenario"], one["contender"]): one for one in json.loads(done.stdout)["results"]}
    assert found["volatile", "zchat volatile"]["medians"]["rate"] > 0
    assert found["durable", "zchat durable"]["medians"]["rate"] > 0
    assert found["oneshot", "zchat durable"]["medians"]["peak_bytes"] > 0
    assert "zchat better by" in done.stderr or "bench: without" in done.stderr
    for (scenario, name), one in found.items():
        assert one["medians"].get("lost", 0) == 0, (scenario, name)


@pytest.mark.slow
def test_round_trips_and_connections_are_measured() -> None:
    args = "--quick --only latency,connections --contenders zchat,floor --connections 5 --json -"
    done = run("bench.py", *args.split())
    assert done.returncode == 0, done.stderr
    found = {(one["scenario"], one["contender"]): one["medians"] for one in json.loads(done.stdout)["results"]}
    for name in ("zchat volatile", "zchat durable", "floor", "floor, asyncio", "floor, synced"):
        assert 0 < found["latency", name]["median"] <= found["latency", name]["p99"]
    assert found["connections", "zchat volatile"]["lost"] == 0


def test_a_scenario_that_does_not_exist_is_a_usage_error() -> None:
    done = run("bench.py", "--only", "nothing")
    assert done.returncode == 2
    assert "no scenario nothing; there are volatile, durable" in done.stderr


@pytest.fixture
def contender(monkeypatch: pytest.MonkeyPatch) -> Any:
    return module(monkeypatch, "contenders.contender")


def test_a_tally_has_all_with_the_last_message(contender: Any) -> None:
    tally = contender.Tally(3)
    assert [tally.take(body) for body in contender.bodies(3, 16)] == [False, False, True]
    tally.finish()
    received = tally.received()
    assert (received.count, received.lost, received.repeated, received.out_of_order) == (3, 0, 0, 0)
    assert 0 < received.first <= received.last


def test_a_tally_tells_lost_repeated_and_out_of_order_messages(contender: Any) -> None:
    bodies = contender.bodies(4, 8)
    tally = contender.Tally(4)
    for number in (0, 2, 1, 2):
        tally.take(bodies[number])
    received = tally.received()
    assert (received.count, received.lost, received.repeated, received.out_of_order) == (4, 1, 1, 1)
