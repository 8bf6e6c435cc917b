#!/usr/bin/env python3
"""bench.py: measures zchat and its peers side by side, end to end, through their public Python APIs.

    .venv/bin/pip install -e '.[bench]'      # nats-py, nats-server, redis-py; redis-server comes from the system
    .venv/bin/python scripts/bench.py
    .venv/bin/python scripts/bench.py --only durable,latency --rounds 5 --json results.json

Contenders take turns, and the medians of the rounds are compared, for no machine is quiet. Each run has a new
server with an empty folder. What is measured and how each client is used: docs/benchmarks.md.
Exit status: 0; 1 when a run failed or zchat lost a message; 2 usage.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from contenders import processes
from contenders.contender import Contender
from contenders.entries import (
    aio_floor,
    floor,
    jetstream,
    jetstream_queue,
    jetstream_synced,
    nats_core,
    nats_request,
    redis_group,
    redis_pubsub,
    redis_pubsub_piped,
    redis_streams,
    redis_streams_piped,
    synced_floor,
    zchat_aio_durable,
    zchat_aio_volatile,
    zchat_durable,
    zchat_group,
    zchat_keyed_durable,
    zchat_keyed_volatile,
    zchat_request,
    zchat_ruled_durable,
    zchat_ruled_volatile,
    zchat_uvloop_volatile,
    zchat_volatile,
)
from contenders.processes import Course, Metrics
from contenders.servers import OPEN_FILES, find_program
from contenders.sharing import ZchatGroup, ZchatRequest
from contenders.zchat_py import Zchat

FANOUT = 10
QUICK_MESSAGES = 2000
OURS = (Zchat, ZchatGroup, ZchatRequest)  # that others are compared with
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Column:
    """A metric as the table shows it."""

    metric: str
    title: str
    scale: float = 1.0
    digits: int = 0

    def text(self, value: float) -> str:
        return f"{value * self.scale:,.{self.digits}f}"


@dataclass(frozen=True)
class Scenario:
    """What is raced, who takes part, and what is shown. The first column decides."""

    name: str
    title: str
    contenders: tuple[Contender, ...]
    columns: tuple[Column, ...]
    run: Callable[[Course, Contender, Options], Metrics]
    more_is_better: bool = False


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    only: tuple[str, ...]
    contenders: tuple[str, ...]
    count: int | None
    rounds: int
    size: int
    connections: int
    pings: int
    sends: int
    patience: float
    json: str | None
    folder: Path | None

    def messages(self, contender: Contender, share: float = 1.0) -> int:
        return self.count or int(contender.count * share)


@dataclass(frozen=True)
class Result:
    """One contender in one scenario: the metrics of each round."""

    scenario: Scenario
    contender: Contender
    runs: list[Metrics]

    def median(self, metric: str) -> float:
        return median(run[metric] for run in self.runs)

    def total(self, metric: str) -> float:
        return sum(run.get(metric, 0) for run in self.runs)


RATE = (Column("rate", "msg/s"),)
MILLISECONDS = 1000.0
SCENARIOS = (
    Scenario(
        "volatile",
        "not stored, one publisher, one listener",
        (
            zchat_volatile,
            zchat_keyed_volatile,
            zchat_ruled_volatile,
            zchat_aio_volatile,
            zchat_uvloop_volatile,
            nats_core,
            redis_pubsub_piped,
            redis_pubsub,
        ),
        RATE,
        lambda course, who, options: processes.throughput(course, who, options.messages(who), 1),
        more_is_better=True,
    ),
    Scenario(
        "durable",
        "stored, one publisher, one listener",
        (
            zchat_durable,
            zchat_keyed_durable,
            zchat_ruled_durable,
            zchat_aio_durable,
            jetstream,
            jetstream_synced,
            redis_streams_piped,
            redis_streams,
        ),
        RATE,
        lambda course, who, options: processes.throughput(course, who, options.messages(who), 1),
        more_is_better=True,
    ),
    Scenario(
        "shared",
        "stored, one publisher, one worker of a group that acks each",
        (zchat_group, jetstream_queue, redis_group),
        RATE,
        lambda course, who, options: processes.throughput(course, who, options.messages(who), 1),
        more_is_better=True,
    ),
    Scenario(
        "fanout",
        f"not stored, one publisher, {FANOUT} listeners; each message counted once",
        (zchat_volatile, nats_core, redis_pubsub_piped),
        RATE,
        lambda course, who, options: processes.throughput(course, who, options.messages(who, 0.2), FANOUT),
        more_is_better=True,
    ),
    Scenario(
        "latency",
        "round trip: published, received, published back, received",
        (
            floor,
            aio_floor,
            synced_floor,
            zchat_volatile,
            zchat_keyed_volatile,
            zchat_aio_volatile,
            zchat_uvloop_volatile,
            zchat_durable,
            zchat_aio_durable,
            nats_core,
            jetstream,
            jetstream_synced,
            redis_pubsub,
            redis_streams,
        ),
        (Column("median", "median µs", 1e6), Column("p99", "p99 µs", 1e6)),
        lambda course, who, options: processes.latency(course, who, options.pings),
    ),
    Scenario(
        "request",
        "a request and its reply, by one server",
        (zchat_request, nats_request),
        (Column("median", "median µs", 1e6), Column("p99", "p99 µs", 1e6)),
        lambda course, who, options: processes.latency(course, who, options.pings),
    ),
    Scenario(
        "oneshot",
        "`zchat send` of one message, a process each",
        (zchat_durable, zchat_keyed_durable),
        (Column("seconds", "ms", MILLISECONDS, 1), Column("peak_bytes", "peak MB", 1e-6, 1)),
        lambda course, who, options: processes.oneshot(course, who, options.sends),
    ),
    Scenario(
        "connections",
        "clients with a subscription each, and one message to all",
        (zchat_volatile, zchat_aio_volatile, nats_core, redis_pubsub),
        (
            Column("server_bytes", "server kB/client", 1e-3, 1),
            Column("client_bytes", "client kB/client", 1e-3, 1),
            Column("connect_seconds", "connect s", 1, 2),
            Column("reach_seconds", "reach ms", MILLISECONDS, 1),
        ),
        lambda course, who, options: processes.crowd(course, who, options.connections),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; print the table, then the JSON."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended
    _allow_open_files()
    _use_this_checkout()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # spawned processes start as a user's do
    out = sys.stderr if options.json == "-" else sys.stdout
    _tell_missing()
    failures: list[str] = []
    results: list[Result] = []
    print(f"{json.dumps(machine())}\n{options.size}-byte messages, medians of {options.rounds} rounds", file=out)
    for scenario in SCENARIOS:
        if options.only and scenario.name not in options.only:
            continue
        found = race(scenario, options, failures)
        if found:
            print(f"\n{table(scenario, found, options)}", file=out, flush=True)
        results += found
    failures += [
        f"{one.scenario.name}: {one.contender.name} lost {one.total('lost'):g} messages"
        for one in results
        if isinstance(one.contender, Zchat) and one.total("lost")
    ]
    for failure in failures:
        print(f"bench: {failure}", file=sys.stderr)
    if options.json is not None:
        text = json.dumps(as_json(options, results), indent=2) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text)
    return 1 if failures else 0


def parse(arguments: Sequence[str] | None) -> Options:
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser = argparse.ArgumentParser(description="Measure zchat and its peers side by side.")
    parser.add_argument("--only", default="", metavar="NAME,…", help=f"of {names}")
    parser.add_argument("--contenders", default="", metavar="TEXT,…", help="those whose name contains one of these")
    parser.add_argument("--count", type=int, help="messages per run; default: what takes each a second or two")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=128, help="bytes of a message's body, at least 8")
    parser.add_argument("--connections", type=int, default=500, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write results there; - is stdout, the table then on stderr")
    parser.add_argument("--quick", action="store_true", help="one round of few messages: shows that it works")
    parser.add_argument("--patience", type=float, default=60.0, metavar="SECONDS", help="then a silent run is over")
    parser.add_argument("--folder", type=Path, help="where servers keep their files; default: the temporary folder")
    given = parser.parse_args(arguments)
    only = tuple(filter(None, given.only.split(",")))
    unknown = set(only) - {scenario.name for scenario in SCENARIOS}
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {names}")
    if given.size < 8 or given.rounds < 1 or given.connections < 1 or (given.count is not None and given.count < 1):
        parser.error("--size is at least 8; --rounds, --connections and --count at least 1")
    quick = given.quick
    return Options(
        only=only,
        contenders=tuple(filter(None, given.contenders.split(","))),
        count=given.count or (QUICK_MESSAGES if quick else None),
        rounds=1 if quick else given.rounds,
        size=given.size,
        connections=min(given.connections, 20) if quick else given.connections,
        pings=50 if quick else 1000,
        sends=2 if quick else 10,
        patience=given.patience,
        json=given.json,
        folder=given.folder,
    )


def race(scenario: Scenario, options: Options, failures: list[str]) -> list[Result]:
    """All rounds of a scenario, the contenders taking turns; who fails is out."""
    course = Course(options.size, options.patience, options.folder)
    wanted = [one for one in scenario.contenders if not options.contenders or _named(one, options.contenders)]
    results = [Result(scenario, one, []) for one in wanted if one.missing() is None]
    for number in range(options.rounds):
        for one in list(results):
            print(f"bench: {scenario.name}, round {number + 1}: {one.contender.name}", file=sys.stderr)
            try:
                one.runs.append(scenario.run(course, one.contender, options))
            except (processes.Failed, RuntimeError, OSError) as error:
                failures.append(f"{scenario.name}: {one.contender.name}: {error}")
                results.remove(one)
    return results


def _named(contender: Contender, parts: Sequence[str]) -> bool:
    return any(part in contender.name for part in parts)


def ratios(scenario: Scenario, results: list[Result]) -> dict[str, float]:
    """By how much zchat's blocking client is better than each, stored against stored: above 1 is better."""
    metric = scenario.columns[0].metric
    ours = {one.contender.stored: one.median(metric) for one in results if type(one.contender) in OURS}
    better = {}
    for one in results:
        theirs, own = one.median(metric), ours.get(one.contender.stored, 0)
        if type(one.contender) not in OURS and theirs > 0 and own > 0:
            better[one.contender.name] = own / theirs if scenario.more_is_better else theirs / own
    return better


def table(scenario: Scenario, results: list[Result], options: Options) -> str:
    better = ratios(scenario, results)
    rows = [["", *(column.title for column in scenario.columns), "lowest…highest", "zchat better by", "lost"]]
    for one in results:
        column = scenario.columns[0]
        values = [run[column.metric] for run in one.runs]
        name = one.contender.name
        rows.append(
            [
                f"{name} ({one.contender.note})" if one.contender.note else name,
                *(column.text(one.median(column.metric)) for column in scenario.columns),
                f"{column.text(min(values))}…{column.text(max(values))}",
                f"{better[name]:.1f} times" if name in better else "",
                f"{one.total('lost'):g}" if "lost" in one.runs[0] else "",
            ]
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    about = f" ({options.connections} of them)" if scenario.name == "connections" else ""
    return "\n".join([f"{scenario.name}: {scenario.title}{about}", *(f"  {line.rstrip()}" for line in lines)])


def as_json(options: Options, results: list[Result]) -> dict[str, Any]:
    return {
        "machine": machine(),
        "options": {"size": options.size, "rounds": options.rounds, "connections": options.connections},
        "results": [
            {
                "scenario": one.scenario.name,
                "contender": one.contender.name,
                "note": one.contender.note,
                "medians": {metric: one.median(metric) for metric in one.runs[0]},
                "runs": one.runs,
                "zchat_is_better": ratios(one.scenario, [r for r in results if r.scenario is one.scenario]).get(
                    one.contender.name
                ),
            }
            for one in results
        ],
    }


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    found = {name: _version(name) for name in ("zchat", "pyzmq", "msgspec", "nats-py", "redis", "hiredis")}
    servers = {name: _first_line([name, "--version"]) for name in ("nats-server", "redis-server")}
    return {
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: value for name, value in {**found, **servers}.items() if value},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _first_line(command: list[str]) -> str | None:
    program = find_program(command[0])
    if program is None:
        return None
    said = subprocess.run([program, *command[1:]], capture_output=True, text=True).stdout
    return said.partition("\n")[0]


def _use_this_checkout() -> None:
    sys.path.insert(1, str(ROOT))  # spawned processes get it too
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def _tell_missing() -> None:
    everyone = {one.name: one for scenario in SCENARIOS for one in scenario.contenders}
    for one in everyone.values():
        if reason := one.missing():
            print(f"bench: without {one.name}: {reason}", file=sys.stderr)


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
