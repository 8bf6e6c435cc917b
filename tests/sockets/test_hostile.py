"""Bytes that no client of ours sends, on both ports: the broker lives, its memory is bounded, others are served.

That the decoders raise nothing but WireError is shown in tests/test_wire.py; here real sockets carry the bytes.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import zmq

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.sockets.raw import Speaker, publish
from tests.unreadable import READABLE, UNREADABLE
from zchat import wire
from zchat.core.introductions import introduction
from zchat.names import topic
from zchat.settings import Settings

pytestmark = pytest.mark.slow  # the broker is a process

MIB = 1 << 20
GROWTH_BYTES_MAX = 64 * MIB  # that a test may cost the broker
HANDSHAKE_SECONDS = 5.0

Context = zmq.Context[zmq.Socket[bytes]]
SpeakTo = Callable[[str], Speaker]

SAMPLES: list[wire.ClientMessage] = [
    wire.Hello(wire.VERSION, "mallory", "session", b"token", {"pid": "1"}),
    publish(1, "den", b"body"),
    wire.Join(1, ["den"]),
    wire.Part(2, ["den"]),
    wire.Fetch(3, ["den"], 0, 9),
    wire.Seek(4, ["den"], 1, 0),
    wire.Heads(5, ["den"]),
    wire.Who(6, "den"),
    wire.Rooms(7),
    wire.Cursors(8),
    wire.SetCursor(9, "mine", "log", 5),
    wire.DropCursor(10, "mine"),
    wire.From(3, wire.raw(wire.encode(wire.Join(11, ["den"])))),
]
WRONG: list[Any] = [
    None,
    True,
    -1,
    1 << 53,
    1 << 63,
    1.5,
    "x",
    b"\xff",
    [],
    [[]],
    {},
    {"a": {}},
    ["a"] * 3,
    "\0" * 9,
    "a" * 9000,
]
BOMBS = [
    b"",
    b"\0",
    b"\xc1",
    b"\x91" * 100_000,  # arrays in arrays
    b"\x81" * 100_000,
    b"\x92\x02" + b"\x91" * 100_000,
    b"\xdd\xff\xff\xff\xff",  # an array of 4 billion, a map, a string, bytes, an extension
    b"\xdf\xff\xff\xff\xff",
    b"\x93\x01\x01\xdb\xff\xff\xff\xff",
    b"\x95\x02\x01\xa3den\x00\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xffx",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\x9f" + b"\x01" * 15,
    b"\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    msgspec.msgpack.encode([2, 1, "den", 0, [b""] * 100_000]),
    msgspec.msgpack.encode([5, 1, ["den"] * 100_000, 0, 0]),
    msgspec.msgpack.encode([3, 1, [f"r{number}" for number in range(100_000)]]),
    msgspec.msgpack.encode([1, 1, "u" * 1_000_000, "s" * 1_000_000, b"t" * 1_000_000]),
]


@pytest.fixture(autouse=True)
def unharmed(shared_broker: BrokerProcess) -> Iterator[None]:
    """Before and after each test an honest client is served; the broker has not grown much."""
    before = shared_broker.resident_bytes
    process = shared_broker.process
    with zchat.connect(shared_broker.address, "regular") as regular, regular.listen("regular") as stayed:
        yield
        assert process is not None and process.poll() is None, "the broker is dead"
        with zchat.connect(shared_broker.address, "fresh", wait=10) as fresh, fresh.listen("regular") as came:
            offset = fresh.send("regular", "hello", timeout=10)
            assert came.get(10).offset == stayed.get(10).offset == offset
    assert shared_broker.resident_bytes - before < GROWTH_BYTES_MAX
    _ready, *told = shared_broker.stderr().splitlines()
    assert all("is cut off: it " in line or "limits were met: " in line for line in told), "it says nothing else"


# --- the ROUTER --------------------------------------------------------------------------------------


def still_talks(speaker: Speaker) -> None:
    """It is answered, when it reads its answers: those above the high-water mark were dropped."""

    def is_welcome() -> bool:
        speaker.say(wire.Hello(wire.VERSION, "mallory"))
        while speaker.dealer.poll(500):
            if isinstance(wire.decode_broker(speaker.dealer.recv()), wire.Welcome):
                return True
        return False

    eventually(is_welcome, "it is let in")


@pytest.fixture(params=["stranger", "session"])
def mallory(request: pytest.FixtureRequest, shared_broker: BrokerProcess, speak: Callable[[str], Speaker]) -> Speaker:
    """One who has not said hello, and one who has."""
    speaker = speak(shared_broker.address)
    if request.param == "session":
        speaker.hello("mallory")
    return speaker


@pytest.mark.parametrize("seed", range(3))
def test_frames_of_random_bytes(mallory: Speaker, seed: int) -> None:
    source = random.Random(seed)
    for _ in range(1000):  # 50 KiB: a stranger who is 64 KiB ahead of a busy broker is cut off
        mallory.say(source.randbytes(source.choice([1, 2, 3, 8, 30, 200])))
    for kind in range(256):
        mallory.say(bytes([0x90 + source.randrange(16), kind]) + source.randbytes(20))
    still_talks(mallory)


def test_random_bytes_on_random_channels(mallory: Speaker) -> None:
    source = random.Random(2)
    for number in range(3000):
        channel = source.choice([1, 2, 3, source.randrange(1, 1 << 32)])
        inner = source.randbytes(source.choice([0, 1, 3, 8, 30])) if number % 3 else wire.encode(source.choice(SAMPLES))
        mallory.say(wire.from_channel(channel) + inner)
    still_talks(mallory)


def test_messages_that_end_too_soon(mallory: Speaker) -> None:
    for message in SAMPLES:
        frame = wire.encode(message)
        mallory.say(*(frame[:end] for end in range(len(frame))))
    still_talks(mallory)


def test_fields_of_wrong_types_and_sizes(mallory: Speaker) -> None:
    for message in SAMPLES:
        fields = msgspec.msgpack.decode(wire.encode(message))
        for place in range(len(fields)):
            for wrong in WRONG:
                mallory.say(msgspec.msgpack.encode([*fields[:place], wrong, *fields[place + 1 :]]))
        mallory.say(msgspec.msgpack.encode([*fields, *WRONG]))
    still_talks(mallory)


def test_huge_counts_deep_nesting_and_frames_full_of_names(mallory: Speaker) -> None:
    mallory.say(*BOMBS)
    still_talks(mallory)


def test_records_that_some_reader_cannot_read_are_not_stored(shared_broker: BrokerProcess, speak: SpeakTo) -> None:
    mallory = speak(shared_broker.address)
    mallory.hello("mallory")
    every = [*READABLE.values(), *UNREADABLE.values()]
    for flags in (0, wire.VOLATILE):
        for number, records in enumerate(every, 1 + len(every) * bool(flags)):
            mallory.say(b"\x95\x02" + msgspec.msgpack.encode(number) + b"\xa8readable" + bytes([flags]) + records)
    fetch = wire.Fetch(1, ["readable"], 0, 0)
    mallory.say(fetch)
    page = mallory.hear(wire.Page)
    said = [msgspec.msgpack.decode(batch) for _, batch in page.batches]  # without types: each byte of it
    assert sum(len(entry[3]) for batch in said for entry in batch[4]) == len(READABLE)
    with zchat.connect(shared_broker.address, "reader") as reader:
        assert len(list(reader.history("readable"))) == len(READABLE)


def test_a_frame_above_the_limit_ends_the_connection_and_one_below_gets_an_error(mallory: Speaker) -> None:
    body = bytes(wire.PUBLISH_BYTES_MAX)
    mallory.say(wire.Hello(wire.VERSION, "mallory"), publish(9, "den", body))
    error = mallory.hear(wire.Error)
    assert (error.about, error.number, error.code) == ("publish", 9, "too-large")
    events = mallory.dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    mallory.say(bytes(8 * MIB))
    assert events.poll(5000), "it is cut off"
    mallory.dealer.disable_monitor()


def test_messages_of_several_frames_are_no_messages(mallory: Speaker, shared_broker: BrokerProcess) -> None:
    frame = wire.encode(publish(1, "multi", b"never"))
    for parts in ([frame, frame], [b"", frame], [frame, b""], [frame] * 50, [b""] * 1000, [bytes(MIB)] * 3):
        mallory.dealer.send_multipart(parts)
    still_talks(mallory)
    with zchat.connect(shared_broker.address, "reader") as reader:
        assert list(reader.history("multi")) == []


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.REP, zmq.PAIR, zmq.SUB, zmq.XSUB, zmq.PUB, zmq.PUSH, zmq.ROUTER])
def test_sockets_of_any_type_on_either_port(context: Context, shared_broker: BrokerProcess, kind: int) -> None:
    for address in (shared_broker.address, shared_broker.publish_address):
        stranger = context.socket(kind)
        if kind == zmq.SUB:
            stranger.subscribe(b"")
        stranger.connect(address)
        for parts in ([b""], [b"\1"], [b"\xff" * 100], [b"\1den\0", b"more"]):
            try:
                stranger.send_multipart(parts, zmq.DONTWAIT)
            except zmq.ZMQError:
                pass  # a type that does not send, or that waits for a handshake
        if kind == zmq.ROUTER:  # it may talk to a ROUTER, but only when it knows the routing id
            stranger.poll(50)
        stranger.poll(20)


# --- the XPUB ----------------------------------------------------------------------------------------


def test_what_is_no_subscription_ends_the_connection(context: Context, shared_broker: BrokerProcess) -> None:
    source = random.Random(2)
    frames = [b"", b"\2", b"\xff" * 10, wire.encode(SAMPLES[0]), *(source.randbytes(40) for _ in range(20))]
    for frame in frames:
        if frame[:1] in (b"\0", b"\1"):
            continue
        attacker = context.socket(zmq.XSUB)
        attacker.reconnect_ivl = -1
        events = attacker.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        attacker.connect(shared_broker.publish_address)
        attacker.send(frame)
        assert events.poll(5000), f"cut off for {frame!r}"
        attacker.disable_monitor()


def test_subscriptions_to_anything_are_harmless(context: Context, shared_broker: BrokerProcess) -> None:
    source = random.Random(3)
    attacker = context.socket(zmq.XSUB)
    attacker.sndhwm = 0
    attacker.connect(shared_broker.publish_address)
    for _ in range(1000):
        attacker.send(bytes([source.randrange(2)]) + source.randbytes(source.randrange(100)))
    for nonce in (b"", b"\xff" * 400, b"n"):
        attacker.send(b"\1" + wire.PRIVATE_TOPIC + nonce)
    attacker.send_multipart([b"\1a", b"\1b", b"\1c"])
    # Above the limit of a subscription: cut off. libzmq ends the attacker itself, by its stack, when it is far above.
    attacker.send(b"\1" + bytes(10_000))


def attack(attackers: list[zmq.Socket[bytes]]) -> None:
    for _ in range(200):
        for attacker in attackers:
            attacker.send(b"\2")
            attacker.send(b"\1harmless\0")


def too_many_topics(context: Context, broker: BrokerProcess, introduced: bytes) -> None:
    """A subscriber that introduces itself so is cut off."""
    with context.socket(zmq.SUB) as sub:
        sub.linger, sub.sndhwm, sub.reconnect_ivl = 0, 0, -1
        events = sub.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        sub.connect(broker.publish_address)
        sub.subscribe(introduced)
        for number in range(Settings().connection_subscriptions_max + 100):
            sub.subscribe(topic(f"many.{number}"))
        eventually(lambda: events.poll(0), "it is cut off")
        sub.disable_monitor()


def test_who_subscribes_to_too_much_is_told_why_and_nobody_else_is(
    context: Context, shared_broker: BrokerProcess
) -> None:
    alice, bob = Speaker(context, shared_broker.address), Speaker(context, shared_broker.address)
    welcome, other = alice.hello("alice"), bob.hello("bob")
    for forged in (introduction(welcome.session, other.token), introduction("nobody", welcome.token), b"\0", b"\0\xff"):
        too_many_topics(context, shared_broker, forged)
    alice.say(wire.Rooms(1))
    _, before = alice.hear_all(wire.RoomsAre)
    assert before == []
    too_many_topics(context, shared_broker, introduction(welcome.session, welcome.token))
    error = alice.hear(wire.Error)
    assert (error.about, error.number, error.code) == ("subscriptions", 0, "over-limit")
    assert error.text == "the subscriber subscribes to more than 4,096 topics"
    alice.say(wire.Rooms(2))
    _, before = alice.hear_all(wire.RoomsAre)
    assert before == [], "it is told once"
    for speaker in (alice, bob):
        speaker.close()


def test_nobody_gets_a_foreign_topic_by_sending_what_is_no_subscription(
    context: Context, shared_broker: BrokerProcess
) -> None:
    """A frame that is no subscription puts libzmq's two queues out of step: grants went to another peer."""
    attackers = [context.socket(zmq.XSUB) for _ in range(3)]
    for attacker in attackers:
        attacker.reconnect_ivl = 10
        attacker.sndhwm = 0
        attacker.connect(shared_broker.publish_address)
    with zchat.connect(shared_broker.address, "sender") as sender:
        for number in range(20):
            attack(attackers)
            victim = context.socket(zmq.SUB)
            victim.reconnect_ivl = 10
            nonce = wire.PRIVATE_TOPIC + b"victim-%d" % number
            for name in (topic(f"secret.{number}"), nonce):
                victim.subscribe(name)
            victim.connect(shared_broker.publish_address)
            attack(attackers)
            assert victim.poll(10_000), "the victim is served"
            assert victim.recv_multipart()[0] == nonce
            sender.send(f"secret.{number}", "for the victim")
            assert victim.poll(10_000), "the victim is served"
            assert victim.recv_multipart()[0] == topic(f"secret.{number}")
    for attacker in attackers:
        while attacker.poll(20):
            assert attacker.recv_multipart()[0] == b"harmless\0"


# --- bytes on TCP ------------------------------------------------------------------------------------

GREETING = b"\xff" + bytes(8) + b"\x7f\3\0" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\5READY" + b"\x0bSocket-Type" + struct.pack("!I", 6) + b"DEALER"
HANDSHAKE = GREETING + bytes([4, len(READY)]) + READY


def ports(broker: BrokerProcess) -> list[int]:
    return [int(address.rpartition(":")[2]) for address in (broker.address, broker.publish_address)]


def dial(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT of ours
    return connection


def test_a_handshake_cut_at_each_byte(shared_broker: BrokerProcess) -> None:
    hello = wire.encode(SAMPLES[0])
    said = HANDSHAKE + bytes([0, len(hello)]) + hello
    for port in ports(shared_broker):
        for end in range(len(said) + 1):
            with dial(port) as connection:
                connection.sendall(said[:end])


def test_who_never_speaks_zmtp_is_cut_off(shared_broker: BrokerProcess) -> None:
    silent = [dial(port) for port in ports(shared_broker)]
    halfway = [dial(port) for port in ports(shared_broker)]
    for connection in halfway:
        connection.sendall(GREETING[:20])
    began = time.monotonic()
    for connection in silent + halfway:
        connection.settimeout(HANDSHAKE_SECONDS + 5)
        while connection.recv(1000):  # the greeting of libzmq, then the end
            pass
        connection.close()
    assert HANDSHAKE_SECONDS - 1 < time.monotonic() - began < HANDSHAKE_SECONDS + 2


def zmtp1(*frames: bytes) -> bytes:
    """Frames as ZMTP 1.0 has them: a length, flags, the body. The first is the sender's identity."""
    return b"".join(bytes([len(frame) + 1, 0]) + frame for frame in frames)


def test_bytes_that_libzmq_takes_for_zmtp_1(shared_broker: BrokerProcess) -> None:
    source = random.Random(4)
    hello, spoken = wire.encode(SAMPLES[0]), wire.encode(publish(1, "old", b"x"))
    texts = [
        b"GET / HTTP/1.1\r\nHost: zchat\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + source.randbytes(100),  # TLS
        zmtp1(b""),
        zmtp1(b"", b"\1den\0", b"\1", b"\1\xff"),  # subscriptions
        zmtp1(b"", b"\2", b"", b"\xff" * 30),  # and what is none
        zmtp1(b"", hello, spoken),
        zmtp1(b"chosen-id", hello, spoken),
        zmtp1(b"", spoken, b"", source.randbytes(200)),
        b"\xff" + struct.pack("!Q", 1 << 62) + b"\0" + bytes(1000),  # a frame of 4 EiB
        b"\xff" * 3000,
        bytes(3000),
        *(source.randbytes(source.randrange(1, 300)) for _ in range(200)),
    ]
    held = []
    for port in ports(shared_broker):
        for text in texts:
            connection = dial(port)
            connection.sendall(text)
            held.append(connection)
    with zchat.connect(shared_broker.address, "sender") as sender:
        sender.send("den", "while they are all there")
    for connection in held:
        connection.close()


def test_ten_thousand_connections_come_and_go(shared_broker: BrokerProcess) -> None:
    both = ports(shared_broker)
    for number in range(10_000):
        with dial(both[number % 2]) as connection:
            if number % 3:
                connection.sendall(HANDSHAKE[: number % len(HANDSHAKE)])
            if number % 4 == 3:
                connection.shutdown(socket.SHUT_WR)
    with zchat.connect(shared_broker.address, "counter", wait=20) as counter:
        assert {one.user for one in counter.who() if one.state == "live"} == {"counter", "regular"}


def test_five_hundred_sessions_come_and_go(start_broker: Callable[..., BrokerProcess], context: Context) -> None:
    broker = start_broker("--memory")  # one where nobody has flooded from this address just now
    for number in range(500):
        speaker = Speaker(context, broker.address)
        speaker.say(wire.Hello(wire.VERSION, f"guest-{number}"), wire.Join(1, ["lobby"]), wire.Bye())
        speaker.dealer.close(linger=60_000)
    with zchat.connect(broker.address, "counter") as counter:
        events = Counter[str]()

        def all_told() -> bool:
            events.clear()
            events.update(record.event for record in counter.history("lobby", presence=True))
            return events.total() >= 1000

        eventually(all_told, "all have come and gone", 200)
        assert events == {"join": 500, "leave": 500}
        assert counter.who("lobby") == []
