"""The broker's file: what it means, what is an error, and that it is read again when it changes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, eventually, zchat
from zchat.config import ConfigFile, parse
from zchat.core.rights import READ, WRITE, Rights, Rules
from zchat.errors import UsageError

ROOT = Path(__file__).parent.parent


def test_the_example_of_the_docs_means_what_they_say() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "operating.md").read_text(), re.S)
    config = parse(example)
    rights = Rights(config.rules)
    assert not config.rules.is_open and config.limits == {"rooms_max": 10_000}
    assert [rights.may(user, READ, "ops.x") for user in ("alice", "Bob", "ci.7", "carol")] == [True, True, True, False]
    assert rights.is_public(READ, "ops.status")
    assert rights.may("bob", WRITE, "ops.status") and not rights.may("carol", WRITE, "ops.status")


def test_an_empty_file_allows_everything() -> None:
    assert not Rights(parse("").rules).has_rules


def test_patterns_and_users_are_made_canonical() -> None:
    (rule,) = parse('[groups]\nx = ["Al.*"]\n[rooms."Ops.*"]\nread = ["Bob", "group:x", "bob"]').rules.rooms
    assert rule.pattern == "ops.*" and rule.who == {READ: ("bob", "al.*")}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("default = 1", 'default is "open" or "closed", not 1'),
        ("defualt = 'open'", "the file: 'defualt' is none of default, groups, rooms, limits"),
        ("groups = 1", "groups is a table"),
        ("[groups]\nops = 'alice'", "groups.ops is a list of names"),
        ("[groups]\nOps = ['alice']", "groups.Ops: it is to be written as ops"),
        ("[groups]\nops = ['a b']", 'user "a b": U+0020 SPACE is not allowed'),
        ("[rooms.x]\nraed = ['*']", "rooms.\"x\": 'raed' is none of read, write, presence, history, admin"),
        ("[rooms.x]\nread = '*'", 'rooms."x".read is a list of names'),
        ("[rooms.x]\nread = ['group:y']", "rooms.\"x\".read: there is no group 'y'"),
        ("[rooms]\nx = 1", 'rooms."x" is a table of read, write, presence, history, admin'),
        ('[rooms."a..b"]', 'pattern "a..b": empty segment at position 2'),
        ('[rooms."@alice"]', 'rooms."@alice": an inbox is its user\'s alone, and everybody writes to it'),
        ("[rooms.a]\n[rooms.A]", 'rooms."A" is there twice'),
        ("[limits]\nrooms_max = 0", "limits.rooms_max is a number above 0, as its default is: 262,144"),
        ("[limits]\nrooms_max = 1.5", "limits.rooms_max is a number above 0, as its default is: 262,144"),
        ("[limits]\nrooms_max = true", "limits.rooms_max is a number above 0, as its default is: 262,144"),
        ("[limits]\nroom_max = 1", "limits.room_max is no limit of a broker: docs/settings.md has all of them"),
        ("[limits]\ngrace_seconds = 1", "limits.grace_seconds is set by the option --grace"),
        ("x = ", "Invalid value (at end of document)"),
    ],
)
def test_what_is_not_understood_is_an_error_that_names_it(text: str, why: str) -> None:
    with pytest.raises((UsageError, ValueError)) as error:
        parse(text)
    assert str(error.value).endswith(why) or why in str(error.value)


def test_it_is_read_again_when_it_was_written_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    path, told = tmp_path / "broker.toml", list[str]()
    path.write_text("")
    file = ConfigFile(path, has_names=True)
    source = file.source(file.read(), told.append)
    assert source.changed() is None and not told

    def write(text: str) -> None:
        new = tmp_path / "new"
        new.write_text(text)
        os.replace(new, path)

    write("default = 'closed'")
    assert source.changed() is None, "it may be half written"
    rules = source.changed()
    assert rules is not None and not rules.is_open and source.changed() is None
    write("default = 'ajar'")
    assert [source.changed() for _ in range(3)] == [None] * 3
    path.unlink()
    assert [source.changed() for _ in range(3)] == [None] * 3
    write("default = 'open'\n[limits]\nrooms_max = 7")
    assert source.changed() is None
    rules = source.changed()
    assert rules is not None and rules.is_open
    new, broken, gone, limits, again = told
    assert new.endswith("the new rules hold") and again.endswith("the new rules hold")
    assert "'ajar': what it said before still holds" in broken and "No such file" in gone and "other limits" in limits


@pytest.mark.parametrize("text", ["", "# nothing", "[limits]\nrooms_max = 7\n", "[rooms]\n"])
def test_rules_end_only_where_the_file_says_so(tmp_path: Path, text: str) -> None:
    path, told = tmp_path / "broker.toml", list[str]()
    path.write_text("default = 'open'\n[rooms.ops]\nread = ['alice']\n")
    file = ConfigFile(path, has_names=True)
    source = file.source(file.read(), told.append)
    path.write_text(text)
    assert [source.changed() for _ in range(3)] == [None] * 3
    assert len(told) == 1 and "still holds" in told[0]
    path.write_text('default = "open"\n')
    assert [source.changed(), source.changed(), source.changed()] == [None, Rules(), None]


def test_rules_that_everybody_can_write_are_refused_and_a_mark_of_bytes_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text("\ufeffdefault = 'closed'\r\n")
    assert not ConfigFile(path, has_names=True).read().rules.is_open
    path.chmod(0o666)
    with pytest.raises(UsageError, match="chmod o-w"):
        ConfigFile(path, has_names=True).read()


def test_rules_where_names_are_free_are_refused_unless_that_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text("default = 'closed'")
    shown = zchat("broker", "--memory", "--bind", "tcp://127.0.0.1:0", "--config", str(path))
    assert (shown.stdout, shown.status) == ("", 2)
    assert shown.stderr.count("\n") == 1 and "add --keys DIR, or --insecure" in shown.stderr
    told = list[str]()
    path.write_text("[limits]\nrooms_max = 7")
    file = ConfigFile(path, has_names=False)
    source = file.source(file.read(), told.append)
    path.write_text("default = 'closed' # and later")
    assert [source.changed(), source.changed()] == [None, None] and "what it said before still holds" in told[0]
    assert not ConfigFile(path, has_names=True).read().rules.is_open


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "broker.toml")
    with pytest.raises(UsageError, match="is no file"):
        ConfigFile(tmp_path / "broker.toml", has_names=True).read()


def test_a_file_that_is_not_there_is_told_before_anything_begins(tmp_path: Path) -> None:
    shown = zchat("broker", "--memory", "--bind", "tcp://127.0.0.1:0", "--config", str(tmp_path / "none"))
    assert (shown.stdout, shown.status) == ("", 2)
    assert shown.stderr.count("\n") == 1 and "No such file" in shown.stderr


@pytest.mark.slow
def test_a_broker_has_the_limits_of_its_file_and_tells_that_it_changed(
    start_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    path = tmp_path / "broker.toml"
    path.write_text("[limits]\nrooms_max = 1\n")
    broker = start_broker("--memory", "--config", str(path))
    assert zchat("send", "a", "x", broker=broker).status == 0
    assert zchat("send", "b", "x", broker=broker).status == 4
    path.write_text("default = 'x'\n")
    eventually(lambda: "still holds" in broker.stderr(), "the broken file is told")
