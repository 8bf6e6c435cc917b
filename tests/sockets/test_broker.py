"""The broker's sockets and loop over real TCP: who is here, whose frames count, how it starts and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import zmq

import zchat
from tests.conftest import BrokerProcess, Running, eventually, steady_address
from tests.conftest import zchat as run_zchat
from tests.sockets.raw import Speaker, publish
from zchat import wire

pytestmark = pytest.mark.slow  # each starts processes

StartBroker = Callable[..., BrokerProcess]
Speak = Callable[[str], Speaker]

LOGS = pytest.mark.parametrize("log", [("--memory",), ()], ids=["memory", "disk"])
GET_SECONDS = 30.0  # until something comes, on a machine that is busy
STAYS_SECONDS = 0.05  # a leave is written at the end of the grace time, at most so much later


def comings(broker: BrokerProcess, room: str) -> list[tuple[str, str]]:
    """(user, join) and (user, reason of the leave) of a room, in order."""
    with zchat.connect(broker.address, "reader") as client:
        events = [message for message in client.history(room, presence=True) if message.event != "message"]
    return [(event.user, "join" if event.event == "join" else event.text) for event in events]


# --- presence ----------------------------------------------------------------------------------------


@LOGS
def test_the_leave_of_a_killed_listener_is_written_when_its_grace_time_ends(
    start_broker: StartBroker, start_zchat: Callable[..., Running], log: tuple[str, ...]
) -> None:
    broker = start_broker("--grace", "0.5", *log)
    users = ["anna", "ben", "cleo"]
    found = []
    with zchat.connect(broker.address, "watcher") as client:
        watch = client.listen("*", presence=True, last=10)
        for _ in range(10):  # the best: on a busy machine a process takes its time to die, and another one to wake up
            running = [start_zchat("listen", "den", "-v", "-u", user, broker=broker) for user in users]
            joins = [watch.get(GET_SECONDS) for _ in users]
            assert sorted(join.user for join in joins) == users
            killed = {}
            for join in joins:
                process = running[users.index(join.user)].live().process
                killed[join.user] = time.time()
                process.kill()
            leaves = [watch.get(GET_SECONDS) for _ in users]
            assert [(leave.event, leave.text) for leave in leaves] == [("leave", "lost")] * 3
            late = [leave.time / 1e6 - killed[leave.user] - 0.5 for leave in leaves]
            assert min(late) >= 0.0
            if min(late) <= STAYS_SECONDS and max(late) < 0.5:
                return
            found.append(late)
    pytest.fail(f"each time late: {found}")


@LOGS
def test_a_clean_exit_is_a_leave_at_once(
    start_broker: StartBroker, start_zchat: Callable[..., Running], log: tuple[str, ...]
) -> None:
    broker = start_broker("--grace", "60", *log)
    for signum in (signal.SIGINT, signal.SIGTERM):
        start_zchat("listen", "den", "-v", broker=broker).live().end(signum)
    assert comings(broker, "den") == [("tester", "join"), ("tester", "bye")] * 2


@LOGS
def test_who_comes_back_within_the_grace_time_was_never_away(
    start_broker: StartBroker, speak: Speak, log: tuple[str, ...]
) -> None:
    broker = start_broker("--grace", "60", *log)
    first = speak(broker.address)
    welcome = first.hello("anna")
    first.join("den")
    first.close()
    with zchat.connect(broker.address, "watcher") as client:
        eventually(lambda: [one.state for one in client.who("den")] == ["lost"], "her connection's end is noticed")
        second = speak(broker.address).hello("anna", welcome.session, welcome.token)
        assert (second.session, second.resumed) == (welcome.session, True)
        assert [one.state for one in client.who("den")] == ["live"]
    assert comings(broker, "den") == [("anna", "join")]


def test_who_comes_back_after_the_grace_time_joins_anew(start_broker: StartBroker, speak: Speak) -> None:
    broker = start_broker("--grace", "0.1", "--memory")
    first = speak(broker.address)
    welcome = first.hello("anna")
    first.join("den")
    first.close()
    eventually(lambda: comings(broker, "den") == [("anna", "join"), ("anna", "lost")], "her leave is written")
    second = speak(broker.address)
    again = second.hello("anna", welcome.session, welcome.token)
    assert (again.session, again.resumed) == (welcome.session, False)
    second.join("den")
    second.say(wire.Bye())
    second.hear(wire.Goodbye)
    assert comings(broker, "den") == [("anna", "join"), ("anna", "lost"), ("anna", "join"), ("anna", "bye")]


def test_nobody_comes_back_as_another(shared_broker: BrokerProcess, speak: Speak) -> None:
    speaker = speak(shared_broker.address)
    welcome = speaker.hello("anna")
    for user, token in [("mallory", welcome.token), ("anna", b""), ("anna", welcome.token[:-1] + b"x")]:
        other = speak(shared_broker.address).hello(user, welcome.session, token)
        assert (other.session != welcome.session, other.resumed) == (True, False)


def test_who_speaks_and_goes_at_once_leaves_no_ghost(
    start_broker: StartBroker, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    broker = start_broker("--grace", "0.1", "--memory")
    for number in range(50):
        speaker = Speaker(context, broker.address)
        speaker.say(wire.Hello(wire.VERSION, f"user-{number}"), wire.Join(1, ["den"]), publish(1, "den", b"gone"))
        speaker.dealer.close(linger=5000)
    with zchat.connect(broker.address, "watcher") as client:
        eventually(lambda: sum(1 for _ in client.history("den")) == 50, "all have spoken")
        eventually(lambda: not client.who("den"), "all have gone")
    events = comings(broker, "den")
    for number in range(50):
        assert [what for user, what in events if user == f"user-{number}"] == ["join", "lost"]


def test_members_found_in_the_log_come_back_unseen_or_get_their_leave(start_broker: StartBroker, speak: Speak) -> None:
    broker = start_broker("--grace", "60", "--restart-grace", "2")
    back, gone = speak(broker.address), speak(broker.address)
    welcome = back.hello("back")
    gone.hello("gone")
    back.join("den")
    gone.join("den", "attic")
    broker.kill()
    back.close()
    gone.close()
    starting = time.time()
    broker.start()
    started = time.time()
    resumed = speak(broker.address)
    assert resumed.hello("back", welcome.session, welcome.token).resumed
    with zchat.connect(broker.address, "watcher") as client:
        watch = client.listen("*", presence=True, last=100)
        leaves = [message for message in (watch.get(GET_SECONDS) for _ in range(5)) if message.event == "leave"]
        assert {(leave.user, leave.text, leave.room) for leave in leaves} == {
            ("gone", "lost", "attic"),
            ("gone", "lost", "den"),
        }
        for leave in leaves:
            assert starting + 2.0 <= leave.time / 1e6 < started + 10.0
        assert [one.user for one in client.who("den")] == ["back"]
    assert comings(broker, "den") == [("back", "join"), ("gone", "join"), ("gone", "lost")]


def test_each_join_has_one_leave_however_its_session_ends(
    start_broker: StartBroker, start_zchat: Callable[..., Running]
) -> None:
    broker = start_broker("--grace", "0.3", "--restart-grace", "0.6")
    listeners = [start_zchat("listen", "den", "-v", "-u", f"user-{number}", broker=broker) for number in range(6)]
    for listener in listeners:
        listener.live()
    listeners[0].process.kill()
    listeners[1].end(signal.SIGTERM)
    broker.kill()
    listeners[2].process.kill()
    listeners[3].process.terminate()
    broker.start()
    listeners[4].process.kill()
    with zchat.connect(broker.address, "watcher") as client:
        eventually(lambda: [one.user for one in client.who("den")] == ["user-5"], "one is left")
        broker.restart()
        eventually(lambda: [one.state for one in client.who("den")] == ["live"], "it comes back")
    listeners[5].end(signal.SIGINT)

    def last_of_user_5() -> str:
        return [what for name, what in comings(broker, "den") if name == "user-5"][-1]

    eventually(lambda: last_of_user_5() != "join", "it leaves")
    events = comings(broker, "den")
    found = {user: [what for name, what in events if name == user] for user, _ in events}
    assert set(found) == {f"user-{number}" for number in range(6)}
    for whats in found.values():  # where all is slow, one may be too late and join anew
        assert whats[::2] == ["join"] * (len(whats) // 2), found
        assert set(whats[1::2]) <= {"lost", "bye"}, found
    assert (found["user-1"][-1], found["user-5"][-1], found["user-0"][-1]) == ("bye", "bye", "lost")


def test_a_session_in_no_room_is_known_to_the_broker_and_to_no_room(shared_broker: BrokerProcess, speak: Speak) -> None:
    speaker = speak(shared_broker.address)
    welcome = speaker.hello("emil")
    with zchat.connect(shared_broker.address, "ben") as client:
        found = {one.user: one for one in client.who()}
        assert (found["emil"].session, found["emil"].state, found["emil"].rooms) == (welcome.session, "live", [])
        assert [message.user for message in client.history("**", presence=True)].count("emil") == 0


# --- whose frames count ------------------------------------------------------------------------------


def test_frames_of_a_former_connection_are_ignored(shared_broker: BrokerProcess, speak: Speak) -> None:
    former, present = speak(shared_broker.address), speak(shared_broker.address)
    welcome = former.hello("freya")
    former.say(publish(1, "hall", b"one"))
    former.hear(wire.Ack)
    assert present.hello("freya", welcome.session, welcome.token).resumed
    former.say(publish(2, "hall", b"never"), wire.Join(1, ["hall"]), wire.Bye())
    present.say(publish(2, "hall", b"two"))
    assert [seq for seq, _ in present.hear(wire.Ack).pairs] == [2]
    with zchat.connect(shared_broker.address, "ben") as client:
        assert [message.text for message in client.history("hall", presence=True)] == ["one", "two"]
        assert [(one.user, one.state) for one in client.who() if one.user == "freya"] == [("freya", "live")]
    assert former.hear(wire.Error).code == "session-taken"
    assert not former.dealer.poll(200), "nothing more is said to a former connection"


def test_a_connection_that_said_no_hello_is_told_to(shared_broker: BrokerProcess, speak: Speak) -> None:
    speaker = speak(shared_broker.address)
    for message in (publish(1, "den", b"never"), wire.Who(1), wire.Bye(), wire.Join(2, ["den"])):
        speaker.say(message)
        speaker.hear(wire.HelloAgain)
    speaker.hello("anna")
    speaker.say(publish(1, "den", b"now"))
    _, before = speaker.hear_all(wire.Ack)
    assert before == []


def test_a_connection_that_outlives_the_broker_is_told_to_say_hello(start_broker: StartBroker, speak: Speak) -> None:
    broker = start_broker("--restart-grace", "60")
    speaker = speak(broker.address)
    welcome = speaker.hello("anna")
    speaker.say(publish(1, "den", b"one"))
    [(_, offset)] = speaker.hear(wire.Ack).pairs
    broker.stop()
    assert speaker.hear(wire.Goodbye).reason == "stopping"
    broker.start()
    speaker.say(publish(1, "den", b"one"))
    speaker.hear(wire.HelloAgain)
    assert speaker.hello("anna", welcome.session, welcome.token).session == welcome.session
    speaker.say(publish(1, "den", b"one"))  # a repeat, known for one although the broker is another
    assert speaker.hear(wire.Ack).pairs == [(1, offset)]


def test_another_hello_on_a_connection_is_the_same_session(shared_broker: BrokerProcess, speak: Speak) -> None:
    speaker = speak(shared_broker.address)
    welcome = speaker.hello("dora")
    again = speaker.hello("dora", welcome.session, welcome.token)
    assert (again.session, again.resumed) == (welcome.session, True)
    with zchat.connect(shared_broker.address, "ben") as client:
        assert [one.user for one in client.who()].count("dora") == 1


def test_a_hello_of_another_version_ends_the_connection(shared_broker: BrokerProcess, speak: Speak) -> None:
    speaker = speak(shared_broker.address)
    events = speaker.dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    speaker.say(wire.Hello(99, "anna"))
    assert speaker.hear(wire.Error).code == "unsupported-version"
    assert events.poll(5000), "the broker ends the connection"
    speaker.dealer.disable_monitor()


def test_one_that_does_not_read_its_answers_holds_nobody_up(broker: BrokerProcess, speak: Speak) -> None:
    deaf = speak(broker.address)
    deaf.dealer.setsockopt(zmq.RCVHWM, 1)
    deaf.hello("deaf")
    with zchat.connect(broker.address, "ben") as client:
        client.send("den", b"x" * 500_000)
        for request in range(300):  # 150 MB of answers, which nobody takes
            deaf.say(wire.Fetch(request, ["den"], 0, 0))
        waited = list[float]()
        for _ in range(3):
            began = time.monotonic()
            client.send("den", "hello")
            waited.append(time.monotonic() - began)
        assert min(waited) < 2.0
        assert broker.resident_bytes < 250 << 20


# --- how it ends -------------------------------------------------------------------------------------


@LOGS
def test_sigterm_keeps_what_was_accepted_and_tells_everybody(
    start_broker: StartBroker, speak: Speak, log: tuple[str, ...]
) -> None:
    broker = start_broker(*log)
    speaker, idle = speak(broker.address), speak(broker.address)
    speaker.hello("anna")
    idle.hello("ben")
    for seq in range(1, wire.IN_FLIGHT_MAX + 1):
        speaker.say(publish(seq, "den", b"%d" % seq))
    broker.stop()
    assert idle.hear(wire.Goodbye).reason == "stopping"
    goodbye, before = speaker.hear_all(wire.Goodbye)
    assert goodbye.reason == "stopping"
    acked = [seq for message in before if isinstance(message, wire.Ack) for seq, _ in message.pairs]
    assert acked == list(range(1, len(acked) + 1))
    if not log:
        broker.start()
        with zchat.connect(broker.address, "reader") as client:
            stored = [int(message.text) for message in client.history("den")]
        assert stored == list(range(1, len(stored) + 1))
        assert len(stored) >= len(acked)


def test_no_acked_message_is_missing_after_a_kill(start_broker: StartBroker, speak: Speak) -> None:
    broker = start_broker()
    speaker = speak(broker.address)
    speaker.hello("anna")
    for seq in range(1, wire.IN_FLIGHT_MAX + 1):
        speaker.say(publish(seq, "den", b"%d" % seq))
    pairs = dict(speaker.hear(wire.Ack).pairs)
    broker.kill()
    while speaker.dealer.poll(100):
        message = wire.decode_broker(speaker.dealer.recv())
        pairs.update(message.pairs if isinstance(message, wire.Ack) else [])
    broker.start()
    with zchat.connect(broker.address, "reader") as client:
        stored = {int(message.text): message.offset for message in client.history("den")}
    assert stored.items() >= pairs.items()
    assert list(stored) == list(range(1, len(stored) + 1))


# --- where it listens, and what keeps it from starting -----------------------------------------------


@pytest.mark.parametrize(
    ("bind", "reached", "is_open"),
    [
        ("127.0.0.1:0", "127.0.0.1:{}", False),
        ("localhost:0", "localhost:{}", False),
        ("tcp://127.0.0.9:0", "tcp://127.0.0.9:{}", False),
        ("tcp://[::1]:0", "tcp://[::1]:{}", False),
        ("tcp://lo:0", "tcp://127.0.0.1:{}", False),
        ("tcp://*:0", "tcp://[::1]:{}", True),
        ("tcp://*:0", "tcp://127.0.0.1:{}", True),
        ("tcp://[::]:0", "tcp://[::1]:{}", True),
        ("tcp://0.0.0.0:0", "localhost:{}", True),
    ],
)
def test_clients_reach_it_where_it_listens(start_broker: StartBroker, bind: str, reached: str, is_open: bool) -> None:
    broker = start_broker("--memory", "--insecure", bind=bind)
    assert ("open to the network" in broker.stderr()) == is_open
    port = broker.address.rpartition(":")[2]
    with zchat.connect(reached.format(port), "anna") as client:
        listener = client.listen("den")
        client.send("den", "hello")
        assert listener.get(10).text == "hello"


def test_an_ipc_path_is_one_brokers_while_it_lives(start_broker: StartBroker, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path / 'z'}"
    broker = start_broker("--memory", bind=address)
    second = run_zchat("broker", "--memory", "--bind", address)
    assert (second.stdout, second.status, second.stderr.count("\n")) == ("", 1, 1)
    with zchat.connect(address, "anna") as client:
        assert client.send("den", "the first broker is well") > 0
    broker.kill()  # the path is left behind …
    broker.start()  # … and in nobody's way
    with zchat.connect(address, "anna") as client:
        listener = client.listen("den")
        client.send("den", "hello")
        assert listener.get(10).text == "hello"


def test_a_file_at_an_ipc_path_is_not_removed(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("mine")
    shown = run_zchat("broker", "--memory", "--bind", f"ipc://{file}")
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 1, 1)
    assert file.read_text() == "mine"


def test_the_port_after_is_in_use() -> None:
    address = steady_address()
    port = int(address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port + 1)):
        shown = run_zchat("broker", "--memory", "--bind", address)
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 1, 1)
    assert f":{port + 1} is in use" in shown.stderr


@pytest.mark.parametrize("content", [b"no database, just text\n" * 1000, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_file_that_is_no_log_is_one_line_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "log.db"
    file.write_bytes(content)
    shown = run_zchat("broker", "--bind", "tcp://127.0.0.1:0", "--data", str(tmp_path))
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 1, 1), shown.stderr
    assert str(tmp_path) in shown.stderr
    assert file.read_bytes() == content


def test_a_log_of_which_half_is_missing_is_one_line(start_broker: StartBroker) -> None:
    broker = start_broker()
    with zchat.connect(broker.address, "anna") as client:
        for number in range(50):
            client.publish("den", f"{number:4000}")
    broker.stop()
    file = broker.folder / "data" / "log.db"
    os.truncate(file, file.stat().st_size // 2)
    shown = run_zchat("broker", "--bind", "tcp://127.0.0.1:0", "--data", str(broker.folder / "data"))
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 1, 1), shown.stderr
    assert str(broker.folder / "data") in shown.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/sys").is_dir(), reason="a folder that root cannot write is needed")
def test_a_folder_that_cannot_be_written_is_one_line() -> None:
    shown = run_zchat("broker", "--bind", "tcp://127.0.0.1:0", "--data", "/sys/zchat")
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 1, 1)
    assert "/sys/zchat" in shown.stderr


# --- the clock ----------------------------------------------------------------------------------

CLOCK_OF_ITS_OWN = """
import time
real = time.time_ns
time.time_ns = lambda: real() + int(open({offset!r}).read() or 0) * 10**9
from zchat.__main__ import main
main()
"""
YEAR = 365 * 86_400


def test_a_clock_that_is_set_is_told_and_removes_nothing_that_is_young(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    run = (sys.executable, "-c", CLOCK_OF_ITS_OWN.format(offset=str(offset)))
    broker = start_broker("--retain", "den=1d", "--retain", "few=1", run=run)
    with zchat.connect(broker.address, "anna") as anna:
        for text in ("one", "two"):
            anna.send("den", text)
        offset.write_text(str(YEAR))
        eventually(lambda: "the clock went forward by 31,53" in broker.stderr(), "it is told")
        for text in ("one", "two", "three"):
            anna.send("few", text)
        eventually(lambda: len(list(anna.history("few"))) == 1, "it has trimmed since", within=20)
        anna.send("den", "three")
        assert [message.text for message in anna.history("den")] == ["one", "two", "three"]
        offset.write_text("0")
        eventually(lambda: "the clock was set back by 31,53" in broker.stderr(), "it is told")
    assert "ahead of it, and new ones get its time until then" in broker.stderr()
    broker.restart()
    assert "the clock is behind: the log's last record is" in broker.stderr()


# --- what a stranger can make it keep ------------------------------------------------------------------


def begin_sessions(stranger: Speaker, number: int) -> None:
    """Begin so many sessions on its connection, each of which publishes something that is refused."""
    for session in range(number):
        stranger.say(wire.Hello(wire.VERSION, f"user-{session}"), publish(1, "a..b", b""))
    for _ in range(number):
        assert stranger.hear(wire.Error).code == "bad-room"


def test_a_flood_of_sessions_that_are_refused_leaves_nothing_behind(start_broker: StartBroker, speak: Speak) -> None:
    broker = start_broker("--grace", "0.2")
    with zchat.connect(broker.address, "ben") as client:
        for round_ in range(20):
            stranger = speak(broker.address)
            begin_sessions(stranger, 64)  # as many as a connection may
            if not round_:
                resident = broker.resident_bytes
            stranger.close()
        eventually(lambda: [one.user for one in client.who()] == ["ben"], "only who is here is told of")
        assert broker.resident_bytes - resident < 8 << 20
    broker.stop()
    with closing(sqlite3.connect(broker.folder / "data" / "log.db")) as log:
        assert log.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
        assert log.execute("SELECT count(*) FROM seen").fetchone() == (0,)


def test_a_connection_that_begins_sessions_without_end_is_told_and_cut_off(broker: BrokerProcess, speak: Speak) -> None:
    stranger = speak(broker.address)
    begin_sessions(stranger, 64)
    stranger.dealer.setsockopt(zmq.RECONNECT_IVL, -1)
    with stranger.dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED) as monitor:
        stranger.say(*[wire.Hello(wire.VERSION, f"more-{number}") for number in range(9)])
        told, _ = stranger.hear_all(wire.Error)
        assert (told.about, told.code) == ("connection", "busy")
        assert monitor.poll(10_000), "the connection is ended"
        stranger.dealer.disable_monitor()
    assert speak(broker.address).hello("honest").session
