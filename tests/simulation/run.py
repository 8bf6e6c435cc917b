"""Run seeds by hand: `python -m tests.simulation.run --seeds 1000`, or replay one with `--seed N`."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from time import perf_counter

from tests.simulation.ruled import simulate_ruled
from tests.simulation.seeds import run_all
from tests.simulation.simulation import drawn_faults, drawn_settings, simulate
from tests.simulation.tasked import simulate_tasked


def main() -> int:
    """Run, and print what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--steps", type=int, default=300, help="of the random phase")
    parser.add_argument("--rules", action="store_true", help="who may read what, and rules that change")
    parser.add_argument("--tasks", action="store_true", help="groups, requests, and messages that are sent later")
    arguments = parser.parse_args()
    run = simulate_ruled if arguments.rules else simulate_tasked if arguments.tasks else simulate
    if arguments.seed is not None:
        print(drawn_faults(arguments.seed), drawn_settings(arguments.seed), sep="\n")
        outcome = run(arguments.seed, arguments.steps)
        print(outcome)
        print(f"trace {outcome.trace}, {outcome.counts}")
        return not outcome.is_good
    seeds, begun = range(arguments.first, arguments.first + arguments.seeds), perf_counter()
    outcomes, counts = run_all(lambda seed: run(seed, arguments.steps), seeds, partial(print, flush=True))
    bad = [outcome.seed for outcome in outcomes]
    seconds = perf_counter() - begun
    rate = counts["messages received"] / seconds
    print(f"{arguments.seeds} seeds in {seconds:.1f} s, {len(bad)} bad: {bad}\n{dict(counts)}")
    print(f"{rate:,.0f} messages a second went through the simulated broker")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
