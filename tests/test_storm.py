"""scripts/storm.py works: seconds of it are survived, a broker that dies is told, what is drawn comes from the seed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.conftest import eventually
from tests.scripts import module, start


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("deeds", "letters", "peers", "zmtp"):
        module(monkeypatch, f"attacks.{name}")
    return module(monkeypatch, "attacks")


@pytest.mark.slow
def test_a_broker_lives_through_some_seconds_and_its_clients_get_all() -> None:
    done = start("storm.py", "--seconds", "5", "--attackers", "2", "--json", "-")
    out, err = done.communicate(timeout=110)
    assert done.returncode == 0, out + err
    found = json.loads(out[out.index("\n{") :])
    assert found["good"] and found["complaints"] == []
    assert found["published"] * 2 == found["heard"] > 40_000
    assert found["tried"]["port router"] > 0 < found["tried"]["port xpub"]
    assert out.splitlines()[0].startswith("ports")


@pytest.mark.slow
def test_a_broker_that_dies_is_told_with_what_was_tried_last(tmp_path: Path) -> None:
    done = start("storm.py", "--seconds", "60", "--attackers", "1", "--keep", str(tmp_path / "run"))
    journal = tmp_path / "run" / "attacker-0.0.journal"
    eventually(lambda: journal.exists() and journal.stat().st_size, "it is attacked", within=60.0)
    os.kill(broker_of(done.pid), signal.SIGKILL)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 1, out + err
    assert "the broker ended" in out and "last of attacker-0" in out
    assert out.splitlines()[-1].startswith("BROKEN: seed ")


def broker_of(storm: int) -> int:
    children = Path(f"/proc/{storm}/task/{storm}/children").read_text().split()
    [broker] = [int(pid) for pid in children if b"broker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    return broker


def test_a_folder_that_is_not_empty_and_no_attacker_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = start("storm.py", "--keep", str(tmp_path))
    assert done.communicate() == ("", f"storm: {tmp_path} is not empty\n") and done.returncode == 2
    done = start("storm.py", "--attackers", "0")
    assert "at least one attacker" in done.communicate()[1] and done.returncode == 2


def test_deeds_come_from_the_seed_and_are_of_some_megabytes_at_most(attacks: Any) -> None:
    made = attacks.deeds
    for deed in {*made.EVERYWHERE, *made.ROUTER, *made.PUBLISHER}:
        draws = [deed(Random(seed)) for seed in range(100)]
        assert draws == [deed(Random(seed)) for seed in range(100)]
        assert len(set(draws)) > 1
        assert max(map(len, draws)) < 20 << 20


def test_a_right_letter_is_a_message_and_a_changed_one_mostly_none(attacks: Any) -> None:
    from zchat import wire
    from zchat.errors import WireError

    draw = Random(1)
    for seq in range(500):
        wire.decode_client(attacks.letters.message(*attacks.letters.legal(draw, seq)))
    refused = 0
    for seq in range(500):
        try:
            wire.decode_client(attacks.letters.changed(draw, seq))
        except WireError:
            refused += 1
    assert 100 < refused < 500


def test_only_this_machine_is_attacked(attacks: Any) -> None:
    attacks.peers.Place("127.0.0.1", 5555, 5556).check()
    with pytest.raises(ValueError, match="not this machine"):
        attacks.peers.Place("192.0.2.1", 5555, 5556).check()
