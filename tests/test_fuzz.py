"""scripts/fuzz.py works: seconds of it are survived, what is drawn comes from the seed, and what is broken is found."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.scripts import module, run
from zchat import wire
from zchat.core.memberships import Memberships
from zchat.core.reads import Reads
from zchat.core.rights import Rights, Rules
from zchat.errors import WireError


@pytest.fixture
def fuzzing(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("codecs", "cores", "courses", "doors", "messages"):
        module(monkeypatch, f"fuzzing.{name}")
    return module(monkeypatch, "fuzzing")


@pytest.mark.slow
@pytest.mark.parametrize("levels", ["tcp,zmtp,frames", "strangers,keyed", "lines,http,websocket"])
def test_seconds_are_survived(levels: str) -> None:
    done = run("fuzz.py", "--only", levels, "--seconds", "3", "--fuzzers", "2", "--seed", "3", "--json", "-")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout[done.stdout.index("\n{") : done.stdout.rindex("}") + 1])
    assert found["good"] and found["seed"] == 3
    [stage] = found["stages"]
    assert stage["executions"] > 10 and stage["crashes"] == 0 and stage["bytes_before"] > 0 < stage["bytes_after"]


@pytest.mark.slow
def test_what_is_guided_by_coverage_runs_where_atheris_is() -> None:
    pytest.importorskip("atheris")
    done = run("fuzz.py", "--only", "codecs,core", "--seconds", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row.split(" | ") for row in done.stdout.splitlines()[2:4]]
    assert all(int(executions.replace(",", "")) > 50 for _, executions, *_ in rows)


def test_levels_that_do_not_exist_and_a_folder_in_use_are_usage_errors(tmp_path: Path) -> None:
    done = run("fuzz.py", "--only", "rain")
    assert done.returncode == 2 and "no level rain; there are codecs" in done.stderr
    (tmp_path / "mine").touch()
    done = run("fuzz.py", "--only", "tcp", "--keep", str(tmp_path))
    assert done.returncode == 2 and "is not empty" in done.stderr


def test_courses_come_from_their_seed(fuzzing: Any) -> None:
    for draws in (*fuzzing.courses.LEVELS.values(), *fuzzing.doors.LEVELS.values()):
        drawn = [draws(Random(seed)) for seed in range(200)]
        assert drawn == [draws(Random(seed)) for seed in range(200)]
        assert len({course.end for course in drawn}) == 5
        assert len(set(map(str, drawn))) > 100


def test_messages_of_all_kinds_are_drawn_most_plausible_ones_are_right_and_many_changed_ones_are_not(
    fuzzing: Any,
) -> None:
    draw, made = Random(1), fuzzing.messages
    kinds: Counter[int] = Counter()
    right = {"plausible": 0, "changed": 0}
    for number in range(2_000):
        message = made.plausible(draw, number)
        kinds[message[0]] += 1
        for name, each in (("plausible", message), ("changed", made.changed(message, draw))):
            try:
                wire.decode_client(made.written(each))
            except WireError:
                continue
            right[name] += 1
    assert set(kinds) == {example[0] for example in made.examples()}
    assert right["plausible"] > 1_900 and 300 < right["changed"] < 1_700


def test_a_broker_in_process_lives_through_inputs_and_their_changes(fuzzing: Any) -> None:
    draw, cores = Random(1), fuzzing.cores
    for data in (*cores.seeds(), b"", b"\xc1", b"\x90", b"\xc0"):
        cores.give(data)
    for number in range(30):
        data = cores.drawn(Random(number))
        for _ in range(3):
            data = cores.mutated(data, 10_000, draw, lambda part, most: part)
        cores.give(data)


def test_codecs_live_through_their_seeds(fuzzing: Any) -> None:
    for data in fuzzing.codecs.seeds():
        fuzzing.codecs.give(data)


def input_of(fuzzing: Any, *messages: list[Any]) -> bytes:
    steps = [[0, message] for message in ([1, 1, "fuzz-0"], *messages)]
    return bytes(fuzzing.messages.encode(steps))


def test_an_inbox_that_is_open_to_all_is_found(fuzzing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rights, "may", lambda *_: True)
    monkeypatch.setattr(fuzzing.cores, "WARDEN_ROOM", "@fuzz-0")  # the honest client's words are in another's
    with pytest.raises(AssertionError, match="was sent what is another's"):
        fuzzing.cores.give(input_of(fuzzing, [26, 1, [b"@fuzz-0\0"]]))


def test_a_room_that_should_be_of_one_alone_and_is_not_is_found(fuzzing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing.cores, "RULES", (Rules(), Rules()))
    with pytest.raises(AssertionError, match="what is the warden's was broadcast"):
        fuzzing.cores.give(input_of(fuzzing, [12, 1]))


def test_an_error_that_nobody_declared_is_found(fuzzing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise KeyError("room")

    monkeypatch.setattr(Memberships, "join", breaks)
    with pytest.raises(KeyError):
        fuzzing.cores.give(input_of(fuzzing, [3, 1, ["fuzz.0"]]))


def test_an_honest_client_that_is_not_answered_is_found(fuzzing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reads, "take", lambda *_: [])
    with pytest.raises(AssertionError, match="was not answered"):
        fuzzing.cores.give(input_of(fuzzing, [12, 1]))
