"""Many sessions over one connection, as a program has them: real brokers over TCP, real breaks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import zchat
from tests.conftest import BrokerProcess, environment, eventually
from tests.sockets.relay import Relay
from zchat import wire

pytestmark = pytest.mark.slow  # the broker is a process

THOUSAND = 1_000


@pytest.fixture
def gate(shared_broker: BrokerProcess) -> Iterator[zchat.Client]:
    with zchat.connect(shared_broker.address, "gate") as client:
        yield client


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room that no other test uses."""
    return f"room.{abs(hash(request.node.name))}"


def bodies(subscription: zchat.Subscription, count: int) -> list[bytes]:
    return [subscription.get(20).body for _ in range(count)]


def events(subscription: zchat.Subscription, count: int) -> list[tuple[str, str]]:
    return [(message.user, message.event) for message in (subscription.get(20) for _ in range(count))]


def states(client: zchat.Client, room: str) -> dict[str, str]:
    return {member.user: member.state for member in client.who(room)}


# --- the end of the connection ------------------------------------------------------------------

ENDS = """
import sys, zchat
gate = zchat.connect(sys.argv[1], "gate")
ann = gate.session("ann")
for number in range(500):
    ann.publish(sys.argv[2], f"{number}".encode() + b"x" * 10_000)
"""


@pytest.mark.parametrize("end", ["gate.close()", "", "ann.close(); gate.close()"])
def test_what_a_session_has_published_is_sent_before_its_connection_ends(
    gate: zchat.Client, shared_broker: BrokerProcess, room: str, end: str
) -> None:
    command = [sys.executable, "-c", ENDS + end, shared_broker.address, room]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(gate.history(room))) == 500


def test_what_a_session_could_not_send_is_told_once(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker("--memory")
    program = f"{ENDS}import os\nos.kill({broker.process.pid if broker.process else 0}, 9)\n"
    end = "while gate.is_connected: pass\nann.publish('r', 'x')\ngate.close(timeout=0.1)\nann.close()"
    command = [sys.executable, "-c", program + end, broker.address, "room"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    broker.kill()
    (line,) = done.stderr.splitlines()
    assert "no acknowledgement of" in line and done.returncode == 0


# --- as any client ------------------------------------------------------------------------------


def test_two_sessions_see_each_other_come_speak_and_go(gate: zchat.Client, room: str) -> None:
    with gate.session("alice") as alice, alice.listen(room, presence=True) as heard:
        with gate.session("bob") as bob:
            assert len({gate.session_id, alice.session_id, bob.session_id}) == 3
            told = bob.listen(room)
            assert alice.send(room, b"hi") + 1 == bob.send(room, b"ho")
            assert bodies(told, 2) == [b"hi", b"ho"]
            assert states(alice, room) == states(gate, room) == {"alice": "live", "bob": "live"}
        assert states(alice, room) == {"alice": "live"}
        assert events(heard, 5) == [
            *(("alice", "join"), ("bob", "join"), ("alice", "message"), ("bob", "message"), ("bob", "leave")),
        ]
        assert alice.send(room, b"still there") and bob.is_connected is False
        with pytest.raises(zchat.Closed):
            bob.publish(room, b"too late")


def test_each_has_its_own_inbox_cursors_and_echo(gate: zchat.Client, room: str) -> None:
    with gate.session("alice") as alice, gate.session("bob") as bob:
        own, others = alice.listen(room, echo=False), bob.listen(room, echo=False)
        to_alice = alice.listen("@alice")
        with pytest.raises(zchat.Refused, match="denied"):
            bob.listen("@alice")
        alice.send(room, b"of alice")
        bob.send(room, b"of bob")
        gate.send("@alice", b"psst")
        assert (bodies(own, 1), bodies(others, 1), bodies(to_alice, 1)) == ([b"of bob"], [b"of alice"], [b"psst"])
        alice.set_cursor("reader", 1)
        assert ([cursor.name for cursor in alice.cursors()], bob.cursors()) == (["reader"], [])


def test_what_one_publishes_stays_in_order_and_waits_for_nobody(gate: zchat.Client, room: str) -> None:
    with gate.listen(room, after=0) as heard:
        clients = [gate.session(f"user-{number}") for number in range(8)]
        for at in range(200):
            for client in clients:
                client.publish(room, b"%d" % at, volatile=at % 10 == 9)
        for client in clients:
            client.flush(20)
        found: dict[str, list[int]] = {client.user: [] for client in clients}
        for message in (heard.get(20) for _ in range(8 * 180)):
            if message.offset:
                found[message.user].append(int(message.body))
        wanted = [at for at in range(200) if at % 10 != 9]
        assert all(each == wanted[: len(each)] for each in found.values())
        for client in clients:
            client.close()


def test_a_refused_publish_is_told_to_its_session_alone(gate: zchat.Client, room: str) -> None:
    with gate.session("alice") as alice, gate.session("bob") as bob:
        wrong = wire.Record(b"", "join")  # what no `publish` lets pass
        refused = alice._add(room, wrong, 4, False)
        with pytest.raises(zchat.Refused, match="denied"):
            refused.result(10)
        assert bob.send(room, b"fine")
        bob.flush(10)
        gate.flush(10)
        alice._add(room, wrong, 4, False)
        with pytest.raises(zchat.Refused, match="denied"):
            alice.flush(10)


def test_a_session_that_is_refused_leaves_the_others_alone(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker("--memory")
    with zchat.connect(broker.address, "gate") as gate, gate.session("alice") as alice:
        for name in ("no name", "", "x" * 65):
            with pytest.raises(zchat.BadName):
                gate.session(name)
        assert alice.send("den", b"hi") == gate.send("den", b"ho") - 1
        other = alice.session("bob")
        assert other.send("den", b"hey") == 3


def test_waits_end_when_the_session_is_closed_by_another_thread(gate: zchat.Client, room: str) -> None:
    alice = gate.session("alice")
    heard = alice.listen(room)
    ended: list[str] = []

    def wait() -> None:
        try:
            heard.get()
        except zchat.Closed:
            ended.append("closed")

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: states(gate, room) == {"alice": "live"}, "it listens")
    alice.close()
    waiting.join(20)
    assert ended == ["closed"] and gate.is_connected


def test_in_a_forked_child_a_session_has_ended_and_in_the_parent_it_goes_on(gate: zchat.Client, room: str) -> None:
    with gate.session("alice") as alice, alice.listen(room) as heard:
        child = os.fork()
        if not child:
            try:
                alice.publish(room, b"from the child")
            except zchat.Closed:
                os._exit(0 if not alice.is_connected else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        alice.send(room, b"from the parent")
        assert bodies(heard, 1) == [b"from the parent"]


# --- breaks -------------------------------------------------------------------------------------


def test_a_connection_that_is_cut_comes_back_with_all_and_nobody_has_left(
    shared_broker: BrokerProcess, relay: Callable[[BrokerProcess], Relay], room: str
) -> None:
    way = relay(shared_broker)
    told: list[str] = []
    with zchat.connect(shared_broker.address, "watcher") as watcher, watcher.listen(room, presence=True) as seen:
        with zchat.connect(way.address, "gate") as gate:
            sessions = [
                gate.session(f"user-{number}", on_notice=lambda notice: told.append(notice.kind)) for number in range(5)
            ]
            heard = [session.listen(room) for session in sessions]
            for _ in range(2):
                way.cut()
                eventually(lambda: not gate.is_connected, "the break is noticed")
                for session in sessions:
                    session.publish(room, session.user)
                watcher.send(room, b"meanwhile")
                eventually(lambda: all(session.is_connected for session in sessions), "all are back")
            for session in sessions:
                session.flush(20)
            assert all(len(set(bodies(each, 12))) == 6 for each in heard)
            eventually(lambda: told.count("lost") == told.count("back") == 10, "each was told of each break")
            assert "leave" not in [event for _, event in events(seen, 18)]
        assert [event for _, event in events(seen, 5)] == ["leave"] * 5


def test_a_broker_that_is_started_again_has_all_sessions_back(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker()
    with zchat.connect(broker.address, "gate") as gate:
        sessions = [gate.session(f"user-{number}") for number in range(100)]
        heard = [session.listen("den", "of." + session.user) for session in sessions]
        known = [session.session_id for session in sessions]
        broker.kill()
        for session in sessions:
            session.publish("of." + session.user, b"while it was away")
        broker.start()
        eventually(lambda: all(session.is_connected for session in sessions), "all are back")
        assert [session.session_id for session in sessions] == known
        gate.send("den", b"to all", timeout=20)
        for each in heard:
            assert sorted(bodies(each, 2)) == [b"to all", b"while it was away"]
        leaves = [message for message in gate.history("**", presence=True) if message.event == "leave"]
        assert leaves == [] and len(states(gate, "den")) == 100


def test_a_broker_with_another_log_has_all_back_under_other_names(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker("--memory")
    with zchat.connect(broker.address, "gate") as gate, gate.session("alice") as alice:
        notices: list[zchat.Notice] = []
        heard = alice.listen("den")
        before, log = alice.session_id, alice.log_id
        other = alice.listen("den", on_notice=notices.append)
        broker.kill()
        broker.start()
        eventually(lambda: alice.is_connected and alice.log_id != log, "it is back")
        eventually(lambda: states(gate, "den") == {"alice": "live"}, "it is in the room again")
        assert alice.session_id != before
        gate.send("den", b"in another log")
        assert bodies(heard, 1) == bodies(other, 1) == [b"in another log"]
        assert "log" in [notice.reason for notice in notices]


def test_the_histories_of_many_sessions_are_read_at_once_and_none_is_refused(gate: zchat.Client, room: str) -> None:
    for number in range(20):
        gate.send(room, b"%d" % number)
    with ThreadPoolExecutor(60) as pool:
        sessions = list(pool.map(lambda number: gate.session(f"user-{number}"), range(60)))
        read = list(pool.map(lambda session: [message.body for message in session.history(room, last=10)], sessions))
    assert read == [[b"%d" % number for number in range(10, 20)]] * 60


# --- many ---------------------------------------------------------------------------------------


def test_a_thousand_sessions_come_hear_resume_and_go(
    shared_broker: BrokerProcess, relay: Callable[[BrokerProcess], Relay], room: str
) -> None:
    way = relay(shared_broker)
    threads = threading.active_count()
    with zchat.connect(way.address, "gate") as gate, ThreadPoolExecutor(16) as pool:
        sessions = list(pool.map(lambda number: gate.session(f"user-{number}"), range(THOUSAND)))
        heard = list(pool.map(lambda session: session.listen(room), sessions))
        gate.send(room, b"to all")
        assert all(bodies(each, 1) == [b"to all"] for each in heard)
        way.cut()
        eventually(lambda: not gate.is_connected, "the break is noticed")
        eventually(lambda: all(session.is_connected for session in sessions), "all are back")
        gate.send(room, b"once more", timeout=20)
        assert all(bodies(each, 1) == [b"once more"] for each in heard)
        assert threading.active_count() <= threads + 24
        assert len(states(gate, room)) == THOUSAND
        gate.close(timeout=60)  # what is said for a thousand takes its time on a busy machine
    with zchat.connect(shared_broker.address, "watcher") as watcher:
        assert states(watcher, room) == {}
