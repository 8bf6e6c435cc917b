"""`zchat broker`: its ready line, its end, and what keeps it from starting."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMAND, BrokerProcess, Running, eventually, steady_address, zchat

pytestmark = pytest.mark.slow  # each starts processes

StartBroker = Callable[..., BrokerProcess]


def test_one_line_says_that_it_is_ready_and_where(broker: BrokerProcess) -> None:
    port = int(broker.address.rpartition(":")[2])
    assert broker.stderr() == (
        f"zchat broker ready on tcp://127.0.0.1:{port} (publishes on {broker.publish_address}), "
        f"log {broker.folder / 'data'}\n"
    )
    assert re.fullmatch(r"tcp://127\.0\.0\.1:\d+", broker.publish_address)


def test_it_says_nothing_more_until_it_ends(broker: BrokerProcess) -> None:
    assert zchat("send", "a", "x", broker=broker).status == 0
    broker.stop()
    assert broker.stderr().count("\n") == 1


def test_ctrl_c_ends_it_by_that_signal(start_zchat: Callable[..., Running]) -> None:
    running = start_zchat("broker", "--memory", "--bind", "tcp://127.0.0.1:0")
    eventually(lambda: "ready" in running.stderr, "it is ready")
    assert running.end(signal.SIGINT).status == -signal.SIGINT


def test_in_the_background_of_a_script_it_outlives_ctrl_c(start_zchat: Callable[..., Running]) -> None:
    running = start_zchat(
        "broker", "--memory", "--bind", "tcp://127.0.0.1:0", run=("sh", "-c", 'trap "" INT; exec "$@"', "-", *COMMAND)
    )
    eventually(lambda: "ready" in running.stderr, "it is ready")
    running.process.send_signal(signal.SIGINT)
    address = running.stderr.split()[4]
    assert zchat("send", "a", "x", "-b", address).status == 0
    assert running.end(signal.SIGTERM).status == 0


def test_the_next_port_broadcasts_when_the_port_was_named(start_broker: StartBroker) -> None:
    bind = steady_address()  # of which the next one is free, too
    port = int(bind.rpartition(":")[2])
    broker = start_broker("--memory", bind=bind)
    assert broker.address.endswith(f":{port}") and broker.publish_address.endswith(f":{port + 1}")
    assert broker.log == "in memory"


def test_it_works_over_ipc(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = start_broker("--memory", bind=f"ipc://{tmp_path / 'z'}")
    assert zchat("send", "a", "x", broker=broker).status == 0
    assert zchat("history", "a", "--raw", broker=broker).stdout == "x\n"


@pytest.mark.parametrize("bind", ["tcp://*:0", "tcp://0.0.0.0:0"])
def test_an_address_that_others_reach_is_warned_of(start_broker: StartBroker, bind: str) -> None:
    broker = start_broker("--memory", "--insecure", bind=bind)
    warning, ready = broker.stderr().splitlines()
    assert warning.startswith("zchat: warning: ") and "whoever reaches the port can read and write" in warning
    assert ready.startswith("zchat broker ready on ")


@pytest.mark.parametrize("bind", ["tcp://*:0", "tcp://lo:0", "[::]:0", "tcp://192.0.2.1:5555"])
def test_an_address_that_others_reach_is_refused_unless_asked_for_twice(bind: str) -> None:
    refused = zchat("broker", "--memory", "--bind", bind)
    assert (refused.stdout, refused.status, refused.stderr.count("\n")) == ("", 2, 1)
    assert bind in refused.stderr and "--insecure" in refused.stderr


def test_a_port_in_use_is_one_line(broker: BrokerProcess, tmp_path: Path) -> None:
    second = zchat("broker", "--bind", broker.address, "--memory")
    assert (second.stdout, second.status) == ("", 1)
    assert broker.address in second.stderr and second.stderr.count("\n") == 1


def test_two_brokers_never_share_a_folder(broker: BrokerProcess) -> None:
    folder = str(broker.folder / "data")
    second = zchat("broker", "--bind", "tcp://127.0.0.1:0", "--data", folder)
    assert (second.stdout, second.status) == ("", 1)
    assert folder in second.stderr and second.stderr.count("\n") == 1
    assert zchat("send", "a", "x", broker=broker).status == 0


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shown = zchat("broker", "--bind", "tcp://127.0.0.1:0", "--data", str(tmp_path / "file" / "data"))
    assert (shown.stdout, shown.status) == ("", 1)
    assert str(tmp_path / "file") in shown.stderr and shown.stderr.count("\n") == 1


@pytest.mark.parametrize("bind", ["tcp://", "nonsense://x", "tcp://127.0.0.1:99999", "tcp://no-such-host.invalid:0"])
def test_an_address_that_cannot_be_bound_is_one_line(bind: str) -> None:
    shown = zchat("broker", "--bind", bind, "--memory")
    assert (shown.stdout, shown.stderr.count("\n")) == ("", 1)
    assert shown.stderr.startswith("zchat: ") and shown.status in (1, 2)


def test_the_default_folder_is_the_users(start_zchat: Callable[..., Running], tmp_path: Path) -> None:
    running = start_zchat(
        "broker", "--bind", "tcp://127.0.0.1:0", env={"XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path)}
    )
    eventually(lambda: "ready" in running.stderr, "it is ready")
    assert str(tmp_path) in running.stderr
    assert running.end(signal.SIGTERM).status == 0


@pytest.mark.parametrize("sync", ["full", "normal"])
def test_both_kinds_of_sync_keep_what_was_acked(start_broker: StartBroker, sync: str) -> None:
    broker = start_broker("--sync", sync)
    assert zchat("send", "a", "x", broker=broker).status == 0
    broker.kill()
    broker.start()
    assert zchat("history", "a", "--raw", broker=broker).stdout == "x\n"
