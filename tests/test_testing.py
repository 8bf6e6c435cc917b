"""The broker that users of the library start in their tests."""

from __future__ import annotations

from pathlib import Path

import pytest

import zchat
from zchat.testing import broker, broker_with_keys


def test_a_broker_is_there_for_the_block_and_gone_after_it() -> None:
    with broker() as address, zchat.connect(address, user="alice") as client:
        assert client.send("general", "hello") == 1
    with pytest.raises(zchat.Unreachable):
        zchat.connect(address, wait=0)


def test_what_is_in_its_folder_is_there_the_next_time(tmp_path: Path) -> None:
    for expected in (1, 2):
        with broker("--data", str(tmp_path / "log")) as address, zchat.connect(address) as client:
            assert client.send("general", "hello") == expected


def test_one_that_cannot_start_says_why() -> None:
    with pytest.raises(zchat.StartError, match="no such option"), broker("--no-such-option"):
        pytest.fail("it started")


def test_two_have_different_addresses() -> None:
    with broker() as one, broker() as another:
        assert one != another


def test_one_with_keys_lets_in_who_has_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZCHAT_BROKER", "ZCHAT_USER"):
        monkeypatch.delenv(name, raising=False)
    with broker_with_keys() as keyed:
        monkeypatch.setenv("ZCHAT_CONFIG", keyed.profile("alice"))
        with zchat.connect() as client:
            assert (client.user, client.address, client.send("general", "hello")) == ("alice", keyed.address, 1)
        monkeypatch.setenv("ZCHAT_CONFIG", keyed.profile("web", gateway="web.*"))
        with zchat.connect() as client, client.session("web.ann") as ann:
            assert ann.send("general", "hello") == 2
        monkeypatch.setenv("ZCHAT_CONFIG", str(keyed.folder / "none.toml"))
        with pytest.raises(zchat.KeyRefused) as error:
            zchat.connect(keyed.address)
        assert error.value.code == "no-key"
