"""What a broker publishes: found through tunnels, NAT and containers, and believed only when it is that broker's."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import zchat
from tests.conftest import BrokerProcess, Running, eventually, steady_address
from tests.conftest import zchat as command
from tests.sockets.relay import Relay, port_of

pytestmark = pytest.mark.slow  # brokers are processes

StartBroker = Callable[..., BrokerProcess]
StartZchat = Callable[..., Running]
LeadTo = Callable[..., Relay]


def ports(broker: BrokerProcess) -> tuple[int, int]:
    return port_of(broker.address), port_of(broker.publish_address)


def free_ports() -> tuple[int, int]:
    port = port_of(steady_address())
    return port, port + 1


def is_heard(address: str, broker: BrokerProcess) -> bool:
    """Whether a client at that address hears what is sent to the broker, and again after a break of all connections."""
    with zchat.connect(address, "anna") as anna, zchat.connect(broker.address, "ben") as ben:
        with anna.listen("den", timeout=10) as heard:
            for text in ("one", "two"):
                ben.send("den", text, timeout=20)
                if heard.get(20).text != text:
                    return False
                broker.restart()
        return anna.address == address


# --- where it is -------------------------------------------------------------------------------------


def test_a_tunnel_with_other_ports_side_by_side_needs_nothing(start_broker: StartBroker, relay: LeadTo) -> None:
    broker, (near, next_to_it) = start_broker(), free_ports()
    router, publisher = ports(broker)
    assert is_heard(relay(broker, (near, router), (next_to_it, publisher)).address, broker)


def test_a_client_may_name_both_ports(start_broker: StartBroker, relay: LeadTo) -> None:
    broker, (near, _), (other, _) = start_broker(), free_ports(), free_ports()
    router, publisher = ports(broker)
    way = relay(broker, (near, router), (other, publisher))
    assert is_heard(f"{way.address},{other}", broker)
    assert is_heard(f"{broker.address},127.0.0.2:{other}", broker)
    assert is_heard(f"{broker.address},localhost:{publisher}", broker)


@pytest.mark.parametrize("host", ["", "127.0.0.2:"])
def test_a_broker_may_advertise_where_it_publishes(start_broker: StartBroker, relay: LeadTo, host: str) -> None:
    (near, _), (other, _) = free_ports(), free_ports()
    broker = start_broker("--advertise", f"{host}{other}")
    router, publisher = ports(broker)
    way = relay(broker, (near, router), (other, publisher))
    assert is_heard(way.address, broker)
    with pytest.raises(zchat.Unreachable), zchat.connect(f"{way.address},{near}", "anna") as anna:
        anna.listen("den", timeout=1)  # the client's word counts more


def test_what_a_broker_publishes_may_be_on_another_host(start_broker: StartBroker, relay: LeadTo) -> None:
    broker, (near, _) = start_broker(), free_ports()
    router, publisher = ports(broker)
    broker.args = ("--advertise", f"localhost:{publisher}")
    broker.restart()
    assert is_heard(relay(broker, (near, router)).address, broker)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--advertise", "host"), "names no port"),
        (("--advertise", "0"), "port 0"),
        (("--advertise", "*:5556"), "all interfaces"),
        (("--advertise", "5556", "--bind", "ipc:///tmp/none"), "--advertise names a port"),
        (("--bind", "127.0.0.1:5555,5556"), "is not a number"),
    ],
)
def test_what_cannot_be_advertised_is_refused(args: tuple[str, ...], why: str) -> None:
    ended = command("broker", "--memory", *args)
    assert ended.status == 2 and why in ended.stderr and ended.stderr.count("\n") <= 2


# --- whether it is that broker's ---------------------------------------------------------------------


def test_another_brokers_messages_are_not_believed_and_it_is_said_in_a_line(
    start_broker: StartBroker, relay: LeadTo, start_zchat: StartZchat
) -> None:
    right, wrong, (near, next_to_it) = start_broker(), start_broker(), free_ports()
    way = relay(right, (near, ports(right)[0]), (next_to_it, ports(wrong)[1]))
    environment = {"ZCHAT_BROKER": way.address, "ZCHAT_USER": "anna"}
    told = f"another broker publishes at tcp://127.0.0.2:{next_to_it}"
    listener = start_zchat("listen", "den", "--resume", "here", "--after", "0", "--wait", "20", env=environment)
    with zchat.connect(wrong.address, "mallory") as mallory:
        while listener.process.poll() is None:
            mallory.publish("den", "false")
            mallory.send("den", "false", volatile=True)
        ended = listener.end()
    assert (ended.stdout, ended.status) == ("", 3)
    said, hint = ended.stderr.splitlines()
    assert told in said and hint.startswith("hint: ") and "HOST:PORT,PORT" in hint
    with zchat.connect(way.address, "anna") as anna:
        with pytest.raises(zchat.Unreachable) as caught:  # also where it waits for as long as it takes
            anna.listen("den")
        assert told in caught.value.why
        with pytest.raises(zchat.Unreachable):
            anna.listen("den", timeout=0.5)
        assert [(cursor.name, cursor.offset) for cursor in anna.cursors()] == [("here", 0)]
        assert anna.send("den", "true") > 0 and [message.text for message in anna.history("den")] == ["true"]
        way.ways[next_to_it] = ports(right)[1]
        heard = anna.listen("den", after=0, timeout=20)
        assert heard.get(20).text == "true"


def test_a_listener_whose_way_leads_to_another_broker_later_believes_nothing_of_it(
    start_broker: StartBroker, relay: LeadTo, start_zchat: StartZchat
) -> None:
    right, wrong = start_broker(), start_broker()
    way = relay(right)
    _, publisher = ports(right)
    environment = {"ZCHAT_BROKER": way.address, "ZCHAT_USER": "anna"}
    listener = start_zchat("listen", "den", "--json", "--resume", "here", env=environment)
    with zchat.connect(right.address, "ben") as ben, zchat.connect(wrong.address, "mallory") as mallory:
        eventually(lambda: ben.who("den"), "it listens")
        first = ben.send("den", "one")
        eventually(lambda: "one" in listener.stdout, "it hears")
        way.ways[publisher] = ports(wrong)[1]
        way.cut()

        def is_told() -> bool:
            for _ in range(20):
                mallory.publish("den", "false")
                mallory.publish("den", "false", volatile=True)
            mallory.flush(10)
            return "another broker publishes" in listener.stderr

        eventually(is_told, "it is told", within=30)
        with zchat.connect(right.address, "anna") as anna:
            assert [cursor.offset for cursor in anna.cursors()] <= [first]
        second = ben.send("den", "two")
        way.ways[publisher] = publisher
        eventually(lambda: "two" in listener.stdout, "it hears again", within=30)
        bodies = [json.loads(line)["body"] for line in listener.lines]
        assert bodies == ["one", "two"]
        assert listener.end(15).stderr.count("\n") == 1
        with zchat.connect(right.address, "anna") as anna:
            assert [cursor.offset for cursor in anna.cursors()] >= [second]


def test_a_publisher_that_nobody_is_at_is_named(start_broker: StartBroker, relay: LeadTo) -> None:
    broker, (near, next_to_it) = start_broker(), free_ports()
    way = relay(broker, (near, ports(broker)[0]))
    ended = command("listen", "den", env={"ZCHAT_BROKER": way.address}, timeout=30)
    assert ended.status == 3
    assert f"tcp://127.0.0.2:{next_to_it}: connection refused" in ended.stderr
