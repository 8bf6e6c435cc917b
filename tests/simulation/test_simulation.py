"""Whole runs: seeds that pass each time, steps that Hypothesis chooses, and sabotage that must be caught.

`ZCHAT_SEEDS=5000 pytest tests/simulation` runs more of each; `python -m tests.simulation.run` runs seeds alone.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.simulation.brokers import SimulatedBroker
from tests.simulation.network import Faults
from tests.simulation.sabotage import (
    AcksBeforeCommit,
    ChangesAfterCommands,
    HighestOffset,
    WithoutCounts,
    WithoutDedupe,
    WithoutGapCheck,
    WithoutSync,
    WithoutWaitingForFrames,
    gaps_at_the_end,
)
from tests.simulation.seeds import check_all
from tests.simulation.simulation import LIES, STRENGTHS, Simulation, drawn_settings, simulate
from zchat.core.ordering import OrderedDelivery

SEEDS_IN_CI = 60
SEEDS = int(os.environ.get("ZCHAT_SEEDS", SEEDS_IN_CI))
FOUND = (20_344, 50_010)  # it was taken for a loss that who had ended, or was leaving, heard nothing of an older copy

RARE = (
    "repeats",
    "repeats looked up",
    "sessions resumed",
    "hello asked for again",
    "losses told by a watermark",
    "notice recovered",
    "cursors found",
    "cursors stored at the end",
    "histories read",
    "notice back",
    "notice gap log",
    "older copies",
    "notice gap trimmed",
    "notice gap damaged",
    "kept at a kill",
    "lost at a kill",
    "joins refused",
    "refused log-full",
    "refused log-failed",
    "refused busy",
    "refused repeat-unknown",
    "lies: another kind",
    "lies: pages",
    "lies: damage in a page",
    "lies: damage on the way",
    "lies: hello again",
    "reads gave way",
    "publishers held back",
)
"""What must happen somewhere in the seeds, or they show nothing."""


@pytest.mark.slow
@pytest.mark.timeout(300 + 2 * SEEDS)
def test_whatever_goes_wrong_every_promise_is_kept() -> None:
    check_all(simulate, (*range(SEEDS), *FOUND), RARE)


@pytest.mark.slow
def test_a_seed_gives_the_same_run_in_any_process() -> None:
    ours = simulate(5)
    assert ours.trace == simulate(5).trace != simulate(6).trace
    command = [sys.executable, "-m", "tests.simulation.run", "--seed", "5"]
    for hash_seed in ("1", "2"):
        result = subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, timeout=60
        )
        assert f"trace {ours.trace}" in result.stdout, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broker_type", "ordering_type", "kind"),
    [
        (WithoutDedupe, OrderedDelivery, "doubled"),
        (AcksBeforeCommit, OrderedDelivery, "acked_not_stored"),
        (SimulatedBroker, WithoutGapCheck, "lost"),
        (SimulatedBroker, WithoutSync, "lost"),
        (SimulatedBroker, WithoutCounts, "miscounted"),
    ],
)
def test_sabotage_is_caught(
    broker_type: type[SimulatedBroker], ordering_type: type[OrderedDelivery], kind: str
) -> None:
    kinds: set[str] = set()
    for seed in range(SEEDS_IN_CI):
        outcome = simulate(seed, 150, broker_type=broker_type, ordering_type=ordering_type)
        kinds.update(anomaly.kind for anomaly in outcome.verdict.anomalies)
        if kind in kinds:
            return
    pytest.fail(f"only {kinds or 'nothing'} was reported")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "sabotage", "kind"),
    [
        ("zchat.core.opening.Progress", HighestOffset, "lost"),
        ("zchat.core.history.parts_of", gaps_at_the_end, "late_gap"),
        ("zchat.core.answers.parts_of", gaps_at_the_end, "lost"),
    ],
)
def test_sabotage_of_a_stepper_is_caught(
    place: str, sabotage: object, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, sabotage)
    test_sabotage_is_caught(SimulatedBroker, OrderedDelivery, kind)


@pytest.mark.slow
def test_an_engine_that_takes_the_changes_of_its_connection_last_is_caught() -> None:
    with pytest.raises(AssertionError, match="said before HELLO"):
        for seed in range(SEEDS_IN_CI):
            simulate(seed, 150, engine_type=ChangesAfterCommands)


@pytest.mark.slow
def test_an_end_that_counts_before_all_was_received_is_caught() -> None:
    with pytest.raises(AssertionError, match="frames left at its end"):
        for seed in range(SEEDS_IN_CI):
            simulate(seed, 150, broker_type=WithoutWaitingForFrames)


CHOICES = {**STRENGTHS, **LIES}
CHANCES = sorted(name for name in CHOICES if not hasattr(Simulation, f"step_{name}"))  # the faults that are no steps


class AnyOrder(RuleBasedStateMachine):
    """The steps of the random phase, chosen by Hypothesis, while programs publish all the time."""

    @initialize(seed=st.integers(0, 1 << 16))
    def start(self, seed: int) -> None:
        self.simulation = Simulation(seed, Faults(), drawn_settings(seed))
        self.simulation.step_client_start()
        self.simulation.step_client_start()
        self.simulation.world.run(0.1)

    def publishing(self) -> Simulation:
        """A moment with some messages in it; then the step."""
        for _ in range(2):
            self.simulation.step_publish()
            self.simulation.world.run(self.simulation.world.random.expovariate(50.0))
        return self.simulation

    @rule(seconds=st.sampled_from((0.001, 0.05, 0.5, 4.0)))
    def time_passes(self, seconds: float) -> None:
        self.publishing().world.run(seconds)

    @rule(data=st.data(), name=st.sampled_from(CHANCES))
    def a_fault_begins(self, data: st.DataObject, name: str) -> None:
        setattr(self.publishing().world.faults, name, data.draw(st.sampled_from(CHOICES[name])))

    @rule()
    def no_more_faults(self) -> None:
        self.publishing().world.faults = Faults()

    @rule()
    def client_start(self) -> None:
        self.publishing().step_client_start()

    @rule()
    def listen(self) -> None:
        self.publishing().step_listen()

    @rule()
    def unlisten(self) -> None:
        self.publishing().step_unlisten()

    @rule()
    def join(self) -> None:
        self.publishing().step_join()

    @rule()
    def client_kill(self) -> None:
        self.publishing().step_client_kill()

    @rule()
    def client_close(self) -> None:
        self.publishing().step_client_close()

    @rule()
    def client_away(self) -> None:
        self.publishing().step_client_away()

    @rule()
    def listener_stall(self) -> None:
        self.publishing().step_listener_stall()

    @rule()
    def consumer_pause(self) -> None:
        self.publishing().step_consumer_pause()

    @rule()
    def connection_reset(self) -> None:
        self.publishing().step_connection_reset()

    @rule()
    def connection_frozen(self) -> None:
        self.publishing().step_connection_frozen()

    @precondition(lambda self: self.simulation.broker.is_alive)
    @rule()
    def broker_kill(self) -> None:
        self.publishing().step_broker_kill()

    @precondition(lambda self: self.simulation.broker.is_alive)
    @rule()
    def broker_stop(self) -> None:
        self.publishing().step_broker_stop()

    @precondition(lambda self: self.simulation.broker.is_alive)
    @rule()
    def broker_stall(self) -> None:
        self.publishing().step_broker_stall()

    @rule()
    def damage(self) -> None:
        self.publishing().step_damage()

    @precondition(lambda self: self.simulation.broker.is_alive)
    @rule()
    def other_log(self) -> None:
        self.publishing().step_other_log()

    @precondition(lambda self: self.simulation.broker.is_alive)
    @rule()
    def older_copy(self) -> None:
        self.publishing().step_older_copy()

    @rule()
    def trim(self) -> None:
        self.publishing().step_trim()

    @rule()
    def clock_jump(self) -> None:
        self.publishing().step_clock_jump()

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not self.simulation.wrong()

    def teardown(self) -> None:
        outcome = self.simulation.finish()
        assert outcome.is_good, f"{outcome.verdict}\n{outcome.unsettled}"


TestAnyOrder = pytest.mark.slow(pytest.mark.timeout(300 + 2 * SEEDS)(AnyOrder.TestCase))
TestAnyOrder.settings = settings(
    max_examples=2 * SEEDS,
    stateful_step_count=40,
    deadline=None,
    derandomize=SEEDS == SEEDS_IN_CI,  # the same each time in CI; more of them, and others, by hand
    suppress_health_check=list(HealthCheck),
)
