"""Three hosts: a broker, a listener and a sender, each in a network namespace, on one switch in a fourth.

The switch takes a host's cable away so that the host's own interface stays up: its kernel is never told.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import COMMAND, BrokerProcess, Running, eventually

pytestmark = pytest.mark.slow

NETWORK = "10.77.55"
GRACE_SECONDS = 2.0
HEARTBEAT_SECONDS = 1.5  # a ping every half second, and a second to answer it
AWAY_SECONDS = 5.0


def why_not() -> str:
    """Why there can be no hosts here; empty when there can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    name = f"zchat-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


class Hosts:
    """Some hosts on a switch."""

    def __init__(self, *names: str) -> None:
        self._space = f"zchat-{os.getpid()}"
        self._names = names
        for name in ("switch", *names):
            _ip("netns", "add", self.namespace(name))
        switch = self.namespace("switch")
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        for number, name in enumerate(names, start=1):
            host = self.namespace(name)
            _ip("-n", switch, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("-n", switch, "link", "set", name, "master", "switch", "up")
            _ip("-n", host, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")
            _ip("-n", host, "address", "add", f"fe80::{number}/64", "dev", "eth0", "nodad")
            _ip("-n", host, "link", "set", "lo", "up")

    def namespace(self, name: str) -> str:
        """What the system calls that host."""
        return f"{self._space}-{name}"

    def run_on(self, name: str) -> tuple[str, ...]:
        """What runs a command line of zchat on that host."""
        return ("ip", "netns", "exec", self.namespace(name), *COMMAND)

    def unplug(self, name: str) -> None:
        """Nothing passes the switch to or from that host any more; its link stays up."""
        _ip("-n", self.namespace("switch"), "link", "set", name, "nomaster")

    def plug_in(self, name: str) -> None:
        """The cable is back."""
        _ip("-n", self.namespace("switch"), "link", "set", name, "master", "switch")

    def link_of(self, name: str) -> str:
        """The state of the host's interface, as its own kernel sees it."""
        shown = _ip("-n", self.namespace(name), "-json", "link", "show", "eth0")
        return str(json.loads(shown)[0]["operstate"])

    def close(self) -> None:
        """Away with all of it."""
        for name in ("switch", *self._names):
            subprocess.run(["ip", "netns", "del", self.namespace(name)], capture_output=True)


def _ip(*args: str) -> str:
    done = subprocess.run(["ip", *args], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(args)}: {done.stderr}"
    return done.stdout


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    hosts = Hosts("broker", "listener", "sender")
    yield hosts
    hosts.close()


def messages(listener: Running) -> list[dict[str, Any]]:
    """What a listener with --json has printed."""
    return [json.loads(line) for line in listener.lines]


def told(listener: Running) -> list[tuple[str, str, str]]:
    return [(message["user"], message["event"], message["body"]) for message in messages(listener)]


def seconds(message: dict[str, Any]) -> float:
    return datetime.fromisoformat(message["time"]).timestamp()


def test_messages_joins_and_leaves_pass_between_hosts(
    hosts: Hosts, start_broker: Callable[..., BrokerProcess], start_zchat: Callable[..., Running]
) -> None:
    broker = start_broker("--memory", "--insecure", bind="tcp://eth0:5555", run=hosts.run_on("broker"))
    assert "is open to the network" in broker.stderr()
    there = {"ZCHAT_BROKER": f"{NETWORK}.1"}
    watcher = start_zchat("listen", "den", "--presence", "--json", "-v", "-u", "watcher", env=there,
                          run=hosts.run_on("listener")).live()  # fmt: skip
    visitor = start_zchat("listen", "den", "-v", "-u", "visitor", env=there, run=hosts.run_on("sender")).live()
    sender = start_zchat("send", "den", "-u", "sender", env=there, run=hosts.run_on("sender"))
    sender.write("one\ntwo\n")
    assert sender.end().status == 0
    eventually(lambda: visitor.stdout.count("\n") == 2, "the visitor has heard both")
    visitor.end(15)
    eventually(lambda: len(told(watcher)) >= 5, "the watcher has heard all")
    assert told(watcher) == [
        ("watcher", "join", ""),
        ("visitor", "join", ""),
        ("sender", "message", "one"),
        ("sender", "message", "two"),
        ("visitor", "leave", "bye"),
    ]


def test_a_host_whose_link_is_down_for_a_while_leaves_and_comes_back_by_itself(
    hosts: Hosts, start_broker: Callable[..., BrokerProcess], start_zchat: Callable[..., Running]
) -> None:
    start_broker("--insecure", "--grace", str(GRACE_SECONDS), bind="tcp://*:5555", run=hosts.run_on("broker"))
    there = {"ZCHAT_BROKER": f"{NETWORK}.1"}
    listener = start_zchat("listen", "den", "--json", "-v", "-u", "listener", env=there,
                           run=hosts.run_on("listener")).live()  # fmt: skip
    watcher = start_zchat("listen", "den", "--presence", "--json", "-v", "-u", "watcher", env=there,
                          run=hosts.run_on("sender")).live()  # fmt: skip
    sender = start_zchat("send", "den", "-u", "sender", env=there, run=hosts.run_on("sender"))
    sender.write("before\n")
    eventually(lambda: told(listener) == [("sender", "message", "before")], "the listener hears")

    unplugged, unplugged_at = time.monotonic(), time.time()
    hosts.unplug("listener")
    sender.write("".join(f"{number}\n" for number in range(1000)))
    eventually(lambda: ("listener", "leave", "lost") in told(watcher), "the listener's leave is written")
    [leave] = [message for message in messages(watcher) if message["event"] == "leave"]
    assert 0 < seconds(leave) - unplugged_at - GRACE_SECONDS < HEARTBEAT_SECONDS + 0.8
    eventually(lambda: time.monotonic() - unplugged > AWAY_SECONDS, "the link was down long enough")
    assert hosts.link_of("listener") == "UP"
    assert told(listener) == [("sender", "message", "before")]

    hosts.plug_in("listener")
    plugged_in = time.monotonic()
    sender.write("after\n")
    eventually(lambda: len(told(listener)) >= 1002, "the listener has what it missed", within=20)
    print(f"back {time.monotonic() - plugged_in:.2f} s after the link")
    assert [body for _, _, body in told(listener)] == ["before", *map(str, range(1000)), "after"]
    eventually(lambda: told(watcher)[-2:].count(("listener", "join", "")), "the listener has joined again")
    events = [(user, event) for user, event, _ in told(watcher) if event != "message"]
    assert events == [("watcher", "join"), ("listener", "leave"), ("listener", "join")]
    assert sender.end().status == 0


def test_a_link_that_is_back_within_the_grace_time_was_never_away(
    hosts: Hosts, start_broker: Callable[..., BrokerProcess], start_zchat: Callable[..., Running]
) -> None:
    start_broker("--memory", "--insecure", "--grace", "60", bind="tcp://*:5555", run=hosts.run_on("broker"))
    there = {"ZCHAT_BROKER": f"{NETWORK}.1"}
    listener = start_zchat(
        "listen", "den", "--presence", "--json", "-v", "-u", "listener", env=there, run=hosts.run_on("listener")
    ).live()
    sender = start_zchat("send", "den", "-u", "sender", env=there, run=hosts.run_on("sender"))
    hosts.unplug("listener")
    sender.write("while it was away\n")

    def state() -> bool:
        shown = start_zchat("who", "den", "--json", env=there, run=hosts.run_on("sender")).end()
        return '"lost"' in shown.stdout

    eventually(state, "the broker has noticed")
    hosts.plug_in("listener")
    sender.write("and when it is back\n")
    eventually(lambda: len(told(listener)) == 3, "the listener has both")
    assert [body for _, _, body in told(listener)] == ["", "while it was away", "and when it is back"]
    assert sender.end().status == 0


@pytest.mark.parametrize("bind", ["tcp://*:5555", "tcp://[fe80::1%eth0]:5555"])
def test_a_link_local_address_leads_to_the_broker_through_the_interface_that_it_names(
    hosts: Hosts, start_broker: Callable[..., BrokerProcess], start_zchat: Callable[..., Running], bind: str
) -> None:
    broker = start_broker("--memory", "--insecure", bind=bind, run=hosts.run_on("broker"))
    there = {"ZCHAT_BROKER": "tcp://[fe80::1%eth0]:5555"}
    listener = start_zchat("listen", "den", "-v", "--raw", env=there, run=hosts.run_on("listener")).live()
    for text in ("one", "two"):
        sent = start_zchat("send", "den", text, "-b", "[fe80::1%eth0]", run=hosts.run_on("sender")).end()
        assert (sent.stderr, sent.status) == ("", 0)
        eventually(lambda: listener.stdout.endswith(f"{text}\n"), "the listener hears", within=20)  # noqa: B023
        if text == "one":
            broker.restart()
            eventually(lambda: "back" in listener.stderr, "the listener is back", within=20)
    lost = start_zchat("rooms", "-b", "[fe80::1%eth7]", "--wait", "1", run=hosts.run_on("sender")).end()
    assert lost.status == 3 and "no interface eth7" in lost.stderr
