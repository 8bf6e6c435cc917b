"""An inbox is said to its user's sessions alone, over the connections that they have, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Callable

import zmq

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.sockets.raw import Speaker, publish
from zchat import wire
from zchat.core.answers import last_of
from zchat.names import topic

CHUNK = bytes(64 << 10)
MANY = 400  # of those: 25 MiB, six times what one may leave unread


def test_who_subscribes_to_everything_hears_nothing_of_an_inbox(
    broker: BrokerProcess, context: zmq.Context[zmq.Socket[bytes]], speak: Callable[[str], Speaker]
) -> None:
    sub = context.socket(zmq.SUB)
    sub.connect(broker.publish_address)
    for prefix in (b"", b"@", b"+@", topic("@alice")):
        sub.subscribe(prefix)
    sub.subscribe(wire.PRIVATE_TOPIC + b"nonce")
    while wire.PRIVATE_TOPIC not in sub.recv_multipart()[0][:1]:
        pass
    alice, bob = speak(broker.address), speak(broker.address)
    alice.hello("alice")
    bob.hello("bob")
    alice.say(wire.Subscribe(7, [topic("@alice"), wire.PRESENCE_TOPIC + topic("@alice")]))
    alice.hear(wire.Done)
    alice.join("@alice")
    bob.say(
        publish(1, "@alice", b"psst"), publish(2, "@alice", b"now", flags=wire.VOLATILE), publish(3, "general", b"hi")
    )
    heard = [wire.decode_batch(bytes(alice.hear(wire.Direct).message)) for _ in range(2)]
    assert {batch.entries[0].records[0] for batch in heard} == {b"now", b"psst"}
    marker = alice.hear(wire.Direct)  # 1 s after the last of it
    assert isinstance(wire.decode_broadcast(bytes(marker.message)), wire.Watermark)
    topics = []
    while sub.poll(200):
        topics.append(sub.recv_multipart()[0])
    assert topic("general") in topics and not [each for each in topics if b"alice" in each]


def test_one_that_does_not_read_its_inbox_holds_up_nobody_and_sees_what_it_lost(
    broker: BrokerProcess, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    slow = Speaker(context, broker.address, rcvhwm=1)
    slow.hello("alice")
    slow.say(wire.Subscribe(7, [topic("@alice")]))
    slow.hear(wire.Done)
    with zchat.connect(broker.address, user="alice") as alice, zchat.connect(broker.address, user="bob") as bob:
        with alice.listen("@alice") as inbox:
            for _ in range(MANY):
                bob.publish("@alice", CHUNK)
            offsets = [inbox.get(30).offset for _ in range(MANY)]
            assert offsets == sorted(set(offsets))
        bob.flush()
        head = offsets[-1]
    high, heard = 0, 0
    while True:  # what it has, and then a hole, which a batch or a marker shows
        message = wire.decode_broadcast(bytes(slow.hear(wire.Direct).message))
        assert not isinstance(message, wire.Sync)
        if (message.last if isinstance(message, wire.Watermark) else message.prev) > high:
            break
        if isinstance(message, wire.Batch):
            heard, high = heard + 1, last_of(message)
    assert heard < MANY
    slow.say(wire.Fetch(8, ["@alice"], high, head))
    page = slow.hear(wire.Page)
    assert page.batches and wire.decode_batch(page.batches[0][1]).prev <= high


def test_an_inbox_goes_on_over_a_kill_and_a_restart(broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, user="alice") as alice, zchat.connect(broker.address, user="bob") as bob:
        with alice.listen("@alice", "general") as both, alice.session("carol") as carol, carol.listen("@carol") as hers:
            for number in range(3):
                for room in ("@alice", "@carol", "general"):
                    bob.send(room, str(number).encode())
                if number == 0:
                    broker.kill()
                    broker.start()
                elif number == 1:
                    broker.restart()
            heard = [both.get(30) for _ in range(6)]
            for room in ("@alice", "general"):
                assert [message.text for message in heard if message.room == room] == ["0", "1", "2"]
            assert [hers.get(30).text for _ in range(3)] == ["0", "1", "2"]
            for _ in range(3):  # what comes now comes by itself, and not with the next look at the heads
                bob.send("@carol", b"live")
                assert hers.get(5).text == "live"
        eventually(lambda: not alice.who("@alice"), "alice has left her inbox")
