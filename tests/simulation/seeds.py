"""Many runs, one after the other: what is wrong in any of them, and what happened in all.

Tests: they are what test_simulation.py, test_ruled.py and test_tasked.py run; run.py runs them by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from tests.simulation.simulation import Outcome


def run_all(
    simulate: Callable[[int], Outcome], seeds: Iterable[int], tell: Callable[[Outcome], object] = lambda outcome: None
) -> tuple[list[Outcome], Counter[str]]:
    """The bad ones, each told of as it comes, and how often each thing happened in all."""
    bad: list[Outcome] = []
    counts: Counter[str] = Counter()
    for seed in seeds:
        outcome = simulate(seed)
        counts.update(outcome.counts)
        counts.update(outcome.verdict.counts)
        if not outcome.is_good:
            bad.append(outcome)
            tell(outcome)
    return bad, counts


def check_all(simulate: Callable[[int], Outcome], seeds: Iterable[int], rare: Iterable[str]) -> Counter[str]:
    """All are good, and each of what is `rare` happened somewhere: or they show nothing."""
    bad, counts = run_all(simulate, seeds)
    assert not bad, "\n".join(map(str, bad))
    assert [name for name in rare if not counts[name]] == []
    return counts
