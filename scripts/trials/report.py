"""What a run of torture.py says in the end, for people and as data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.simulation.checker import VALID, Verdict
from trials.histories import Notes
from trials.processes import Broker

TOLD_MAX = 20


class Result(NamedTuple):
    """Everything that is known of a run."""

    seed: int
    seconds: float
    checked_seconds: float
    verdict: Verdict
    complaints: list[tuple[str, str, str]]
    notes: Notes
    faults: Counter[str]
    broker: Broker
    folder: Path

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept. A run in which nothing happened does not show it."""
        return self.verdict.answer == VALID and not self.complaints


def data(result: Result) -> dict[str, Any]:
    """For JSON."""
    first = [seconds for seconds, _ in result.notes.recoveries]
    return {
        "good": result.is_good,
        "answer": result.verdict.answer,
        "seed": result.seed,
        "seconds": round(result.seconds, 1),
        "counts": {**result.verdict.counts, **result.notes.counts},
        "faults": dict(result.faults),
        "broker_starts": len(result.broker.readies),
        "start_seconds_median": round(median(result.broker.start_seconds), 3),
        "recovery_seconds_median": round(median(first), 3) if first else None,
        "recovery_seconds_worst": round(max(first), 3) if first else None,
        "anomalies": [*map(list, result.verdict.anomalies), *map(list, result.complaints)],
        "folder": str(result.folder),
    }


def text(result: Result) -> str:
    """For people."""
    found = data(result)
    counts = found["counts"]
    shown = ("acked", "refused", "unknown", "volatile", "stored", "delivered", "recovered", "gaps", "sessions")
    rest = {name: number for name, number in counts.items() if name not in shown}
    rows = [
        f"{'good' if result.is_good else 'BROKEN'}: {result.verdict.answer}, seed {result.seed}, "
        f"{result.seconds:.0f} s of faults, checked in {result.checked_seconds:.0f} s",
        "messages: " + ", ".join(f"{name} {counts.get(name, 0):,}" for name in shown),
        "also: " + ", ".join(f"{name} {number:,}" for name, number in sorted(rest.items())),
        "faults: " + ", ".join(f"{name} {number}" for name, number in sorted(result.faults.items())),
        f"broker: {found['broker_starts']} starts, median {found['start_seconds_median']} s until ready; "
        f"from there to the first new message: median {found['recovery_seconds_median']} s, "
        f"worst {found['recovery_seconds_worst']} s",
    ]
    if not result.is_good:
        wrong = [*result.complaints[:TOLD_MAX], *result.verdict.anomalies]
        rows += [f"  {kind}: {where}: {what}" for kind, where, what in wrong]
        rows.append(f"replay: scripts/torture.py --seed {result.seed}; journals in {result.folder}")
    return "\n".join(rows)
