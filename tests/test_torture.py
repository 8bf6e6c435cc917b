"""scripts/torture.py, stalled.py and kills.py work: short runs, which say nothing about speed, and journals made by
hand in which each broken promise is seen.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import module, run
from tests.simulation import checker

MODULES = ("histories", "presence", "processes")
KINDS = (
    "broker-kill,broker-term,listener-stop,listener-kill,listener-restart,writer-kill,joiner-kill,worker-kill,"
    "relay-stall,relay-reset,link-cut,disk-full"
)


def report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found = json.loads(done.stdout[done.stdout.index("\n{") :])
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_a_short_run_keeps_every_promise(tmp_path: Path) -> None:
    done = run("torture.py", "--seconds", "6", "--faults", KINDS, "--keep", str(tmp_path / "run"), "--json", "-")
    assert done.returncode == 0, done.stdout + done.stderr
    found = report(done)
    assert found["good"] and found["anomalies"] == []
    assert found["counts"]["acked"] > 0  # how many depends on the machine
    assert found["counts"]["delivered"] > found["counts"]["acked"]
    assert found["broker_starts"] > 1
    assert found["faults"], "which ones depends on the seed"
    assert not list((tmp_path / "run").glob("disk/*")), "the small disk is gone"


@pytest.mark.slow
def test_a_listener_that_was_stopped_gets_all_in_order() -> None:
    found = report(run("stalled.py", "--count", "20000", "--json", "-"))
    assert found["received"] == found["published"] > 20_000
    assert found["wrong"] == 0
    assert found["rate"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["KILL", "ABRT"])
def test_a_killed_broker_comes_back_with_all_that_was_acked(signal: str) -> None:
    found = report(run("kills.py", "--times", "2", "--between", "0.1", "--signal", signal, "--json", "-"))
    assert found["kills"] == 2
    assert found["stored"] == found["received"] == found["acked"] + found["unknown"] > 0
    assert 0 < found["ready_seconds"]["median"] <= found["first_seconds"]["worst"]
    assert [each for each in found["complaints"] if "median" not in each] == []


def test_a_fault_that_does_not_exist_is_a_usage_error() -> None:
    done = run("torture.py", "--faults", "earthquake")
    assert done.returncode == 2
    assert "no fault earthquake; there are broker-kill" in done.stderr


def test_a_folder_that_is_not_empty_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = run("torture.py", "--keep", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"torture: {tmp_path} is not empty\n"


# --- journals made by hand ------------------------------------------------------------------------

LOG = """
S s-caller log
M hall 1 w.0 1 11
M hall 2 w.0 2 12
J hall 3 s-l 1000 - l
M hall 4 w.0 3 13
"""
WRITER = """
S s-w log
P 1 hall 0 11
P 2 hall 0 12
P 3 hall 0 13
A 1 1
A 2 2
A 3 4
"""
LISTENER = """
S s-l log
I 900 hall
B 0 0
M hall 1 w.0 1 11
M hall 2 w.0 2 12
M hall 4 w.0 3 13
E
"""
KEEPER = """
S s-k1 log
B 0 0
M hall 1 w.0 1 11
M hall 2 w.0 2 12
--- its next life
S s-k2 log
B 1 1
M hall 2 w.0 2 12
M hall 4 w.0 3 13
E
"""


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., set[str]]:
    """The kinds of anomalies in journals; what is not given is as it should be."""
    histories, presence, processes = (module(monkeypatch, f"trials.{name}") for name in MODULES)

    def actor(name: str, module: str, text: str, **task: Any) -> Any:
        one = processes.Actor(name, module, {"place": "near", **task}, tmp_path, lambda *_: None, ())
        for life, journal in enumerate(text.split("--- its next life\n")):
            path = tmp_path / f"{name}.{life}.journal"
            path.write_text(journal.lstrip())
            one.journals.append(path)
        return one

    def kinds(
        log: str = LOG,
        writer: str = WRITER,
        listener: str = LISTENER,
        keeper: str = KEEPER,
        members: tuple[str, ...] = ("s-l",),
        trimmed: int = 0,
        events: tuple[tuple[int, str, str], ...] = (),
        unwritable: tuple[tuple[int, int], ...] = (),
    ) -> set[str]:
        actors = [
            actor("w", "writers", writer),
            actor("l", "listeners", listener, patterns=["hall"], presence=False),
            actor("k", "listeners", keeper, patterns=["*"], presence=False, resume="mine"),
        ]
        (tmp_path / "caller.journal").write_text("S s-caller log\n")
        (tmp_path / "log.journal").write_text(log.lstrip())
        run = histories.Run(
            actors,
            tmp_path / "caller.journal",
            tmp_path / "log.journal",
            {"hall": dict.fromkeys(members, "somebody")},
            {"hall": trimmed} if trimmed else {},
        )
        verdict = checker.check(histories.history(run))
        assert verdict.answer != checker.UNKNOWN
        told = [*histories.notes(run, [], list(unwritable)).complaints, *presence.without_cause(run, list(events))]
        return {anomaly.kind for anomaly in verdict.anomalies} | {kind for kind, *_ in told}

    return kinds


def test_journals_of_a_run_in_which_all_is_well_have_no_anomaly(found: Callable[..., set[str]]) -> None:
    assert found() == set()


def test_a_message_that_a_listener_did_not_get_is_lost(found: Callable[..., set[str]]) -> None:
    assert found(listener=LISTENER.replace("M hall 2 w.0 2 12\n", "")) == {"lost"}
    assert found(listener=LISTENER.replace("M hall 4 w.0 3 13\n", "")) == {"lost"}


def test_a_message_that_a_listener_got_twice_is_doubled(found: Callable[..., set[str]]) -> None:
    assert found(listener=LISTENER.replace("E\n", "M hall 2 w.0 2 12\nE\n")) == {"doubled"}


def test_an_acked_message_that_is_not_in_the_log_is_seen(found: Callable[..., set[str]]) -> None:
    assert "acked_not_stored" in found(log=LOG.replace("M hall 2 w.0 2 12\n", ""))


def test_a_refused_message_that_is_there_is_seen(found: Callable[..., set[str]]) -> None:
    assert found(writer=WRITER.replace("A 2 2", "F 2 1 log-full")) == {"refused_appears"}
    assert found(writer=WRITER.replace("A 2 2", "F 2 0 log-failed")) == set(), "nobody knew for certain"


def test_a_stored_message_whose_sender_was_not_told_where_is_seen(found: Callable[..., set[str]]) -> None:
    assert found(writer=WRITER.replace("A 2 2", "F 2 0 repeat-unknown")) == {"stored_and_unknown"}


def test_what_is_above_the_cursor_at_a_kill_may_come_again_and_nothing_else(found: Callable[..., set[str]]) -> None:
    assert found(keeper=KEEPER.replace("B 1 1", "B 0 0").replace("M hall 2 w.0 2 12\nM hall 4", "M hall 4")) == {"lost"}
    assert found(keeper=KEEPER.replace("B 1 1", "B 2 2")) == {"unasked", "doubled"}
    assert found(keeper=KEEPER.replace("--- its", "K 1 1\n--- its")) == {"doubled"}, "it ended cleanly"
    assert found(keeper=KEEPER.replace("--- its", "K 1 0\n--- its")) == set(), "it could not keep its cursor"


def test_a_cursor_that_is_ahead_of_what_was_handed_over_loses_something(found: Callable[..., set[str]]) -> None:
    behind = KEEPER.replace("M hall 2 w.0 2 12\n---", "---")
    ahead = behind.replace("B 1 1\nM hall 2 w.0 2 12\n", "B 2 2\n")
    assert found(keeper=behind) == set()
    assert found(keeper=ahead) == {"lost"}


def test_a_line_that_was_cut_short_by_a_kill_is_not_there(found: Callable[..., set[str]]) -> None:
    assert found(keeper=KEEPER.replace("M hall 2 w.0 2 12\n--- its", "M hall 2 w.0 2 1--- its")) == set()


def test_a_listener_that_is_live_too_late_is_seen(found: Callable[..., set[str]]) -> None:
    late = LISTENER.replace("B 0 0", "N live 9 0\nB 0 0\nP 1 hall 0 5\nA 1 7")
    assert "live_too_late" in found(listener=late)


def test_what_was_trimmed_is_known_from_those_who_got_it(found: Callable[..., set[str]]) -> None:
    trimmed = LOG.replace("M hall 1 w.0 1 11\n", "").replace("M hall 2 w.0 2 12\n", "")
    assert found(log=trimmed, trimmed=2) == set()
    told = LISTENER.replace("M hall 2 w.0 2 12\n", "G hall 1 2 trimmed\n")
    assert found(log=trimmed, trimmed=2, listener=told) == set()
    assert found(log=trimmed, trimmed=2, listener=told.replace("G hall 1 2 trimmed\n", "")) == {"lost"}
    assert found(listener=told) == {"false_gap"}, "nothing was trimmed"


def test_presence_that_does_not_add_up_is_seen(found: Callable[..., set[str]]) -> None:
    assert found(members=()) == {"members_wrong", "join_without_leave"}
    assert found(members=("s-l", "s-x")) == {"members_wrong"}
    assert "join_not_stored" in found(log=LOG.replace("J hall 3 s-l 1000 - l\n", ""))
    never = found(log=LOG.replace("J hall 3 s-l 1000 - l\n", ""), unwritable=((1, 1000),))
    assert "join_not_stored" not in never, "it could not be"


def test_who_was_taken_for_lost_needs_a_cause(found: Callable[..., set[str]]) -> None:
    again = LOG + "L hall 5 s-l 9000000 lost l\nJ hall 6 s-l 9500000 - l\n"
    assert found(log=again) == {"leave_without_cause"}
    assert found(log=again, events=((1, "begin", "broker-kill"), (2, "end", "broker-kill"))) == {"leave_without_cause"}
    assert found(log=again, events=((8_000_000, "stop", "k"),)) == {"leave_without_cause"}, "that was somebody else"
    assert found(log=again, events=((8_000_000, "stop", "l"),)) == set()
    assert found(log=again, events=((1, "begin", "broker-stop"), (2, "end", "broker-stop"))) == set()


def test_who_closes_while_the_broker_is_away_may_be_taken_for_lost(found: Callable[..., set[str]]) -> None:
    closed = LISTENER + "O\n"
    left = LOG + "L hall 5 s-l 9000000 lost l\n"
    killed = ((1, "begin", "broker-kill"), (2, "end", "broker-kill"))
    assert "leave_without_cause" in found(log=left, listener=closed)
    assert "leave_without_cause" not in found(log=left, listener=closed, events=killed)


def test_what_the_command_line_printed_becomes_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands, journal = (module(monkeypatch, f"trials.{name}") for name in ("commands", "journal"))
    command = commands.Command("c", "commands", {}, tmp_path, lambda *_: None, ())
    first = {"room": "a", "offset": 5, "user": "u", "time": "", "event": "message", "body": "w 1 x", "headers": {}}
    lives = [
        [first, {"event": "gap", "room": "a", "first": 6, "last": 8, "reason": "trimmed"}],
        [{**first, "offset": None, "body": "w 2 y"}, {**first, "offset": 9, "body_base64": "dyAzIP8=", "event": "e"}],
    ]
    for life, printed in enumerate(lives):
        lines = "".join(json.dumps(each) + "\n" for each in printed)
        (tmp_path / f"c.{life}.jsonl").write_text(lines + '{"room": "cut sho')
        (tmp_path / f"c.{life}.out").write_text("zchat: live from offset 4\n")
        command._printed.append(tmp_path / f"c.{life}.jsonl")
        command._said.append(tmp_path / f"c.{life}.out")
        command.journals.append(tmp_path / f"c.{life}.journal")
    command._ended = {0: 100_000_000}
    command.translate("log", [(50_000_000, 60_000_000)])
    plain = journal.digest("u", "message", {}, b"w 1 x")
    assert (tmp_path / "c.0.journal").read_text().splitlines() == [
        "S c-0 log",
        "B 4 4",
        f"M a 5 w 1 {plain}",
        "G a 6 8 trimmed",
        "K 0 1",
    ]
    assert (tmp_path / "c.1.journal").read_text().splitlines() == [
        "S c-1 log",
        "B 8 8",
        f"M a 0 w 2 {journal.digest('u', 'message', {}, b'w 2 y')}",
        f"M a 9 w 3 {journal.digest('u', 'e', {}, bytes([119, 32, 51, 32, 255]))}",
    ]


def test_one_that_is_live_before_anything_is_stored_is_owed_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = module(monkeypatch, "trials.commands")
    command = commands.Command("c", "commands", {}, tmp_path, lambda *_: None, ())
    printed, said, written = (tmp_path / f"c.0.{kind}" for kind in ("jsonl", "out", "journal"))
    message = {"room": "a", "offset": 3, "user": "u", "time": "", "event": "message", "body": "w 1 x"}
    printed.write_text(json.dumps(message) + "\n")
    said.write_text("zchat: live from offset 0\n")
    command._printed, command._said, command.journals = [printed], [said], [written]
    command.translate("log", [])
    assert written.read_text().splitlines()[1] == "B 0 0"
