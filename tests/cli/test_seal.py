"""`zchat seal`, and what the other commands do in sealed rooms, over a real broker whose folder is looked through."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, Result, Running, environment, eventually
from tests.conftest import zchat as run

pytestmark = pytest.mark.slow  # each starts processes

SECRET = "the launch is on Friday"


class People:
    """The command line as several users, each with a profile folder of his own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def env(self, user: str) -> dict[str, str]:
        return {"ZCHAT_CONFIG": str(self._folder / user / "zchat.toml"), "ZCHAT_USER": user}

    def key(self, user: str, room: str) -> Path:
        return self._folder / user / "rooms" / f"{room}.key"

    def run(self, user: str, *args: str, stdin: str | None = None, broker: BrokerProcess | None = None) -> Result:
        return run(*args, stdin=stdin, env=self.env(user), broker=broker)

    def good(self, user: str, *args: str, stdin: str | None = None, broker: BrokerProcess | None = None) -> str:
        done = self.run(user, *args, stdin=stdin, broker=broker)
        assert done.status == 0, done.stderr
        return done.stdout


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path / "people")


@pytest.fixture
def team(people: People) -> People:
    """Alice and bob have the key of `team`."""
    people.good("alice", "seal", "new", "team")
    people.good("bob", "seal", "accept", people.good("alice", "seal", "invite", "team", "bob").strip())
    return people


def test_a_key_is_made_given_accepted_rotated_listed_and_forgotten(people: People) -> None:
    made = people.run("alice", "seal", "new", "Team")
    assert (made.stdout, made.status) == ("", 0) and "seal invite team" in made.stderr
    assert people.key("alice", "team").stat().st_mode & 0o777 == 0o600
    invite = people.run("alice", "seal", "invite", "team", "Bob")
    assert invite.stdout.startswith("zchat-seal:team:") and invite.stdout.count("\n") == 1
    assert "in secret" in invite.stderr
    taken = people.run("bob", "seal", "accept", stdin=invite.stdout)
    assert (taken.stdout, taken.status) == ("", 0) and "1 key" in taken.stderr
    key = invite.stdout.split(":")[2].split(".")[1]
    assert key not in invite.stderr + taken.stderr + people.good("bob", "seal", "list", "--json")
    rows = people.good("alice", "seal", "list").splitlines()
    assert rows[0].split() == ["ROOM", "KEYS", "SINCE", "GIVEN", "TO"]
    assert rows[1].split()[:2] == ["team", "1"] and rows[1].endswith("Bob")
    rotated = people.run("alice", "seal", "rotate", "team")
    assert "invite anew who is to read on: Bob" in rotated.stderr
    line = people.good("alice", "seal", "invite", "team", "--old")
    people.good("carol", "seal", "accept", line)
    (facts,) = map(json.loads, people.good("carol", "seal", "list", "--json").splitlines())
    assert (facts["room"], facts["keys"], facts["given"]) == ("team", 2, [])
    people.good("carol", "seal", "forget", "team")
    assert people.good("carol", "seal", "list", "--json") == ""


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("new",), "needs a ROOM"),
        (("new", "team.*"), "U+002A"),
        (("new", "@me"), "@alice"),
        (("invite", "team"), "seal new team"),
        (("rotate", "team"), "seal new team"),
        (("forget", "team"), "no key for team"),
        (("accept", "zchat-seal:team:1.abc:00000000"), "not whole"),
        (("accept", "hello"), "no invite"),
        (("list", "team"), "takes no ROOM"),
        (("new", "team", "bob"), "invite only"),
        (("rotate", "team", "--old"), "invite only"),
        (("new", "team", "--json"), "list only"),
        (("open", "team"), "none of"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(people: People, args: tuple[str, ...], word: str) -> None:
    done = people.run("alice", "seal", *args)
    assert (done.stdout, done.status) == ("", 2)
    assert word in done.stderr and done.stderr.startswith("zchat: ") and done.stderr.count("\n") <= 2


def test_a_key_is_not_made_twice_and_not_taken_from_a_file_that_others_can_read(team: People) -> None:
    assert "rotate" in team.run("alice", "seal", "new", "team").stderr
    team.key("alice", "team").chmod(0o644)
    for args in (("seal", "list"), ("seal", "invite", "team")):
        done = team.run("alice", *args)
        assert done.status == 2 and "chmod 600" in done.stderr


def test_what_is_sent_is_read_by_who_has_the_key_and_by_nobody_else(
    team: People, broker: BrokerProcess, start_zchat: Callable[..., Running], tmp_path: Path
) -> None:
    def start(user: str, *args: str) -> Running:
        env: Mapping[str, str] = team.env(user)
        return start_zchat(*args, broker=broker, env=env)

    bob, eve = (start(user, "listen", "team", "-v").live() for user in ("bob", "eve"))
    team.good("alice", "send", "team", SECRET, broker=broker)
    team.good("alice", "send", "team", "--event", "deploy", "-H", f"why={SECRET}", stdin=f"{SECRET}\n", broker=broker)
    team.good("eve", "send", "team", "I have no key", broker=broker)
    eventually(lambda: len(bob.lines) == len(eve.lines) == 3, "all came")
    assert [line.split("] ", 1)[1] for line in bob.lines] == [
        f"alice: {SECRET}",
        f"alice [deploy]: {SECRET}",
        "eve: I have no key",
    ]
    assert [line.startswith("(not sealed) [") for line in bob.lines] == [False, False, True]
    assert [line.split("] ", 1)[1] for line in eve.lines] == [
        "alice [sealed]: sealed message: no key for it here",
        "alice [sealed]: sealed message: no key for it here",
        "eve: I have no key",
    ]

    objects = [json.loads(line) for line in team.good("bob", "history", "team", "--json", broker=broker).splitlines()]
    assert [one.get("sealed") for one in objects] == [True, True, None]
    assert objects[1]["headers"] == {"why": SECRET} and objects[1]["event"] == "deploy"
    format_ = ("--format", "{sealed} {body}")
    assert team.good("bob", "history", "team", *format_, broker=broker).splitlines() == [
        f"sealed {SECRET}",
        f"sealed {SECRET}",
        "open I have no key",
    ]
    only = team.good("bob", "history", "team", "--sealed", "--grep", "launch", "--raw", broker=broker)
    assert only == f"{SECRET}\n" * 2
    searched = team.run("bob", "search", "launch", broker=broker)
    assert searched.stdout == "" and "not searched, as they are sealed: team" in searched.stderr

    file = tmp_path / "all.jsonl"
    team.good("bob", "record", str(file), "team", "--since", "all", "-n", "3", broker=broker)
    assert file.read_text().count(SECRET) == 3
    team.good("bob", "replay", str(file), "--to", "team", "--speed", "max", broker=broker)
    again = team.good("alice", "history", "team", "--last", "3", "--json", broker=broker)
    assert [json.loads(line).get("sealed") for line in again.splitlines()] == [True] * 3, "bob has sealed what was open"
    command = ("--exec", 'echo "${ZCHAT_SEALED:-no}"')
    assert team.good("bob", "listen", "team", "--end", "--last", "4", *command, broker=broker).split() == [
        "no",
        "1",
        "1",
        "1",
    ]
    listed = team.good("bob", "rooms", "--last", broker=broker)
    assert "I have no key" in listed

    refused = team.run("eve", "replay", "-", "--to", "team", stdin=eve_lines(team, broker), broker=broker)
    assert refused.status == 1 and "left out" in refused.stderr, "what eve could not read, she cannot send again"
    broker.stop()
    stored = b"".join(path.read_bytes() for path in broker.folder.rglob("*") if path.is_file())
    assert b"I have no key" in stored and b"launch" not in stored and b"deploy" not in stored


def eve_lines(team: People, broker: BrokerProcess) -> str:
    return team.good("eve", "history", "team", "-n", "1", "--json", broker=broker)


def test_files_requests_and_what_comes_later(
    team: People, broker: BrokerProcess, start_zchat: Callable[..., Running], tmp_path: Path
) -> None:
    large = tmp_path / "plan.bin"
    large.write_bytes(SECRET.encode() * 45_000)
    assert (1 << 20) - 20_000 < large.stat().st_size < (1 << 20) - 2_048, "open it would be one message"
    team.good("alice", "send", "team", "--file", str(large), broker=broker)
    team.good("bob", "listen", "team", "--end", "--save", str(tmp_path / "saved"), broker=broker)
    assert (tmp_path / "saved" / "plan.bin").read_bytes() == large.read_bytes()

    server = start_zchat("serve", "team", "--exec", 'cat; printf " $ZCHAT_SEALED"', broker=broker, env=team.env("bob"))
    asked = eventually(
        lambda: (done := team.run("alice", "request", "team", SECRET, broker=broker)).status == 0 and done, "it serves"
    )
    assert asked.stdout == f"{SECRET} 1"
    server.end(15)

    team.good("alice", "send", "team", SECRET, "--in", "1h", broker=broker)
    assert "sealed message" in (shown := team.good("alice", "scheduled", broker=broker)) and "launch" not in shown
    broker.stop()
    assert not any(b"launch" in path.read_bytes() for path in broker.folder.rglob("*") if path.is_file())


def test_a_key_that_cannot_be_used_sends_nothing(team: People, broker: BrokerProcess) -> None:
    team.key("alice", "team").chmod(0o640)
    done = team.run("alice", "send", "team", SECRET, broker=broker)
    assert done.status == 2 and "chmod 600" in done.stderr
    assert team.good("alice", "history", "team", broker=broker) == ""
    team.good("alice", "send", "general", "hello", broker=broker)


def test_who_sends_to_an_open_room_loads_no_cipher(team: People, broker: BrokerProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "zchat", "send", "general", "hi"],
        env=environment(team.env("alice") | {"ZCHAT_BROKER": broker.address}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and "zchat.ring" in done.stderr
    assert "nacl" not in done.stderr and "cffi" not in done.stderr
