"""`zchat join`: one line, and everything knows the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess
from tests.keyed import KeyedBroker, start_keyed


@pytest.fixture
def keyed(start_broker: Callable[..., BrokerProcess], tmp_path: Path) -> KeyedBroker:
    return start_keyed(start_broker, tmp_path)


def test_one_line_and_everything_knows_the_broker(keyed: KeyedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    invite = keyed.run("alice", "keys", "invite", "alice").stdout.strip()
    joined = keyed.run("alice", "join", invite)
    assert (joined.stdout, joined.status) == ("", 0)
    assert joined.stderr == f"zchat: you are alice at {keyed.address} from now on; try: zchat chat\n"
    assert keyed.run("alice", "send", "general", "hello").status == 0
    assert keyed.run("alice", "history", "general", "--format", "{user} {body}").stdout == "alice hello\n"
    for name, value in keyed.env("alice").items():
        monkeypatch.setenv(name, value)
    for name in ("ZCHAT_BROKER", "ZCHAT_USER"):
        monkeypatch.delenv(name, raising=False)
    for address in (None, "127.0.0.1", keyed.address):
        with zchat.connect(address) as client:
            assert client.user == "alice"

    async def loop() -> str:
        async with zchat.aio.connect() as client:
            await client.send("general", "by a loop")
            return client.user

    assert asyncio.run(loop()) == "alice"
    used = keyed.run("bob", "join", invite)
    assert (used.stdout, used.status, used.stderr.count("\n")) == ("", 4, 1)
    assert "the invite was used, or its time is over" in used.stderr
    assert not (keyed.homes / "bob" / "zchat.toml").exists()


def test_what_the_profile_had_stays(keyed: KeyedBroker) -> None:
    file = keyed.homes / "alice" / "zchat.toml"
    file.parent.mkdir(parents=True)
    before = 'broker = "home"  # mine\n[brokers]\nhome = "nas.local"\n'
    file.write_text(before)
    invite = keyed.run("alice", "keys", "invite", "alice").stdout.strip()
    joined = keyed.run("alice", "join", invite, "--name", "office")
    assert joined.status == 0 and "zchat chat -b office" in joined.stderr
    assert file.read_text().startswith(before)
    assert keyed.run("alice", "who", "-b", "office").status == 0
    again = keyed.run("alice", "join", invite, "--name", "office")
    assert again.status == 2 and '"office" is in your zchat.toml already' in again.stderr


def test_brokers_in_one_line_are_left_to_their_writer(keyed: KeyedBroker) -> None:
    file = keyed.homes / "alice" / "zchat.toml"
    file.parent.mkdir(parents=True)
    file.write_text('broker = "home"\nbrokers = { home = "nas.local" }\n')
    invite = keyed.run("alice", "keys", "invite", "alice").stdout.strip()
    joined = keyed.run("alice", "join", invite, "--name", "office")
    assert joined.status == 2 and '"office" = { address = ' in joined.stderr
    assert file.read_text() == 'broker = "home"\nbrokers = { home = "nas.local" }\n'


@pytest.mark.parametrize("line", ["tcp://h", "zchat://h", "zchat://?server=" + "a" * 64])
def test_what_is_no_invite_is_a_usage_error(line: str, tmp_path: Path) -> None:
    from tests.conftest import zchat as run

    shown = run("join", line, env={"ZCHAT_CONFIG": str(tmp_path / "zchat.toml")})
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 2, 1)


def test_another_broker_at_the_address_is_refused(keyed: KeyedBroker, tmp_path: Path) -> None:
    keyed.join("alice")
    (keyed.keys.folder / "server.key").unlink()
    keyed.broker.restart()
    refused = keyed.run("alice", "send", "den", "x")
    assert refused.status == 4 and refused.stderr.count("\n") == 1
    assert "does not have the key that it is known by" in refused.stderr
