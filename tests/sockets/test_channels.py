"""Many sessions over one DEALER, by nothing but the protocol, at a real broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import pytest

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.sockets.raw import HEAR_SECONDS, Speaker, publish
from zchat import wire

pytestmark = pytest.mark.slow  # the broker is a process

T = TypeVar("T", bound=wire.BrokerMessage)
SpeakTo = Callable[[str], Speaker]
HELLOS_AT_ONCE = 64


def say(speaker: Speaker, channel: int, *messages: wire.ClientMessage) -> None:
    speaker.say(*(wire.from_channel(channel) + wire.encode(message) for message in messages))


def hear(speaker: Speaker, channel: int, kind: type[T]) -> T:
    """The next message of that kind on that channel."""
    while True:
        told = speaker.hear(wire.For, HEAR_SECONDS)
        message = wire.decode_broker(bytes(told.message))
        if told.channel == channel and isinstance(message, kind):
            return message


def hello(speaker: Speaker, channel: int, user: str, session: str = "", token: bytes = b"") -> wire.Welcome:
    say(speaker, channel, wire.Hello(wire.VERSION, user, session, token))
    return hear(speaker, channel, wire.Welcome)


def code_of(told: wire.BrokerMessage) -> str:
    """Of the ERROR that is told on a channel; empty for anything else."""
    answer = wire.decode_broker(bytes(told.message)) if isinstance(told, wire.For) else told
    return answer.code if isinstance(answer, wire.Error) else ""


def users(client: zchat.Client, room: str) -> dict[str, str]:
    return {member.user: member.state for member in client.who(room)}


def test_sessions_on_channels_come_speak_and_go_for_themselves(shared_broker: BrokerProcess, speak: SpeakTo) -> None:
    gate = speak(shared_broker.address)
    gate.hello("gateway")
    hello(gate, 1, "alice"), hello(gate, 2, "bob")
    with zchat.connect(shared_broker.address, "carol") as carol, carol.listen("gate-1", presence=True) as heard:
        for channel in (1, 2):
            say(gate, channel, wire.Join(1, ["gate-1"]), publish(1, "gate-1", b"hi"))
            hear(gate, channel, wire.Done)
        assert users(carol, "gate-1") == {"alice": "live", "bob": "live", "carol": "live"}
        say(gate, 1, wire.Bye())
        assert hear(gate, 1, wire.Goodbye) == wire.Goodbye("bye")
        assert users(carol, "gate-1") == {"bob": "live", "carol": "live"}
        told = [heard.get(10) for _ in range(6)]
        assert [(message.user, message.event) for message in told if message.user != "carol"] == [
            *(("alice", "join"), ("alice", "message"), ("bob", "join"), ("bob", "message"), ("alice", "leave")),
        ]


def test_when_the_connection_ends_all_are_lost_and_those_who_say_hello_again_go_on(
    shared_broker: BrokerProcess, speak: SpeakTo
) -> None:
    gate = speak(shared_broker.address)
    gate.hello("gateway")
    welcomes = {user: hello(gate, channel, user) for channel, user in enumerate(("alice", "bob"), 1)}
    for channel in (1, 2):
        say(gate, channel, wire.Join(1, ["gate-2"]))
        hear(gate, channel, wire.Done)
    gate.close()
    with zchat.connect(shared_broker.address, "carol") as carol:
        eventually(lambda: users(carol, "gate-2") == {"alice": "lost", "bob": "lost"}, "both are lost")
        again = speak(shared_broker.address)
        again.hello("gateway")
        alice = welcomes["alice"]
        assert hello(again, 40_000, "alice", alice.session, alice.token).resumed
        eventually(lambda: users(carol, "gate-2") == {"alice": "live"}, "bob has left, alice has not")
        leaves = [message.user for message in carol.history("gate-2", presence=True) if message.event == "leave"]
        assert leaves == ["bob"]


def test_a_thousand_sessions_begin_over_one_connection(shared_broker: BrokerProcess, speak: SpeakTo) -> None:
    gate = speak(shared_broker.address)
    gate.hello("gateway")
    welcomed = said = 0
    while welcomed < 1_000:
        while said < 1_000 and said - welcomed < HELLOS_AT_ONCE:
            said += 1
            say(gate, said, wire.Hello(wire.VERSION, f"user-{said}"))
        assert isinstance(wire.decode_broker(bytes(gate.hear(wire.For).message)), wire.Welcome)
        welcomed += 1
    with zchat.connect(shared_broker.address, "carol") as carol:
        assert sum(member.user.startswith("user-") and member.state == "live" for member in carol.who()) == 1_000


def test_who_begins_sessions_on_channels_without_end_is_refused_and_others_are_served(
    shared_broker: BrokerProcess, speak: SpeakTo
) -> None:
    gate = speak(shared_broker.address)
    gate.hello("gateway")
    before = shared_broker.resident_bytes

    codes: Counter[str] = Counter()
    while not codes["busy"]:
        begun = sum(codes.values())
        for number in range(begun, begun + HELLOS_AT_ONCE):
            say(gate, 1 + number % 1_000, wire.Hello(wire.VERSION, f"mallory-{number}"))
        codes.update(code_of(gate.hear(wire.For)) for _ in range(HELLOS_AT_ONCE))
    assert sum(codes.values()) < 30_000 and codes.keys() == {"", "busy"}
    assert shared_broker.resident_bytes - before < 64 << 20
    with zchat.connect(shared_broker.address, "dave") as dave:
        assert dave.send("gate-3", "hi", timeout=10)
