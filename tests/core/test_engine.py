"""The client's loop on a port of lists: what a turn takes first, when it sleeps, when it is woken."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from zchat import address, wire
from zchat.address import Address
from zchat.core import Instant
from zchat.core.client import AWAY, GREETING, READY, Answer, ClientCore
from zchat.core.engine import (
    BEHIND_BYTES,
    BEHIND_LOOK_SECONDS,
    BEHIND_SECONDS,
    CAUGHT_UP_BYTES,
    FULL_SECONDS,
    REST_SECONDS_MAX,
    TICK_SECONDS,
    Engine,
)
from zchat.core.listener import Listener
from zchat.core.ordering import Delivery, Mark, Notice, OrderedDelivery, Start
from zchat.core.port import BATCHES, CHANGES, REPLIES, SUB_CHANGES
from zchat.core.publishing import Chunk
from zchat.errors import Closed, Refused, WireError, ZchatError
from zchat.names import topic

WELCOME = wire.Welcome(1, "session", b"token", False, "log", 0, 5556, {}, 0)


class ListPort:
    """What is put in its lists is there; what the engine does is in `said`."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.due = float("inf")
        self.is_full = False
        self.sends = 0
        self.number = "127.0.0.1"
        self.seen = "refused"
        self.refusal: Refused | None = None
        self.place = ("there", "nobody")
        self.ups: list[bool] = []
        self.is_sub_lost = False
        self.broadcast: list[tuple[bytes, bytes]] = []
        self.replied: list[bytes] = []
        self.said: list[object] = []
        self.subscribed: list[tuple[str, list[tuple[bool, bytes]]]] = []

    def now(self) -> Instant:
        return Instant(self.seconds, round(self.seconds * 1e6))

    def changes(self, seconds: float) -> Iterable[bool]:
        ups, self.ups = self.ups, []
        return ups

    def is_unsubscribed(self, seconds: float) -> bool:
        return self.is_sub_lost

    def batches(self) -> Iterable[tuple[bytes, bytes]]:
        broadcast, self.broadcast = self.broadcast, []
        return broadcast

    def hold_batches(self, hold: bool) -> None:
        self.said.append("hold" if hold else "go on reading")

    def replies(self) -> Iterable[bytes]:
        replied, self.replied = self.replied, []
        return replied

    def send(self, frames: Iterable[bytes], *, away: bool) -> None:
        self.sends += 1
        self.said += [wire.decode_client(frame) for frame in frames]

    def subscribe(self, publisher: Address, subscriptions: list[tuple[bool, bytes]]) -> None:
        self.subscribed.append((str(publisher), subscriptions))

    def hurry(self, seconds: float) -> None:
        self.said.append("hurry")

    def refuse(self, seconds: float) -> None:
        self.said.append("refuse")

    def proved(self) -> None:
        self.said.append("proved")

    def go_on(self, seconds: float) -> None:
        self.said.append("go on")


class ListOutbox:
    """Chunks in a list."""

    def __init__(self) -> None:
        self.is_waiting = False
        self.opened = 0
        self.chunks: list[Chunk] = []

    def take(self) -> Chunk | None:
        return self.chunks.pop(0) if self.chunks else None

    def close(self, error: ZchatError) -> list[Chunk]:
        left, self.chunks = self.chunks, []
        return left


class Talk:
    """An engine with all that it works on, which is its owner and consumer too."""

    def __init__(self, to: str = "tcp://127.0.0.1:5555") -> None:
        self.port, self.outbox = ListPort(), ListOutbox()
        self.core = ClientCore("anna", {}, iter([b"nonce", b"another"]))
        self.engine = Engine(self.core, address.parse(to), self.port, self.outbox, self)
        self.told: list[object] = []
        self.wakes = 0
        self.items: list[Delivery | Notice | Mark] = []
        self.waiting = 0

    def welcome(self, welcome: wire.Welcome = WELCOME) -> None:
        self.port.ups, self.port.replied = [True], [wire.encode(welcome)]
        self.engine.turn(CHANGES | REPLIES)

    def chunk(self, flags: int = 0) -> Chunk:
        chunk = Chunk("den", flags)
        chunk.records.append(b"hi")
        self.outbox.chunks.append(chunk)
        return chunk

    def listener(self) -> Listener:
        listener = Listener(["den"], OrderedDelivery(["den"], Start(), False))
        self.engine.consumers[listener] = self
        return listener

    def wake(self) -> None:
        self.wakes += 1

    def there(self) -> None:
        self.told.append("there")

    def lost(self) -> None:
        self.told.append("lost")

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        self.told.append((refused, answers))

    def put(self, items: list[Delivery | Notice | Mark]) -> None:
        self.items += items

    def end(self) -> None:
        self.told.append("end")

    def forked(self) -> None:
        self.told.append("forked")


def test_what_happened_to_the_connection_comes_before_what_came_on_it_and_what_is_said_on_it() -> None:
    talk = Talk()
    talk.welcome()
    assert talk.core.state == READY and talk.told[-1] == "there" and talk.port.said[-1] == "proved"
    talk.port.said.clear()
    talk.chunk()
    talk.port.ups, talk.port.replied = [False, True], [wire.encode(WELCOME)]
    talk.engine.later(lambda core, now: core.ask(wire.Rooms(0), now))
    talk.engine.turn(CHANGES | REPLIES)
    kinds = [type(said) for said in talk.port.said if not isinstance(said, str)]
    assert kinds == [wire.Hello, wire.Publish, wire.Rooms]
    assert talk.told[-3:] == ["lost", ([], []), "there"], "also where it was lost and is back in one turn"


def test_it_rests_as_long_as_nothing_is_due() -> None:
    talk = Talk()
    assert talk.engine.rest() == REST_SECONDS_MAX
    talk.port.due = talk.port.seconds + 0.25
    assert talk.engine.rest() == 0.25
    talk.port.due = 0.0
    assert talk.engine.rest() == 0.0
    talk.port.due = float("inf")
    talk.port.ups, talk.port.is_full = [True], True
    talk.engine.turn(CHANGES)
    assert talk.core.state == GREETING and talk.engine.rest() == FULL_SECONDS, "the port has not taken all of HELLO"
    talk.port.is_full = False
    talk.engine.turn(0)
    assert talk.engine.rest() == TICK_SECONDS


def test_what_the_port_did_not_take_is_tried_again_in_each_turn() -> None:
    talk = Talk()
    talk.port.ups, talk.port.is_full = [True], True
    talk.engine.turn(CHANGES)
    sends = talk.port.sends
    talk.port.seconds += FULL_SECONDS
    talk.engine.turn(0)
    assert talk.port.sends == sends + 1 and talk.engine.rest() == FULL_SECONDS
    talk.port.is_full = False
    talk.engine.turn(0)
    talk.engine.turn(0)
    assert talk.port.sends == sends + 2, "nothing is left"


def test_how_long_it_rests_stays_as_it_was_where_only_messages_came() -> None:
    talk = listening()
    talk.engine.turn(0)
    assert talk.engine.rest() == REST_SECONDS_MAX
    talk.port.seconds += 0.25
    talk.engine.turn(0)  # time passes for the core, and it may have something to do
    assert talk.engine.rest() == REST_SECONDS_MAX
    talk.port.seconds += TICK_SECONDS / 2
    talk.port.broadcast = [volatile(0)]
    talk.engine.turn(BATCHES)
    assert talk.engine.rest() == pytest.approx(REST_SECONDS_MAX - TICK_SECONDS / 2)
    talk.port.due = talk.port.seconds + 0.25
    assert talk.engine.rest() == 0.25, "the port has to do something earlier"


def test_it_does_not_rest_while_there_is_something_to_do() -> None:
    talk = Talk()
    talk.chunk()
    assert talk.engine.rest() > 0.0 and not talk.outbox.is_waiting, "nothing may be published while the broker is away"
    talk.welcome()
    assert talk.engine.rest() > 0.0 and talk.outbox.is_waiting
    talk.chunk()
    assert talk.engine.rest() == 0.0
    talk.engine.turn(0)
    talk.engine.later(lambda core, now: None)
    assert talk.engine.rest() == 0.0


def test_it_is_woken_only_while_it_rests() -> None:
    talk = Talk()
    talk.engine.later(lambda core, now: None)
    assert talk.wakes == 0
    talk.engine.rest()
    talk.engine.wake()
    talk.engine.later(lambda core, now: None)
    assert talk.wakes == 2
    talk.engine.turn(0)
    talk.engine.wake()
    assert talk.wakes == 2


def test_what_is_pushed_goes_out_between_two_turns() -> None:
    talk = Talk()
    talk.chunk()
    talk.engine.push()
    assert talk.outbox.chunks and not talk.outbox.is_waiting, "the broker is away"
    talk.welcome()
    talk.port.said.clear()
    talk.outbox.is_waiting = False
    talk.chunk()
    assert talk.engine.is_busy
    talk.engine.push()
    assert [type(said) for said in talk.port.said] == [wire.Publish]
    assert talk.outbox.is_waiting and not talk.engine.is_busy


def test_what_another_thread_publishes_during_a_push_wakes() -> None:
    talk = Talk()
    talk.welcome()
    talk.engine.rest()
    send = talk.port.send

    def sends(frames: Iterable[bytes], *, away: bool) -> None:
        send(frames, away=away)
        talk.chunk()

    talk.port.send = sends  # type: ignore[method-assign]
    talk.chunk()
    talk.engine.push()
    assert len(talk.outbox.chunks) == 1 and talk.wakes == 1


def test_a_consumer_gets_what_its_listener_hands_on_in_the_turn_in_which_it_came() -> None:
    talk = Talk()
    talk.welcome()
    listener = talk.listener()
    talk.engine.later(lambda core, now: core.listen(listener, now))
    talk.engine.turn(0)
    introduced, *topics = [each for _, topics in talk.port.subscribed for _, each in topics]
    assert introduced.startswith(wire.INTRODUCTION_TOPIC)
    assert topics == [
        b"#den\0",
        wire.PRIVATE_TOPIC + b"nonce",
    ]
    assert talk.port.subscribed[0][0] == "tcp://127.0.0.1:5556"
    talk.port.broadcast = [(wire.PRIVATE_TOPIC + b"nonce", wire.encode(wire.Sync(b"nonce", 0, "")))]
    talk.engine.turn(BATCHES)
    assert [item.kind for item in talk.items if isinstance(item, Notice)] == ["live"]
    talk.port.is_sub_lost = True
    talk.engine.turn(SUB_CHANGES)
    assert not listener.ordering.is_synced and talk.port.subscribed[-1][1][1:] == [
        (True, wire.PRIVATE_TOPIC + b"another")
    ]


def test_a_consumer_whose_listener_is_refused_is_told_of_its_end_once() -> None:
    talk = Talk()
    talk.welcome()
    listener = talk.listener()
    talk.engine.later(lambda core, now: core.listen(listener, now))
    talk.engine.turn(0)
    listener.refused = wire.Error("request", 1, "denied", "bob may not read den")
    for offset in (1, 2, 3):  # whatever comes still
        talk.port.broadcast = [(b"#den\0", wire.encode(wire.Watermark(offset)))]
        talk.engine.turn(BATCHES)
    assert talk.told.count("end") == 1 and listener not in talk.engine.consumers


def test_what_is_settled_is_told_with_what_was_refused() -> None:
    talk = Talk()
    talk.welcome()
    kept, refused = talk.chunk(), talk.chunk()
    talk.engine.turn(0)
    talk.port.replied = [
        wire.encode(wire.Ack([(1, 7)])),
        wire.encode(wire.Error("publish", 2, "log-full", "no space")),
    ]
    talk.told.clear()
    talk.engine.turn(REPLIES)
    assert (kept.first, talk.engine.settled_upto, talk.engine.unsettled()) == (7, 2, 0)
    assert refused.error is not None and talk.told[0] == ([refused.error], [])


def test_an_answer_is_told_in_the_turn_that_brought_it_and_nothing_else_is() -> None:
    talk = Talk()
    talk.welcome()
    asked: list[int] = []
    talk.engine.later(lambda core, now: asked.append(core.ask(wire.Rooms(0), now)))
    talk.engine.turn(0)
    answer = wire.Error("request", asked[0], "busy", "ask later")
    talk.port.replied = [wire.encode(answer)]
    talk.told.clear()
    talk.port.said.clear()
    talk.engine.turn(REPLIES)
    assert talk.told == [([], [(asked[0], answer)])] and not talk.port.said


def test_what_an_answer_leads_to_is_said_in_the_turn_that_brought_it() -> None:
    talk = Talk()
    talk.port.ups = [True]
    talk.engine.turn(CHANGES)
    assert talk.core.state == GREETING
    talk.port.replied = [wire.encode(WELCOME)]
    talk.engine.turn(REPLIES)
    assert talk.told == [([], []), ([], []), "there"]
    talk.port.said.clear()
    talk.port.replied = [wire.encode(wire.HelloAgain())]
    talk.engine.turn(REPLIES)
    assert [type(said) for said in talk.port.said] == [wire.Hello] and talk.core.state == GREETING


def test_the_end_leaves_what_has_no_outcome_unknown_and_counts_it() -> None:
    talk = Talk()
    talk.welcome()
    listener = talk.listener()
    sent, waiting, volatile = talk.chunk(), talk.chunk(), talk.chunk(wire.VOLATILE)
    talk.outbox.chunks = [sent]
    talk.engine.turn(0)
    talk.outbox.chunks = [waiting, volatile]
    assert listener in talk.engine.consumers
    assert talk.engine.close(Closed("over")) == 2
    assert [str(chunk.error) for chunk in (sent, waiting, volatile)] == ["over"] * 3
    assert talk.told[-1] == "end"


def test_a_welcome_without_a_port_to_subscribe_at_ends_it() -> None:
    talk = Talk()
    talk.welcome(wire.Welcome(1, "session", b"token", False, "log", 0, 0, {}, 0))
    assert isinstance(talk.engine.failure, WireError)


def test_a_fatal_refusal_ends_it() -> None:
    talk = Talk()
    talk.port.ups = [True]
    talk.engine.turn(CHANGES)
    talk.port.replied = [wire.encode(wire.Error("hello", 0, "unsupported-version", "too old"))]
    talk.engine.turn(REPLIES)
    assert isinstance(talk.engine.failure, Refused) and talk.core.state != READY


@pytest.mark.parametrize("seconds", [0.0, TICK_SECONDS])
def test_time_passes_for_the_core_and_the_port_once_a_tick(seconds: float) -> None:
    talk = Talk()
    talk.engine.turn(0)
    talk.port.said.clear()
    talk.port.seconds += seconds
    talk.engine.turn(0)
    assert ("go on" in talk.port.said) == bool(seconds)
    assert (talk.engine.seen, talk.core.listening.publisher, talk.core.state) == ("refused", "there", AWAY)


def test_in_a_child_of_a_fork_its_consumers_are_told() -> None:
    talk = Talk()
    talk.listener()
    talk.engine.rest()
    talk.engine.forked()
    talk.engine.wake()
    assert (talk.told, talk.wakes) == (["forked"], 0)


def volatile(prev: int) -> tuple[bytes, bytes]:
    entries = [wire.Entry("ben", "s1", prev + 1, [b"x"])]
    return topic("den"), wire.encode(wire.Batch(wire.VOLATILE_MESSAGES, 900, prev, 900, entries))


def listening() -> Talk:
    """Welcome, and live."""
    talk = Talk()
    talk.welcome()
    talk.engine.core.listen(talk.listener(), talk.port.now())
    talk.port.broadcast = [(wire.PRIVATE_TOPIC + b"nonce", wire.encode(wire.Sync(b"nonce", 0)))]
    talk.engine.turn(BATCHES)
    talk.port.said.clear()
    return talk


def held(talk: Talk) -> list[object]:
    """Whether it holds, since this was asked last."""
    said: list[object] = [each for each in talk.port.said if each in ("hold", "go on reading")]
    talk.port.said.clear()
    return said


def test_while_a_consumer_is_behind_with_volatile_messages_nothing_more_is_read() -> None:
    talk = listening()
    talk.waiting = BEHIND_BYTES + 1
    talk.port.broadcast = [volatile(0)]
    talk.engine.turn(BATCHES)
    assert held(talk) == ["hold"] and talk.engine.rest() == BEHIND_LOOK_SECONDS
    talk.waiting = CAUGHT_UP_BYTES
    talk.engine.turn(0)
    assert held(talk) == []
    talk.waiting -= 1
    talk.engine.turn(0)
    assert held(talk) == ["go on reading"] and talk.engine.rest() > BEHIND_LOOK_SECONDS


def test_a_consumer_that_does_not_catch_up_holds_nobody_until_it_has() -> None:
    talk = listening()
    for prev, (waiting, seconds, expected) in enumerate(
        [
            (BEHIND_BYTES + 1, 0.0, ["hold"]),
            (BEHIND_BYTES + 1, BEHIND_SECONDS, []),
            (BEHIND_BYTES + 1, 0.1, ["go on reading"]),
            (BEHIND_BYTES + 1, 0.1, []),
            (CAUGHT_UP_BYTES, 0.1, []),
            (BEHIND_BYTES + 1, 0.1, []),
            (CAUGHT_UP_BYTES - 1, 0.1, []),
            (BEHIND_BYTES + 1, 0.1, ["hold"]),
        ]
    ):
        talk.waiting = waiting
        talk.port.seconds += seconds
        talk.port.broadcast = [volatile(prev)]
        talk.engine.turn(BATCHES)
        assert held(talk) == expected, prev


def test_stored_messages_that_a_consumer_is_behind_with_hold_nobody() -> None:
    talk = listening()
    talk.waiting = BEHIND_BYTES + 1
    entries = [wire.Entry("ben", "s1", 1, [b"x"])]
    talk.port.broadcast = [(topic("den"), wire.encode(wire.Batch(wire.MESSAGES, 1, 0, 900, entries)))]
    talk.engine.turn(BATCHES)
    assert held(talk) == [] and len([item for item in talk.items if isinstance(item, Delivery)]) == 1
