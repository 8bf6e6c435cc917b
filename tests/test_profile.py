"""The profile: what goes before what, what is an error, and that every door reads it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess
from tests.conftest import zchat as run
from zchat import profile
from zchat.errors import UsageError
from zchat.profile import DEFAULT_ADDRESS, meant

ROOT = Path(__file__).parent.parent


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ZCHAT_BROKER", "ZCHAT_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZCHAT_CONFIG", str(tmp_path / "zchat.toml"))
    return tmp_path / "zchat.toml"


def test_an_argument_goes_before_the_environment_that_before_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert meant(None, None)[:2] == (DEFAULT_ADDRESS, None), "there is no file"
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "client.md").read_text(), re.S)
    file.write_text(example)
    assert meant(None, None)[:2] == ("chat.example:5555", "alice")
    assert meant("home", None)[:2] == ("nas.local", "al") and meant("home", "bob")[:2] == ("nas.local", "bob")
    file.write_text(example, encoding="utf-8-sig")
    assert meant(None, None)[:2] == ("chat.example:5555", "alice"), "a byte order mark is no part of it"
    assert meant("other:1", None)[:2] == ("other:1", "alice")
    monkeypatch.setenv("ZCHAT_BROKER", "home")
    assert meant(None, None)[:2] == ("nas.local", "al") and meant("office", None).address == "chat.example:5555"
    monkeypatch.setenv("ZCHAT_USER", "carol")
    assert meant(None, None)[:2] == ("nas.local", "carol") and meant(None, "bob").user == "bob"


def test_it_is_in_the_users_folder_for_such_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZCHAT_CONFIG", raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert profile.path() == Path("/home/ann/.config/zchat/zchat.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/xdg")
    assert profile.path() == Path("/etc/xdg/zchat/zchat.toml")
    for name in ("XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(name)
    assert profile.path() is None and profile.read() == profile.Profile()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("broker = ", "Invalid value (at end of document)"),
        ("brokr = 'a'", "brokr is none of broker, user, brokers and chat"),
        ("user = 7", "user is text"),
        ("brokers = 'a'", "brokers is a table of names"),
        ("brokers.a = 7", "brokers.a is an address, or a table of address, user, key"),
        ("brokers.a.user = 'x'", "brokers.a is an address, or a table of address, user, key"),
        (
            "brokers.a = { address = 'x', port = 1 }",
            "brokers.a is an address, or a table of address, user, key",
        ),
        ("chat = 7", "chat is a table of theme, notify, downloads"),
        ("chat.them = 'x'", "chat is a table of theme, notify, downloads"),
        ("chat.theme = 'pink'", "theme pink is none of dark, light, contrast"),
        ("chat.notify = 'horn'", "notify horn is none of off, bell, osc9, osc777"),
        ("brokers.a = { address = 'x', key = 'k' }", "brokers.a has one of key and server_key"),
        ("\xff", "Invalid statement (at line 1, column 1)"),
        ("a = " + "[" * 5_000, ""),
    ],
)
def test_what_is_not_understood_is_named(file: Path, text: str, why: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        zchat.connect(wait=0)
    assert str(error.value).startswith(f"{file}: ") and why in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("broker", [("--memory",)], indirect=True)
def test_every_door_knows_a_broker_by_its_name(broker: BrokerProcess, file: Path) -> None:
    file.write_text(f'broker = "office"\n[brokers]\noffice = {{ address = "{broker.address}", user = "alice" }}\n')
    with zchat.connect("office") as client:
        assert (client.user, client.address) == ("alice", broker.address)

    async def talk() -> None:
        async with zchat.aio.connect("office") as client:
            assert client.user == "alice"
            await client.send("den", "hello")

    asyncio.run(talk())
    env = {"ZCHAT_CONFIG": str(file)}
    assert run("send", "den", "there", env=env).status == 0
    assert (
        run("history", "den", "-b", "office", "--format", "{user} {body}", env=env).stdout
        == "alice hello\nalice there\n"
    )
    refused = run("who", "-b", "ofice", "--wait", "0", env=env)
    assert refused.status == 3 and "ofice" in refused.stderr
