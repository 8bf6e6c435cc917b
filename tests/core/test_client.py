"""One session as its client sees it: hello first, what is repeated, what is refused, and joined with a broker core."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.simulation.pair import Pair, copy_of, numbered_log
from zchat import wire
from zchat.core import Instant
from zchat.core.client import AWAY, CLOSED, GREETING, READY, ClientCore
from zchat.core.gaps import Notice
from zchat.core.listener import Listener
from zchat.core.log import whole
from zchat.core.ordering import OrderedDelivery, Start
from zchat.core.progress import Progress
from zchat.core.publishing import IN_FLIGHT_FRAMES_MAX, Chunk
from zchat.core.requests import REPEAT_SECONDS
from zchat.errors import Closed, LogError, Refused
from zchat.settings import Settings

NOON = 1_700_000_000_000_000


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, NOON + round(seconds * 1e6))


def nonces() -> Iterator[bytes]:
    return (b"n%d" % number for number in count(1))


def welcome_of(
    session: str = "s1",
    *,
    resumed: bool = False,
    log_id: str = "log",
    head: int = 40,
    starts: tuple[tuple[str, int], ...] = (("A", 0),),
) -> wire.Welcome:
    token = b"token of " + session.encode()
    return wire.Welcome(wire.VERSION, session, token, resumed, log_id, head, 5556, {}, NOON, 0, list(starts))


def receive(core: ClientCore, *messages: wire.BrokerMessage, seconds: float = 0.0) -> None:
    for message in messages:
        core.received(wire.encode(message), at(seconds))


def sent(core: ClientCore) -> list[wire.ClientMessage]:
    return [wire.decode_client(frame) for frame in core.take_sends()]


def requests(core: ClientCore) -> list[tuple[str, int]]:
    """(kind, number) of the requests that are sent now."""
    return [(type(message).__name__, getattr(message, "request", 0)) for message in sent(core)]


def ready(**welcome: Any) -> ClientCore:
    """A core whose session is there."""
    core = ClientCore("alice", {"program": "test"}, nonces())
    core.connected()
    receive(core, welcome_of(**welcome))
    core.take_sends()
    assert core.state == READY
    return core


def published(core: ClientCore, number: int = 1, seconds: float = 0.0) -> list[Chunk]:
    chunks = []
    for _ in range(number):
        chunk = Chunk("general", 0)
        chunk.records.append(b"hi")
        core.publish(chunk, at(seconds))
        chunks.append(chunk)
    return chunks


def listening(core: ClientCore, *patterns: str, start: Start | None = None) -> Listener:
    listener = Listener(list(patterns), OrderedDelivery(list(patterns), start or Start(), False))
    core.listen(listener, at(0))
    return listener


# --- hello --------------------------------------------------------------------------------------


def test_hello_comes_first_and_alone() -> None:
    core = ClientCore("alice", {"program": "test"}, nonces())
    core.ask(wire.Who(0), at(0))
    core.join({"general"}, at(0))
    assert (core.state, core.take_sends(), core.has_room) == (AWAY, [], False)
    core.connected()
    core.ask(wire.Rooms(0), at(0))
    core.elapsed(at(1))
    assert sent(core) == [wire.Hello(wire.VERSION, "alice", "", b"", {"program": "test"}, 1, wire.TTL_MS)]
    assert (core.state, core.has_room) == (GREETING, False)


def test_after_the_welcome_everything_that_waits_is_sent() -> None:
    core = ClientCore("alice", {}, nonces())
    core.ask(wire.Who(0), at(0))
    core.join({"general"}, at(0))
    core.connected()
    core.take_sends()
    receive(core, welcome_of())
    assert sent(core) == [wire.Who(1), wire.Join(2, ["general"])]
    assert core.has_room and core.welcome == welcome_of()


def test_a_session_comes_back_with_its_token_and_sends_what_is_open_first_and_in_order() -> None:
    core = ready()
    published(core, 3)
    core.ask(wire.Who(0), at(0))
    core.join({"general"}, at(0))
    receive(core, wire.Ack([(2, 41)]))
    core.disconnected("cut")
    assert (core.state, core.take_sends(), core.has_room) == (AWAY, [], False)
    core.connected()
    assert sent(core) == [wire.Hello(wire.VERSION, "alice", "s1", b"token of s1", {"program": "test"}, 2, wire.TTL_MS)]
    receive(core, welcome_of(resumed=True))
    messages = sent(core)
    assert [message.seq for message in messages[:2] if isinstance(message, wire.Publish)] == [1, 3]
    assert messages[2:4] == [wire.Who(1), wire.Join(2, ["general"])]


@pytest.mark.parametrize(("resumed", "log_id"), [(True, "log"), (False, "log"), (False, "another log")])
def test_what_was_sent_before_the_session_was_forgotten_is_not_sent_again(resumed: bool, log_id: str) -> None:
    core = ready()
    (chunk,) = published(core)
    core.disconnected("cut")
    core.connected()
    core.take_sends()
    receive(core, welcome_of(resumed=resumed, log_id=log_id), seconds=wire.SESSION_KEPT_SECONDS)
    again = [message.seq for message in sent(core) if isinstance(message, wire.Publish)]
    if resumed or log_id != "log":  # the broker knows it, or cannot have it
        assert again == [1] and not chunk.is_settled
    else:
        assert again == [] and isinstance(chunk.error, Refused) and chunk.error.code == "repeat-unknown"
        assert core.take_news() == [chunk.error] and core.settled_upto == 1


def test_what_was_under_way_to_a_connection_that_broke_is_not_sent_before_the_hello() -> None:
    core = ready()
    published(core)
    core.disconnected("cut")
    core.connected()
    assert [type(message) for message in sent(core)] == [wire.Hello]


def test_the_rooms_that_are_wanted_are_joined_again_after_a_break() -> None:
    core = ready()
    core.join({"general", "build"}, at(0))
    core.part({"build"}, at(0))
    receive(core, wire.Done(1), wire.Done(2))
    core.disconnected("cut")
    core.connected()
    core.take_sends()
    receive(core, welcome_of("s2"))
    assert wire.Join(3, ["general"]) in sent(core)


def test_a_welcome_that_is_lost_is_asked_for_again() -> None:
    core = ClientCore("alice", {}, nonces())
    core.connected()
    core.take_sends()
    core.elapsed(at(0))
    core.elapsed(at(REPEAT_SECONDS))
    assert sent(core) == []
    core.elapsed(at(REPEAT_SECONDS + 0.1))
    assert [type(message) for message in sent(core)] == [wire.Hello]


def test_a_welcome_that_comes_twice_changes_nothing() -> None:
    core = ready()
    published(core)
    core.take_sends()
    receive(core, welcome_of(resumed=True))
    assert (core.state, core.take_sends()) == (READY, [])


def test_a_broker_that_does_not_know_the_connection_is_told_hello_once() -> None:
    core = ready()
    published(core)
    core.take_sends()
    receive(core, wire.HelloAgain())
    assert [type(message) for message in sent(core)] == [wire.Hello]
    receive(core, wire.HelloAgain())
    assert sent(core) == []
    receive(core, welcome_of(resumed=True))
    assert [type(message) for message in sent(core)] == [wire.Publish]


def test_where_one_of_its_rooms_is_denied_it_joins_the_others() -> None:
    core = ready()
    number = core.join({"a", "b", "c"}, at(0))
    core.take_sends()
    receive(core, wire.Error("request", number, "denied", "alice may not read b"))
    joins = sent(core)
    assert [message.rooms for message in joins if isinstance(message, wire.Join)] == [["a"], ["b"], ["c"]]
    receive(core, wire.Error("request", joins[1].request, "denied", "alice may not read b"))  # type: ignore[union-attr]
    assert sent(core) == []


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x91\x63", wire.encode(wire.Who(1)), wire.encode(wire.Watermark(3))])
def test_what_makes_no_sense_is_passed_over(frame: bytes) -> None:
    core = ready()
    core.received(frame, at(0))
    core.broadcast(b"#general\0", b"\xc1", at(0))
    assert core.state == READY
    assert (core.take_sends(), core.take_answers(), core.take_news(), core.deliver(at(0))) == ([], [], None, [])


# --- publishes ----------------------------------------------------------------------------------


def test_a_publish_is_settled_by_its_ack_and_whoever_waits_is_told() -> None:
    core = ready()
    first, second = published(core, 2)
    assert core.settled_upto == 0 and core.take_news() is None
    receive(core, wire.Ack([(1, 41)]))
    assert (first.first, second.is_settled, core.settled_upto) == (41, False, 1)
    assert core.take_news() == [] and core.take_news() is None


def test_a_refused_publish_is_told_with_its_reason() -> None:
    core = ready()
    (chunk,) = published(core)
    core.take_sends()
    receive(core, wire.Error("publish", 1, "log-full", "no space"))
    (refused,) = core.take_news() or []
    assert chunk.error is refused and (refused.code, refused.text) == ("log-full", "no space")
    assert core.settled_upto == 1 and core.refusal is None
    core.elapsed(at(60))
    assert not any(isinstance(message, wire.Publish) for message in sent(core))


def test_a_publish_without_an_answer_is_sent_again() -> None:
    core = ready()
    published(core, 2)
    frames = core.take_sends()
    core.elapsed(at(REPEAT_SECONDS + 0.1))
    assert core.take_sends() == frames


def test_who_waits_for_a_quiet_publish_while_the_client_is_away_is_told_when_it_is_back() -> None:
    core = ready()
    chunk = Chunk("general", wire.VOLATILE)
    chunk.records.append(b"hi")
    core.publish(chunk, at(0))
    (quiet,) = sent(core)
    assert isinstance(quiet, wire.Publish) and quiet.flags & wire.QUIET
    core.disconnected("cut")
    core.want_acks(1)
    assert core.take_sends() == []
    core.connected()
    core.want_acks(1)
    assert [type(message) for message in sent(core)] == [wire.Hello]
    receive(core, welcome_of(resumed=True))
    assert [message.flags for message in sent(core) if isinstance(message, wire.Publish)] == [wire.VOLATILE]


def test_no_more_is_taken_than_may_be_in_flight() -> None:
    core = ready()
    published(core, IN_FLIGHT_FRAMES_MAX)
    assert not core.has_room
    receive(core, wire.Ack([(1, 41)]))
    assert core.has_room


def test_what_is_open_at_the_close_is_unknown() -> None:
    core = ready()
    acked, open_one = published(core, 2)
    receive(core, wire.Ack([(1, 41)]))
    core.take_news()
    error = Closed()
    core.close(error)
    assert (acked.first, acked.error, open_one.error) == (41, None, error)
    assert core.state == CLOSED and not core.has_room and core.take_news() == []
    core.connected()
    core.disconnected("cut")
    assert core.state == CLOSED


# --- requests -----------------------------------------------------------------------------------


def test_a_request_is_answered_once_under_its_number() -> None:
    core = ready()
    numbers = [core.ask(wire.Who(0), at(0)), core.ask(wire.Rooms(0), at(0))]
    assert sent(core) == [wire.Who(numbers[0]), wire.Rooms(numbers[1])]
    rooms, present = wire.RoomsAre(numbers[1], []), wire.Present(numbers[0], [])
    receive(core, rooms, present, rooms, wire.Done(99))
    assert core.take_answers() == [(numbers[1], rooms), (numbers[0], present)]
    assert core.take_answers() == []


def test_a_request_is_repeated_until_it_is_answered_or_forgotten() -> None:
    core = ready()
    who, rooms, heads = (core.ask(request, at(0)) for request in (wire.Who(0), wire.Rooms(0), wire.Heads(0, ["a"])))
    core.take_sends()
    core.elapsed(at(REPEAT_SECONDS - 0.1))
    assert requests(core) == []
    core.elapsed(at(REPEAT_SECONDS))
    assert requests(core) == [("Who", who), ("Rooms", rooms), ("Heads", heads)]
    receive(core, wire.Present(who, []), seconds=REPEAT_SECONDS)
    core.forget(rooms)
    core.elapsed(at(2 * REPEAT_SECONDS))
    assert requests(core) == [("Heads", heads)]


def test_a_request_that_is_refused_is_answered_with_the_refusal() -> None:
    core = ready()
    number = core.ask(wire.Who(0, "@bob"), at(0))
    error = wire.Error("request", number, "denied", "no")
    receive(core, error)
    assert core.take_answers() == [(number, error)] and core.refusal is None


@pytest.mark.parametrize(("code", "fatal"), [("bad-user", True), ("unsupported-version", True), ("bad-frame", False)])
def test_a_fatal_refusal_of_the_connection_is_for_good(code: str, fatal: bool) -> None:
    core = ClientCore("alice", {}, nonces())
    core.connected()
    receive(core, wire.Error("connection", 0, code, "no"), wire.Error("connection", 0, "code of tomorrow", "no"))
    assert (core.refusal.code if core.refusal else "") == (code if fatal else "")


# --- joins --------------------------------------------------------------------------------------


def test_a_room_is_joined_with_the_first_who_wants_it_and_left_with_the_last() -> None:
    core = ready()
    assert core.join({"general", "build"}, at(0)) == 1
    receive(core, wire.Done(1))
    assert core.join({"general"}, at(0)) == 0
    assert core.part({"general", "build", "never"}, at(0)) == 2
    assert core.part({"general"}, at(0)) == 3
    assert core.part({"general"}, at(0)) == 0
    assert sent(core) == [wire.Join(1, ["build", "general"]), wire.Part(2, ["build"]), wire.Part(3, ["general"])]


def test_a_join_that_is_repeated_does_not_undo_a_later_part() -> None:
    core = ready()
    core.join({"general", "build"}, at(0))
    core.part({"general"}, at(0))
    receive(core, wire.Done(2))
    core.take_sends()
    core.elapsed(at(REPEAT_SECONDS))
    assert sent(core) == [wire.Join(1, ["build"])]


def test_a_part_that_is_repeated_does_not_undo_a_later_join() -> None:
    core = ready()
    core.join({"general"}, at(0))
    core.part({"general"}, at(0))
    core.join({"general"}, at(0))
    receive(core, wire.Done(1), wire.Done(3))
    core.take_answers()
    core.take_sends()
    core.elapsed(at(REPEAT_SECONDS))
    assert sent(core) == []
    assert core.take_answers() == [(2, wire.Done(2))]  # overtaken: whoever waits for it goes on


@pytest.mark.parametrize("code", ["log-full", "busy", "over-limit"])
def test_a_join_that_is_refused_for_now_is_tried_again_while_it_is_wanted(code: str) -> None:
    core = ready()
    core.join({"general", "build"}, at(0))
    core.take_sends()
    receive(core, wire.Error("request", 1, code, ""))
    assert [number for number, _ in core.take_answers()] == [1]
    core.part({"build"}, at(1))
    core.take_sends()
    core.elapsed(at(REPEAT_SECONDS))
    assert wire.Join(3, ["general"]) in sent(core)


def test_rooms_that_are_joined_again_after_a_break_are_asked_for_until_they_are_granted() -> None:
    core = ready()
    core.join({"general"}, at(0))
    core.take_sends()
    receive(core, wire.Done(1))
    core.disconnected("gone")
    core.connected()
    receive(core, welcome_of())
    asked = 0
    for seconds in range(0, 60):
        core.elapsed(at(seconds))
        for message in sent(core):
            if isinstance(message, wire.Join):
                asked += 1
                receive(core, wire.Error("request", message.request, "busy", "later"), seconds=seconds)
    assert 10 < asked < 30, "again and again, and not too often"


def test_a_join_that_may_not_be_is_not_tried_again() -> None:
    core = ready()
    core.join({"@bob"}, at(0))
    receive(core, wire.Error("request", 1, "denied", ""))
    core.take_sends()
    core.elapsed(at(60))
    assert not any(isinstance(message, wire.Join) for message in sent(core))


# --- the end ------------------------------------------------------------------------------------


def test_bye_ends_the_session_and_its_answer_is_told() -> None:
    core = ready()
    core.bye()
    assert sent(core) == [wire.Bye()] and not core.has_room
    receive(core, wire.Goodbye("bye"))
    assert core.state == CLOSED and core.take_answers() == [(0, wire.Goodbye("bye"))]


def test_bye_is_said_again_after_a_break() -> None:
    core = ready()
    core.bye()
    core.disconnected("cut")
    core.connected()
    core.take_sends()
    receive(core, welcome_of(resumed=True))
    assert sent(core)[-1] == wire.Bye()


def test_a_session_that_is_not_there_after_a_bye_has_ended() -> None:
    core = ready()
    published(core)
    core.bye()
    core.disconnected("cut")
    core.connected()
    core.take_sends()
    receive(core, welcome_of("s1", resumed=False))
    assert core.state == CLOSED and core.take_answers() == [(0, wire.Goodbye("bye"))]
    assert core.take_sends() == []  # nothing is published again into another session


def test_a_broker_that_stops_does_not_end_the_session() -> None:
    core = ready()
    receive(core, wire.Goodbye("stopping"))
    assert core.state == READY and core.take_answers() == []


# --- listening ----------------------------------------------------------------------------------


def test_what_an_ordering_asks_is_asked_and_its_answer_is_no_ones_elses() -> None:
    core = ready()
    listener = listening(core, "general", start=Start(after=0))
    core.broadcast(wire.PRIVATE_TOPIC + b"n1", wire.encode(wire.Sync(b"n1", 40, "A")), at(0))
    assert core.take_news() == []
    core.deliver(at(0))
    assert sent(core) == [wire.Fetch(1, ["general"], 0, 40)]
    receive(core, wire.Error("request", 1, "busy", ""))
    core.elapsed(at(REPEAT_SECONDS))
    assert wire.Fetch(1, ["general"], 0, 40) in sent(core)
    receive(core, wire.Page(1, [], 40, False, []))
    ((of, notices),) = core.deliver(at(4))
    assert of is listener and [type(notice).__name__ for notice in notices] == ["Notice"]
    assert core.take_answers() == []


def test_a_question_that_was_out_at_a_break_is_asked_anew_once_it_is_synced() -> None:
    core = ready()
    listening(core, "general", start=Start(after=0))
    core.broadcast(wire.PRIVATE_TOPIC + b"n1", wire.encode(wire.Sync(b"n1", 40, "A")), at(0))
    core.deliver(at(0))
    core.disconnected("cut")
    core.connected()
    core.take_sends()
    receive(core, welcome_of(resumed=True))
    core.deliver(at(0))
    assert not any(isinstance(message, wire.Fetch) for message in sent(core))
    core.broadcast(wire.PRIVATE_TOPIC + b"n2", wire.encode(wire.Sync(b"n2", 50, "A")), at(0))
    core.deliver(at(0))
    assert wire.Fetch(2, ["general"], 0, 40) in sent(core)


def test_nothing_is_asked_for_a_listener_that_has_gone() -> None:
    core = ready()
    listener = listening(core, "general", start=Start(after=0))
    core.broadcast(wire.PRIVATE_TOPIC + b"n1", wire.encode(wire.Sync(b"n1", 40, "A")), at(0))
    core.deliver(at(0))
    core.unlisten(listener, at(0))
    core.unlisten(listener, at(0))
    core.take_sends()
    core.elapsed(at(60))
    assert not any(isinstance(message, wire.Fetch) for message in sent(core))


def test_a_cursor_is_kept_until_the_broker_says_so_and_no_longer_than_its_listener() -> None:
    core = ready(log_id="log")
    listener = Listener(["general"], OrderedDelivery(["general"], Start(), False), Progress(["general"], "laptop"))
    core.listen(listener, at(0))
    core.take_sends()
    listener.progress.wanted = (0, 41)
    core.elapsed(at(1))
    cursor = wire.SetCursor(1, "laptop", "log", 41)
    assert cursor in sent(core)
    core.elapsed(at(1 + REPEAT_SECONDS))
    assert cursor in sent(core)
    core.unlisten(listener, at(5))
    core.elapsed(at(60))
    assert cursor not in sent(core)


OLDER = {"resumed": True, "head": 30, "starts": (("A", 0), ("B", 30))}


def back_in_an_older_copy(core: ClientCore) -> list[wire.ClientMessage]:
    """The broker is away, and has a copy of its log that goes up to 30; returns what is sent after the WELCOME."""
    core.disconnected("cut")
    core.connected()
    core.take_sends()
    receive(core, welcome_of(**OLDER), seconds=5.0)  # type: ignore[arg-type]
    return sent(core)


def test_a_position_in_a_log_that_went_back_is_not_kept() -> None:
    core = ready()
    number = core.ask(wire.SetCursor(0, "laptop", "log", 40), at(0))
    core.take_sends()
    assert back_in_an_older_copy(core) == []
    ((answered, answer),) = core.take_answers()
    assert answered == number and isinstance(answer, wire.Error) and answer.code == "other-log"


def test_rooms_that_it_left_are_left_in_an_older_copy_too() -> None:
    core = ready()
    core.join({"general", "build"}, at(0))
    core.part({"build"}, at(0))
    receive(core, wire.Done(1), wire.Done(2))
    assert back_in_an_older_copy(core) == [wire.Join(3, ["general"]), wire.Part(4, ["build"])]


def test_rooms_that_it_left_are_left_again_where_nothing_shows_that_the_log_went_back() -> None:
    core = ready(head=30)  # what DONE told of has no offset: the copy may lack it
    core.join({"build"}, at(0))
    core.part({"build"}, at(0))
    receive(core, wire.Done(1), wire.Done(2))
    assert back_in_an_older_copy(core) == [wire.Part(3, ["build"])]
    core.disconnected("cut")
    core.connected()
    core.take_sends()
    receive(core, wire.Done(3), welcome_of(**OLDER))  # type: ignore[arg-type]
    assert wire.Part not in [type(message) for message in sent(core)], "the broker is the same"


def test_a_refusal_by_an_older_copy_says_nothing_of_the_log_that_is_gone() -> None:
    core = ready()
    (chunk,) = published(core)
    assert len(back_in_an_older_copy(core)) == 1
    receive(core, wire.Error("publish", 1, "log-full", "full"))
    assert isinstance(chunk.error, Refused) and chunk.error.code == "repeat-unknown"


def test_a_sync_of_a_broker_that_it_was_not_welcomed_by_makes_nothing_live() -> None:
    core = ready()
    listener = listening(core, "general")
    core.broadcast(wire.PRIVATE_TOPIC + b"n1", wire.encode(wire.Sync(b"n1", 90, "B")), at(0))
    assert not listener.ordering.is_begun
    core.elapsed(at(3))
    core.broadcast(wire.PRIVATE_TOPIC + b"n2", wire.encode(wire.Sync(b"n2", 41, "A")), at(3))
    assert listener.ordering.is_begun and listener.ordering.low_watermark == 41


@pytest.mark.parametrize("told_by", ["ack", "head", "batch", "page", "position", "heads", "former listener"])
def test_whatever_told_of_a_higher_offset_shows_that_the_log_went_back(told_by: str) -> None:
    core = ready(head=25)
    quiet = listening(core, "quiet")
    listener = listening(core, "general")
    core.broadcast(wire.PRIVATE_TOPIC + b"n2", wire.encode(wire.Sync(b"n2", 25, "A")), at(0))
    match told_by:
        case "ack":
            published(core)
            receive(core, wire.Ack([(1, 31)]))
        case "head":
            receive(core, wire.HelloAgain(), welcome_of(resumed=True, head=31))
        case "batch" | "former listener":
            batch = wire.Batch(wire.MESSAGES, 31, 0, NOON, [wire.Entry("alice", "s1", 1, [b""])])
            core.broadcast(b"#general\0", wire.encode(batch), at(0))
            if told_by == "former listener":
                core.unlisten(listener, at(0))
        case "page":
            number = core.ask(wire.Fetch(0, ["x"], 0, 0), at(0))
            receive(core, wire.Page(number, [], 31, False, []))
        case "position":
            number = core.ask(wire.Seek(0, ["x"]), at(0))
            receive(core, wire.Position(number, 0, 31))
        case "heads":
            number = core.ask(wire.Heads(0, ["x"]), at(0))
            receive(core, wire.HeadsAre(number, 31, []))
    core.deliver(at(0))
    back_in_an_older_copy(core)
    out = [item for which, items in core.deliver(at(5)) for item in items if which is quiet]
    assert Notice("gap", 31, 31, reason="log") in out


@pytest.mark.parametrize("name", [b"#general", b"general\0", wire.PRIVATE_TOPIC + b"n1", b"", b"#\xff\0"])
def test_a_batch_on_a_topic_of_no_room_is_passed_over(name: bytes) -> None:
    core = ready()
    listening(core, "**")
    batch = wire.Batch(wire.MESSAGES, 41, 0, NOON, [wire.Entry("alice", "s1", 1, [b""])])
    core.broadcast(name, wire.encode(batch), at(0))
    assert core.deliver(at(0)) == []


# --- with a broker ------------------------------------------------------------------------------


def test_nothing_is_missed_or_doubled_over_any_break() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    heard = bob.listen("general", "build.*")
    pair.run()
    bodies = [b"%d" % number for number in range(12)]
    for number, body in enumerate(bodies):
        alice.publish("general" if number % 2 else "build.linux", body)
        match number % 4:
            case 0:
                pair.run()
                pair.cut(bob)
            case 1:
                pair.run()
                pair.reconnect(bob)
            case 2:
                pair.cut_sub(bob)
            case 3:
                pair.cut(alice, told=False)
                pair.reconnect(alice)
        pair.run()
    pair.wait(5.0)
    assert sorted(bob.bodies(heard), key=int) == bodies
    for room in ("general", "build.linux"):
        offsets = [offset for name, offset, event, _ in bob.heard(heard) if name == room and event == "message"]
        assert offsets == sorted(offsets)


def test_a_listener_goes_on_in_another_log_that_is_found_without_a_break() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    heard = bob.listen("general", joins=False)
    pair.run()
    alice.publish("general", b"of the first log")
    pair.run()
    connections = [end.connection for end in pair.ends]
    pair.wait(1.0)
    pair.restart(numbered_log(2), reconnects=False)
    for end, connection in zip(pair.ends, connections, strict=True):
        end.core.connected()
        end.connection = connection
    pair.run()
    alice.publish("general", b"of the second")
    pair.run()
    pair.wait(5.0)
    assert bob.bodies(heard) == [b"of the first log", b"of the second"]
    assert "gap" in bob.notices(heard)


def test_a_listener_of_a_log_that_went_back_is_told_and_gets_what_is_new_however_much_that_is() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    heard = bob.listen("general", joins=False)
    pair.run()
    bodies = [b"%d" % number for number in range(201)]
    for number, body in enumerate(bodies, 1):
        alice.publish("general", body)
        pair.run()
        if number == 150:
            copy = copy_of(pair.log)
    assert bob.bodies(heard) == bodies
    pair.restart(copy, reconnects=False)
    pair.reconnect(alice)
    new = [b"new %d" % number for number in range(110)]  # up to 260
    for body in new:
        alice.publish("general", body)
    pair.run()
    assert pair.log.head() == 260
    pair.reconnect(bob)
    pair.wait(5.0)
    assert bob.bodies(heard) == bodies + new
    gaps = [item for item in bob.delivered[heard] if isinstance(item, Notice) and item.kind == "gap"]
    assert gaps == [Notice("gap", 151, 201, reason="log")]


def test_a_client_that_the_broker_forgot_without_a_break_says_hello_again_and_goes_on() -> None:
    pair = Pair("alice", "bob", settings=Settings(grace_seconds=1.0))
    alice, bob = pair.ends
    heard = bob.listen("general", presence=True)
    pair.run()
    pair.core.disconnected(bob.connection, pair.now)  # the broker is told of an end that was none
    pair.wait(2.0)
    alice.publish("general", b"hi")
    pair.wait(5.0)
    assert bob.bodies(heard) == [b"hi"]
    bob.publish("general", b"back")
    pair.wait(5.0)
    assert bob.bodies(heard) == [b"hi", b"back"]
    answer = bob.ask(wire.Who(0, "general"))
    assert isinstance(answer, wire.Present) and [member.user for member in answer.members] == ["bob"]


def test_replies_that_are_dropped_cost_time_and_nothing_else() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.drops_reply = lambda end, frame: True
    chunk = alice.publish("general", b"once")
    joined = alice.core.join({"general"}, pair.now)
    asked = alice.core.ask(wire.Rooms(0), pair.now)
    pair.run()
    assert not chunk.is_settled and alice.answers == {}
    pair.drops_reply = lambda end, frame: False
    pair.wait(REPEAT_SECONDS + 1.0)
    assert chunk.first == 2 and alice.answers.keys() == {joined, asked}
    assert len(whole(pair.log.read(["general"], 0, 0, 0, 1 << 20)).batches) == 2


def test_a_join_holds_whatever_the_log_refuses_meanwhile() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.holds_commits = True
    heard = alice.listen("general", presence=True)
    pair.run()
    pair.commit(LogError("log-full", "no space"))
    pair.holds_commits = False
    pair.wait(REPEAT_SECONDS + 2.0)
    assert [event for _, _, event, _ in alice.heard(heard)] == ["join"]
    assert pair.core.registry.members("general") == 1


def test_volatile_and_stored_messages_by_turns_wait_for_no_time() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    chunks = [alice.publish("general", b"", volatile=number % 3 > 0) for number in range(200)]
    pair.run()
    alice.core.want_acks(chunks[-1].seq)
    pair.run()
    assert all(chunk.is_settled for chunk in chunks)
