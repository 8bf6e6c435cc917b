"""A broker with keys over real sockets: who gets in, as whom, why not, and that who is revoked gets nothing more."""

from __future__ import annotations

import ctypes
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from tests.conftest import BrokerProcess, eventually
from tests.keyed import KeyedBroker, start_keyed
from zchat import wire
from zchat.address import parse
from zchat.client import Client
from zchat.errors import KeyRefused, Refused, Unreachable, ZchatError
from zchat.keys import Credentials, Grant, KeyPair
from zchat.sockets import curve, options
from zchat.sockets.client import Connection
from zchat.sockets.curve import new_pair
from zchat.sockets.enrolling import enrol

StartBroker = Callable[..., BrokerProcess]
SECONDS = 20.0


@pytest.fixture
def keyed(start_broker: StartBroker, tmp_path: Path) -> KeyedBroker:
    return start_keyed(start_broker, tmp_path)


def connected(keyed: KeyedBroker, user: str, credentials: Credentials | None) -> Client:
    connection = Connection(parse(keyed.address), user, {}, None, None, credentials)
    connection.start(SECONDS)
    return Client(connection)


def refusal(keyed: KeyedBroker, user: str, credentials: Credentials | None) -> Refused:
    """It ends at once, and not when the time is over."""
    began = time.monotonic()
    with pytest.raises(Refused) as error:
        connected(keyed, user, credentials).close(0)
    assert time.monotonic() - began < SECONDS / 2
    return error.value


def test_who_has_a_key_gets_in_by_its_name_and_nobody_else(keyed: KeyedBroker) -> None:
    alice = keyed.let_in("alice")
    with connected(keyed, "alice", alice) as client, client.listen("den") as messages:
        client.send("den", "hello")
        assert messages.get(SECONDS).text == "hello"
    assert refusal(keyed, "bob", alice).code == "wrong-user"
    stranger = Credentials(new_pair(), [keyed.server])
    error = refusal(keyed, "alice", stranger)
    assert isinstance(error, KeyRefused) and error.code == "unknown-key" and stranger.pair.public in str(error)
    assert refusal(keyed, "alice", None).code == "no-key"
    other = refusal(keyed, "alice", Credentials(alice.pair, [new_pair().public]))
    assert other.code == "wrong-server-key" and keyed.address in str(other)


def test_a_key_is_refused_where_there_are_none(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = start_broker("--memory")
    with pytest.raises(KeyRefused) as error:
        Connection(parse(broker.address), "a", {}, None, None, Credentials(new_pair(), [new_pair().public])).start(
            SECONDS
        )
    assert error.value.code == "broker-without-keys"


def test_a_gateways_key_speaks_for_its_users(keyed: KeyedBroker) -> None:
    with connected(keyed, "web", keyed.let_in("web", "web.*")) as gateway:
        with gateway.session("web.ann") as ann:
            ann.send("den", "hello")
        with pytest.raises(Refused) as error:
            gateway.session("alice")
        assert error.value.code == "wrong-user"
        gateway.send("den", "it lives on")


def test_who_is_revoked_ends_within_a_second_and_is_told_why(keyed: KeyedBroker) -> None:
    alice, bob = keyed.let_in("alice"), keyed.let_in("bob")
    with connected(keyed, "bob", bob) as witness, witness.listen("den", presence=True) as seen:
        client = connected(keyed, "alice", alice)
        messages = client.listen("den")
        subscriber = raw_subscriber(keyed, alice)
        with keyed.keys.locked():
            keyed.keys.set_user(alice.pair.public, Grant("alice", is_revoked=True))
        began = time.monotonic()
        with pytest.raises(Refused) as error:
            messages.get(SECONDS)
        assert error.value.code == "revoked-key"
        left = next(message for message in seen if message.event == "leave")
        assert (left.user, left.text) == ("alice", "revoked")
        assert time.monotonic() - began < SECONDS / 2
        eventually(lambda: has_ended(subscriber), "its subscriber is cut off, too")
        client.close(0)
        assert refusal(keyed, "alice", alice).code == "revoked-key"
        witness.send("den", "who was not revoked goes on")
        subscriber.close()


def test_a_revoked_user_is_out_at_gateways_too_and_what_waits_of_his_is_not_sent(keyed: KeyedBroker) -> None:
    alice, web, bob = keyed.let_in("web.alice"), keyed.let_in("web", "web.*"), keyed.let_in("bob")
    with (
        connected(keyed, "bob", bob) as witness,
        witness.listen("den", presence=True) as seen,
        connected(keyed, "web", web) as gateway,
    ):
        hers, his = gateway.session("web.alice"), gateway.session("web.ann")
        hers.join("den")
        with connected(keyed, "web.alice", alice) as client:
            client.schedule("den", "hers, later", delay=2)
            his.schedule("den", "his, later", delay=2.5)
            with keyed.keys.locked():
                keyed.keys.set_user(alice.pair.public, Grant("web.alice", is_revoked=True))
            eventually(lambda: has_been_revoked(hers), "her session by the gateway ends")
            client.close(0)
        with pytest.raises(Refused) as error:
            gateway.session("web.alice")
        assert error.value.code == "revoked-key"
        came = []
        while "his, later" not in came:
            message = seen.get(SECONDS)
            came.append(message.text)
        assert "revoked" in came and "hers, later" not in came
        told = keyed.broker.stderr()
        assert "event=not-sent user=web.alice room=den code=revoked-key" in told
        assert "event=joined user=web.alice room=den" in told and "event=left user=web.alice room=den" in told


def has_been_revoked(session: Client) -> bool:
    """It may do nothing more, and says that this is why."""
    try:
        session.who()
    except ZchatError as error:
        assert "revoked-key" in str(error)
        return True
    return False


def raw_subscriber(keyed: KeyedBroker, credentials: Credentials) -> zmq.Socket[bytes]:
    """A SUB that has subscribed to all rooms, and got its SYNC."""
    sub: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    sub.linger, sub.reconnect_ivl = 0, -1
    curve.prove(sub, credentials.pair, keyed.server)
    sub.connect(keyed.broker.publish_address)
    sub.subscribe(b"#")
    sub.subscribe(b"\xffa nonce of ours!")
    assert sub.poll(int(SECONDS * 1000)), "it is live"
    assert isinstance(wire.decode_broadcast(sub.recv_multipart()[1]), wire.Sync)
    return sub


def has_ended(sub: zmq.Socket[bytes]) -> bool:
    """Subscribed anew, it gets no SYNC: the connection is gone, and it makes no other."""
    sub.unsubscribe(b"\xffa nonce of ours!")
    sub.subscribe(b"\xffa nonce of ours!")
    return not sub.poll(200)


def test_a_key_that_comes_again_may_listen_where_it_was(keyed: KeyedBroker) -> None:
    alice = keyed.let_in("alice")
    with keyed.keys.locked():
        keyed.keys.set_user(alice.pair.public, None)
    eventually(lambda: "keys-changed" in keyed.told_of_late(), "it is gone")
    assert refusal(keyed, "alice", alice).code == "unknown-key"
    with keyed.keys.locked():
        keyed.keys.set_user(alice.pair.public, Grant("alice"))
    eventually(lambda: "keys-changed" in keyed.told_of_late(), "it is back")
    connected(keyed, "alice", alice).close()


def test_a_broken_file_keeps_everybody_as_they_were_and_is_told(keyed: KeyedBroker) -> None:
    alice = keyed.let_in("alice")
    file = keyed.keys.folder / "authorized_keys"
    text = file.read_text()
    with connected(keyed, "alice", alice) as client:
        file.write_text(text + "nonsense\n")
        told = eventually(lambda: "the keys stay as they were" in keyed.broker.stderr(), "it is told")
        assert told and f"{file}, line 3: " in keyed.broker.stderr()
        client.send("den", "still there")
    connected(keyed, "alice", alice).close()


@pytest.fixture
def over_ipc(start_broker: StartBroker, tmp_path: Path) -> KeyedBroker:
    return start_keyed(start_broker, tmp_path, bind=f"ipc://{tmp_path}/z")


def test_keys_hold_over_ipc_too(over_ipc: KeyedBroker) -> None:
    with connected(over_ipc, "alice", over_ipc.let_in("alice")) as client, client.listen("den") as messages:
        client.send("den", "hello")
        assert messages.get(SECONDS).text == "hello"
    assert refusal(over_ipc, "alice", None).code == "no-key"


def test_many_small_messages_with_a_key_are_not_taken_for_a_flood(keyed: KeyedBroker) -> None:
    with connected(keyed, "alice", keyed.let_in("alice")) as client, client.listen("den") as messages:
        for number in range(30_000):
            client.publish("den", str(number))
        client.flush()
        assert [int(messages.get(SECONDS).text) for _ in range(30_000)] == list(range(30_000))
    assert "is cut off" not in keyed.broker.stderr()


# --- new keys -----------------------------------------------------------------------------------


def invited(keyed: KeyedBroker, user: str, seconds: float = 3600.0) -> Credentials:
    pair = new_pair()
    with keyed.keys.locked():
        keyed.keys.set_invite(pair.public, Grant(user, expires=int(time.time() + seconds)))
    eventually(lambda: "keys-changed" in keyed.told_of_late(), "the broker has seen it")
    return Credentials(pair, [keyed.server])


def test_an_invite_brings_one_key_and_opens_nothing_else(keyed: KeyedBroker) -> None:
    invite, pair = invited(keyed, "carol"), new_pair()
    assert refusal(keyed, "carol", invite).code == "unknown-key"
    enrol(parse(keyed.address), invite, pair.public, 0, SECONDS)
    with connected(keyed, "carol", Credentials(pair, [keyed.server])) as carol:
        carol.send("den", "hello")
    with pytest.raises(KeyRefused) as error:
        enrol(parse(keyed.address), invite, new_pair().public, 0, SECONDS)
    assert error.value.code == "unknown-key", "it is used up"
    assert list(keyed.keys.read().invites) == []


def test_an_invite_that_many_use_at_once_lets_in_one_of_them(keyed: KeyedBroker) -> None:
    invite, pairs = invited(keyed, "carol"), [new_pair() for _ in range(8)]
    outcomes: list[str] = []
    start = threading.Barrier(len(pairs))

    def use(pair: KeyPair) -> None:
        start.wait(SECONDS)
        try:
            enrol(parse(keyed.address), Credentials(invite.pair, [keyed.server]), pair.public, 0, SECONDS)
        except ZchatError as error:
            outcomes.append(getattr(error, "code", str(error)))
        else:
            outcomes.append(pair.public)

    threads = [threading.Thread(target=use, args=(pair,)) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (outcome for outcome in outcomes if len(outcome) == 64)
    assert set(outcomes) - {winner} <= {"busy", "unknown-key"} and len(outcomes) == len(pairs)
    left = keyed.keys.read()
    assert left.invites == {} and [key for key, grant in left.users.items() if grant.user == "carol"] == [winner]


def test_an_invite_whose_time_is_over_opens_nothing(keyed: KeyedBroker) -> None:
    with pytest.raises(KeyRefused) as error:
        enrol(parse(keyed.address), invited(keyed, "carol", -1.0), new_pair().public, 0, SECONDS)
    assert error.value.code == "unknown-key"


def test_a_user_brings_another_key_and_nobody_notices(keyed: KeyedBroker) -> None:
    old, pair = keyed.let_in("alice"), new_pair()
    with connected(keyed, "alice", old) as client, client.listen("den") as messages:
        enrol(parse(keyed.address), old, pair.public, 2, SECONDS)
        with connected(keyed, "alice", Credentials(pair, [keyed.server])) as again:
            again.send("den", "with the new one")
        assert messages.get(SECONDS).text == "with the new one"
        with pytest.raises(Refused) as error:
            messages.get(SECONDS)
        assert error.value.code == "revoked-key", "its time is over"


def test_an_end_of_a_key_that_no_date_tells_is_refused_and_revoking_still_counts(keyed: KeyedBroker) -> None:
    alice = keyed.let_in("alice")
    with pytest.raises(Refused) as error:
        enrol(parse(keyed.address), alice, new_pair().public, (1 << 53) - 1, SECONDS)
    assert error.value.code == "bad-request"
    with keyed.keys.locked():
        keyed.keys.set_user(alice.pair.public, Grant("alice", is_revoked=True))
    eventually(lambda: "keys-changed" in keyed.told_of_late(), "the broker has seen it")
    assert refusal(keyed, "alice", alice).code == "revoked-key"


def test_where_nobody_is_an_enrolment_ends_in_time() -> None:
    with pytest.raises(Unreachable):
        enrol(parse("127.0.0.1:1"), Credentials(new_pair(), [new_pair().public]), new_pair().public, 0, 0.3)


def test_a_subscription_of_a_room_with_a_long_name_is_granted(keyed: KeyedBroker) -> None:
    room = "r" * 128
    with connected(keyed, "alice", keyed.let_in("alice")) as client, client.listen(room) as messages:
        client.send(room, "hello")
        assert messages.get(SECONDS).text == "hello"
    assert options.SUBSCRIPTION_BYTES_MAX + curve.FRAME_BYTES < curve.HANDSHAKE_BYTES_MAX


# --- what ends an open libzmq -------------------------------------------------------------------


def as_null(keyed: KeyedBroker, name: bytes | None = None) -> bytes:
    """Greet as ZMTP without keys, under that routing id, and say messages and a PING. What came of it, to its end."""
    address = parse(keyed.address)
    ready = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER"
    if name is not None:
        ready += b"\x08Identity" + len(name).to_bytes(4, "big") + name
    greeting = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" * 32
    message = b"\x00\x01x"
    came = b""
    with socket.create_connection((address.host, address.port), SECONDS) as peer:
        try:
            peer.sendall(greeting + b"\x04" + bytes([len(ready)]) + ready)
            peer.sendall(message * 1500 + b"\x04\x07\x04PING\0\0" + message * 2000)
            while more := peer.recv(4096):
                came += more
        except OSError:
            pass  # reset: it was ended
    return came


def test_what_ends_an_open_libzmq_is_refused_before_it_can(keyed: KeyedBroker) -> None:
    """A full queue whose peer goes (stream_engine_base.cpp:310), and a squatted routing id (socket_base.cpp:2113)."""
    alice = keyed.let_in("alice")
    libc = ctypes.CDLL(None)
    libc.srand(1)
    numbers = [libc.rand() for _ in range(16)]
    names = [
        b"\0" + ((low | high << 31) + ahead & 0xFFFFFFFF).to_bytes(4, "big")
        for low, high in zip(numbers[::2], numbers[1::2], strict=True)
        for ahead in range(4)
    ]
    for name in (None, *names):
        assert len(as_null(keyed, name)) <= 64, "no more than a greeting"
    with connected(keyed, "alice", alice) as client:
        client.send("den", "it lives")
        assert [member.user for member in client.who()] == ["alice"]
    assert keyed.broker.process is not None and keyed.broker.process.poll() is None


@pytest.mark.parametrize("who", ["without a key", "with a key of its own", "with an invite", "revoked"])
def test_a_stranger_hears_no_byte_of_any_room(keyed: KeyedBroker, who: str) -> None:
    alice = keyed.let_in("alice")
    key = {"with an invite": lambda: invited(keyed, "eve"), "revoked": lambda: keyed.let_in("eve")}.get(
        who, lambda: Credentials(new_pair(), [keyed.server])
    )()
    if who == "revoked":
        with keyed.keys.locked():
            keyed.keys.set_user(key.pair.public, Grant("eve", is_revoked=True))
        eventually(lambda: "keys-changed" in keyed.told_of_late(), "the broker has seen it")
    sub: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
    sub.linger = 0
    if who != "without a key":
        curve.prove(sub, key.pair, keyed.server)
    monitor = options.open_monitor(zmq.Context.instance(), sub, curve.HANDSHAKE_FAILED | options.CLIENT_MONITORED)
    for topic in (b"", b"#", b"#den\0", b"@alice\0", b"\xff", b"\xffnonce", b"\0", b"+"):
        sub.subscribe(topic)
    sub.connect(keyed.broker.publish_address)
    ends = curve.HANDSHAKE_FAILED | zmq.EVENT_DISCONNECTED

    def is_refused() -> bool:
        event = options.read_event(monitor)
        assert event is None or event[0] != zmq.EVENT_HANDSHAKE_SUCCEEDED
        return event is not None and bool(event[0] & ends)

    eventually(is_refused, "it is refused")
    with connected(keyed, "alice", alice) as client, client.listen("den") as messages:
        client.send("den", "between us")
        client.send("@alice", "to myself")
        assert messages.get(SECONDS).text == "between us"
    assert not sub.poll(200), "nothing came"
    options.close_monitor(sub, monitor)
    sub.close()
