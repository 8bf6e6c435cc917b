"""What sessions on channels publish, in turns, and who is told of what becomes of it."""

from __future__ import annotations

from tests.core.test_engine import ListOutbox
from tests.core.test_sessions import Talk, chunk_of, listener_of
from zchat import wire
from zchat.core.answers import Answer
from zchat.core.client import READY
from zchat.core.lines import Lines, SessionLine
from zchat.core.ordering import Delivery, Mark, Notice
from zchat.core.port import Consumer
from zchat.core.publishing import Chunk
from zchat.core.working import Receiver
from zchat.errors import Closed, Refused, ZchatError


class Told:
    """What an owner of a line, and the consumer of a listener, is told."""

    waiting = 0

    def __init__(self) -> None:
        self.said: list[object] = []

    def there(self) -> None:
        self.said.append("there")

    def lost(self) -> None:
        self.said.append("lost")

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        self.said += [*(error.code for error in refused), *answers]

    def ended(self, error: ZchatError, unsettled: int) -> None:
        self.said.append((str(error), unsettled))

    def put(self, items: list[Delivery | Notice | Mark]) -> None:
        self.said.append(items)

    def end(self) -> None:
        self.said.append("end")

    def forked(self) -> None:
        """There are no processes here."""


class Many:
    """Lines of some users, that are welcomed."""

    def __init__(self, *users: str) -> None:
        self.talk = Talk(*users)
        self.consumers: dict[Receiver, Consumer] = {}
        self.lines = Lines(self.talk.own, self.consumers)
        self.told = [Told() for _ in users]
        self.outboxes = [ListOutbox() for _ in users]
        self.of = []
        for session, outbox, told in zip(self.talk.sessions, self.outboxes, self.told, strict=True):
            self.of.append(SessionLine(session, outbox, told))
            self.lines.add(self.of[-1])
            self.talk.own.sessions.touch(session)
        self.carry_out()

    @property
    def may_publish(self) -> bool:
        return bool(self.lines.queue) and self.talk.own.takes_more

    def publish(self, which: int, *chunks: Chunk) -> None:
        for chunk in chunks:
            chunk.count = len(chunk.records)
            self.outboxes[which].chunks.append(chunk)
        self.lines.has_some(self.of[which])

    def carry_out(self) -> list[tuple[int, wire.ClientMessage]]:
        sent = self.talk.sent()
        self.lines.carry_out()
        return sent


def test_they_take_turns_a_chunk_each() -> None:
    many = Many("ann", "bob")
    many.publish(0, chunk_of(), chunk_of(), chunk_of())
    many.publish(1, chunk_of())
    assert many.may_publish and many.lines.publish(many.talk.now) == 4
    assert not many.may_publish
    assert [channel for channel, _ in many.carry_out()] == [1, 1, 1, 2]
    assert [line.core._publishing.settled_upto for line in many.of] == [0, 0]
    assert many.lines.unsettled() == 4


def test_one_that_has_no_room_holds_nobody_up_and_goes_on_when_it_has() -> None:
    many = Many("ann", "bob")
    many.publish(0, chunk_of(600), chunk_of(7))
    many.publish(1, chunk_of(8), chunk_of(9))
    assert many.lines.publish(many.talk.now) == 3
    assert not many.may_publish and bool(many.outboxes[0].chunks)
    many.carry_out()
    many.talk.hear(many.of[0].core, wire.Ack([(1, 41)], 1_000))
    many.carry_out()
    assert many.of[0].settled_upto == 1
    assert many.may_publish and many.lines.publish(many.talk.now) == 1


def test_when_the_connection_is_full_all_keep_their_turns() -> None:
    many = Many("ann", "bob", "eve")
    for which in range(3):
        many.publish(which, chunk_of(490), chunk_of(490))
    many.lines.publish(many.talk.now)
    assert not many.may_publish and not many.talk.own.takes_more
    many.carry_out()
    for which in range(2):
        many.talk.hear(many.of[which].core, wire.Ack([(1, 41)], 1_000))
    many.carry_out()
    assert many.may_publish
    for _ in range(6):
        many.lines.publish(many.talk.now)
        for line in many.of:
            for seq in list(line.core._publishing._unacked):
                many.talk.hear(line.core, wire.Ack([(seq, 41)], 1_000))
        many.carry_out()
    assert not any(outbox.chunks for outbox in many.outboxes) and many.lines.unsettled() == 0


def test_each_is_told_its_own() -> None:
    many = Many("ann", "bob")
    many.publish(0, chunk_of())
    many.lines.publish(many.talk.now)
    number = many.of[1].core.ask(wire.Rooms(0), many.talk.now)
    many.talk.own.sessions.touch(many.of[1].core)
    many.carry_out()
    for told in many.told:
        told.said.clear()
    many.talk.hear(many.of[0].core, wire.Error("publish", 1, "log-full", ""))
    many.talk.hear(many.of[1].core, wire.RoomsAre(number, []))
    many.carry_out()
    assert many.told[0].said == ["log-full", "there"]
    assert many.told[1].said == [(number, wire.RoomsAre(number, [])), "there"]
    many.lines.lost()
    assert [told.said[-1] for told in many.told] == ["lost", "lost"]


def test_the_end_of_one_is_the_end_of_its_session_and_its_listeners_alone() -> None:
    many = Many("ann", "bob")
    heard, other = listener_of("den"), listener_of("den")
    for line, listener, told in zip(many.of, (heard, other), many.told, strict=True):
        line.core.listen(listener, many.talk.now)
        many.consumers[listener] = told
    sent, unsent = chunk_of(), chunk_of()
    many.publish(0, sent)
    many.lines.publish(many.talk.now)
    many.outboxes[0].chunks.append(unsent)
    many.lines.end(many.of[0], Closed("over"))
    many.lines.end(many.of[0], Closed("over"))
    assert many.told[0].said[-2:] == ["end", ("over", 2)] and sent.is_settled and unsent.is_settled
    assert list(many.consumers) == [other] and many.of[1].core.state == READY
    assert "end" not in many.told[1].said and len(many.talk.own.sessions) == 1


def test_one_that_is_refused_or_said_goodbye_ends() -> None:
    many = Many("ann", "bob", "eve")
    many.talk.hear(many.of[0].core, wire.Error("connection", 0, "session-taken", "elsewhere"))
    many.of[1].core.bye()
    many.talk.hear(many.of[1].core, wire.Goodbye("bye"))
    many.carry_out()
    assert many.told[0].said[-1] == ("elsewhere [session-taken]", 0) or "session-taken" in str(many.told[0].said[-1])
    assert many.told[1].said[-1] == (str(Closed()), 0)
    assert len(many.talk.own.sessions) == 1
    many.lines.close(Closed("all over"))
    assert many.told[2].said[-1] == ("all over", 0)
