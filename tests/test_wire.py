"""The wire: every message whole, cut, and with bytes added; round trips; and only WireError for nonsense."""

from __future__ import annotations

import resource
import types
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unreadable import READABLE, UNREADABLE
from zchat import wire
from zchat.errors import CODES, WireError

RECORDS = wire.encode_records([b"hello", wire.Record(b"x", "typing", {"a": "b"})])
BATCH = wire.Batch(wire.MESSAGES, 41, 7, 1_700_000_000_000_000, [wire.Entry("alice", "s1", 3, [b"hello", b""])])
MEMBER = wire.Member("alice", "s1", "live", 1, 2, ["general"], "127.0.0.1", 3)

RECORD_BYTES = wire.encode_record(wire.Record(b"2 + 3", "sum", {"base": "10"}))
CLIENT_EXAMPLES: list[wire.ClientMessage] = [
    wire.Hello(wire.VERSION, "alice"),
    wire.Hello(wire.VERSION, "李明", "s1", b"token", {"program": "zchat"}),
    wire.Publish(1, "general", wire.VOLATILE, msgspec.Raw(RECORDS)),
    wire.Join(2, ["general", "会议"]),
    wire.Part(3, ["general"]),
    wire.Fetch(4, ["build.*"], 10, 0),
    wire.Fetch(4, ["build.*"], 10, 99, 5),
    wire.Latest(4, ["build.*"], 10, 99, 1),
    wire.Purge(4, "general", 99),
    wire.Enroll(4, bytes(range(32))),
    wire.Enroll(4, bytes(range(32)), 604_800),
    wire.Search(9, "deploy fail*", ["build.*", "@alice"], 20),
    wire.Search(9, '"no space left"', ["**"], 20, 99, "bob", 1_790_000_000_000_000),
    wire.Seek(5, ["**"]),
    wire.Seek(5, ["**"], 10, 0, True),
    wire.Heads(6, []),
    wire.Who(7),
    wire.Who(7, "general"),
    wire.Who(7, "general", True),
    wire.Rooms(8),
    wire.Report([]),
    wire.Report([(41, ["general", "build.*"]), (wire.OFFSET_MAX, ["**"])]),
    wire.Bye(),
    wire.Cursors(9),
    wire.SetCursor(10, "laptop", "log", 41),
    wire.DropCursor(11, "laptop"),
    wire.JoinGroup(12, 1, "jobs", "workers", 16),
    wire.JoinGroup(12, 2, "jobs", "workers", 16, 5_000, 3, 41, [(42, 44), (50, 50)]),
    wire.Settle(13, 2, [(42, 43)], [(44, 44, 1_500, 1)]),
    wire.Groups(14),
    wire.Groups(14, "jobs", "workers"),
    wire.SetGroup(15, "jobs", "workers", 41),
    wire.SetGroup(15, "jobs", "workers", None),
    wire.Schedule(16, "5f3a", "ops", msgspec.Raw(wire.encode_records([b"lunch?"])), 1_700_000_000_000_000),
    wire.Schedule(16, "5f3a", "ops", msgspec.Raw(wire.encode_records([wire.Record(b"x", "tick")])), 0, 600_000_000),
    wire.Cancel(17, "5f3a"),
    wire.Scheduled(18),
    wire.Scheduled(18, 1_700_000_000_000_000, "5f3a"),
    wire.Serve(16, 1, "math"),
    wire.Serve(16, 1, "math", "fast", 0),
    wire.Call(17, "math", msgspec.Raw(RECORD_BYTES), 5_000),
    wire.Call(17, "math", msgspec.Raw(RECORD_BYTES), 5_000, 3, True),
    wire.Reply(9, msgspec.Raw(RECORD_BYTES)),
    wire.Reply(9, msgspec.Raw(RECORD_BYTES), "no such thing"),
    wire.From(7, msgspec.Raw(wire.encode(wire.Join(2, ["general"])))),
    wire.Subscribe(12, [b"@alice\0", b"+@alice\0"]),
]
BROKER_EXAMPLES: list[wire.BrokerMessage] = [
    wire.Welcome(wire.VERSION, "s1", b"token", False, "log", 41, 5556, {"record_bytes_max": 1 << 20}, 17),
    wire.Welcome(wire.VERSION, "s1", b"token", True, "log", 41, 9000, {}, 17, 3, [("A", 0), ("B", 30)], "there", 5555),
    wire.Ack([(1, 41), (2, 0)]),
    wire.Error("publish", 3, "too-large", "record is 9 bytes, limit 8"),
    wire.Done(2),
    wire.Page(4, [("general", msgspec.Raw(wire.encode(BATCH)))], 42, True, [wire.Gap("general", 1, 5, "trimmed")]),
    wire.Position(5, 31, 41),
    wire.HeadsAre(6, 41, [("general", 41, 41)]),
    wire.Present(7, [wire.Member("alice", "s1", "live", 1, 2, ["general"], "127.0.0.1")]),
    wire.Present(7, [MEMBER]),
    wire.Present(7, [], {"user_cursors_max": 3}),
    wire.RoomsAre(8, [wire.Room("general", 41, 2)]),
    wire.HelloAgain(),
    wire.Goodbye("stopping"),
    wire.CursorsAre(9, [wire.Cursor("laptop", 41, 1_700_000_000_000_000), wire.Cursor("bot.7", 0, 0)]),
    wire.Deliver(2, "jobs", [(1, msgspec.Raw(wire.encode(BATCH)))]),
    wire.Deliver(2, "jobs", [], [wire.Gap("jobs", 1, 5, "purged")]),
    wire.GroupsAre(14, [wire.Group("jobs", "workers", 40, 44, 50, 2, 1, 1, 3, 1)]),
    wire.GroupsAre(
        14,
        [
            wire.Group(
                "jobs",
                "workers",
                41,
                44,
                50,
                1,
                2,
                0,
                0,
                0,
                [wire.PendingRun(42, 43, 1, "alice", "s1"), wire.PendingRun(44, 44, 2, "", "")],
            )
        ],
    ),
    wire.ScheduledAre(18, [wire.ScheduledMessage("5f3a", "ops", 1_700_000_000_000_000, "message", "lunch?", 6)], False),
    wire.Called(1, 9, "math", "alice", "s1", 17, msgspec.Raw(RECORD_BYTES)),
    wire.Replied(17, "bob", "s2", 18, msgspec.Raw(RECORD_BYTES)),
    wire.Replied(17, "bob", "s2", 18, msgspec.Raw(RECORD_BYTES), "no such thing", 2),
    wire.For(7, msgspec.Raw(wire.encode(wire.Done(2)))),
    wire.NextKey(bytes(range(32))),
    wire.Direct(b"@alice\0", msgspec.Raw(wire.encode(BATCH))),
    wire.Found(9, [("general", msgspec.Raw(wire.encode(BATCH)))], 40, True, 39),
]
BROADCAST_EXAMPLES: list[wire.Batch | wire.Watermark | wire.Sync] = [
    BATCH,
    wire.Batch(wire.PRESENCE, 1, 0, 0, [wire.Entry("alice", "s1", 0, [wire.Record(b"", "join")])]),
    wire.Batch(wire.VOLATILE_MESSAGES, 1_790_000_000_000_001, 2, 1_790_000_000_000_003, []),
    wire.Watermark(41),
    wire.Sync(b"nonce", 41),
    wire.Sync(b"nonce", 41, "B"),
]
EXAMPLES: list[tuple[Callable[[bytes], Any], Any]] = [
    *((wire.decode_client, message) for message in CLIENT_EXAMPLES),
    *((wire.decode_broker, message) for message in BROKER_EXAMPLES),
    *((wire.decode_broadcast, message) for message in BROADCAST_EXAMPLES),
]
DECODERS: list[Callable[[bytes], Any]] = [
    wire.decode_client,
    wire.decode_broker,
    wire.decode_broadcast,
    wire.decode_batch,
    wire.decode_raw_batch,
    wire.decode_records,
    wire.decode_head,
    wire.check_records,
    wire.mended,
]
each_example = pytest.mark.parametrize(
    ("decode", "message"), EXAMPLES, ids=[f"{type(message).__name__}-{at}" for at, (_, message) in enumerate(EXAMPLES)]
)


def refused(decode: Callable[[bytes], Any], frame: bytes) -> WireError:
    with pytest.raises(WireError) as caught:
        decode(frame)
    assert caught.value.code in CODES
    assert caught.value.text
    return caught.value


# --- each example three ways --------------------------------------------------------------------


@each_example
def test_a_whole_message_comes_back(decode: Callable[[bytes], Any], message: Any) -> None:
    assert decode(wire.encode(message)) == message


@each_example
def test_a_message_that_is_cut_is_refused_wherever_it_is_cut(decode: Callable[[bytes], Any], message: Any) -> None:
    frame = wire.encode(message)
    for end in range(len(frame)):
        assert refused(decode, frame[:end]).code == "bad-frame"


@each_example
def test_a_message_with_bytes_added_is_refused(decode: Callable[[bytes], Any], message: Any) -> None:
    frame = wire.encode(message)
    for more in (b"\0", b"\xc0", b"\xc1", frame):
        assert refused(decode, frame + more).code == "bad-frame"


@each_example
def test_unknown_trailing_elements_are_ignored(decode: Callable[[bytes], Any], message: Any) -> None:
    elements = msgspec.msgpack.decode(wire.encode(message), type=list[msgspec.Raw])
    later = msgspec.msgpack.encode({"of": ["a", "later", "version"]})
    assert decode(msgspec.msgpack.encode([*elements, msgspec.Raw(later), msgspec.Raw(later)])) == message


def test_the_examples_have_one_of_each_message() -> None:
    def members(union: Any) -> set[type]:
        return set(get_args(union))

    assert {type(message) for message in CLIENT_EXAMPLES} == members(wire.ClientMessage)
    assert {type(message) for message in BROKER_EXAMPLES} == members(wire.BrokerMessage)


# --- what the kinds are -------------------------------------------------------------------------


def test_the_kinds_never_change() -> None:
    kinds = {
        name: struct.__struct_config__.tag
        for name, struct in vars(wire).items()
        if isinstance(struct, type)
        and issubclass(struct, msgspec.Struct)
        and struct.__module__.startswith(wire.__name__)
        and struct.__struct_config__.tag is not None
    }
    assert kinds == {
        "Hello": 1,
        "Publish": 2,
        "Join": 3,
        "Part": 4,
        "Fetch": 5,
        "Seek": 6,
        "Heads": 7,
        "Who": 8,
        "Rooms": 9,
        "Report": 10,
        "Bye": 11,
        "Cursors": 12,
        "SetCursor": 13,
        "DropCursor": 14,
        "From": 15,
        "Latest": 20,
        "Purge": 21,
        "Enroll": 22,
        "Search": 27,
        "Subscribe": 26,
        "JoinGroup": 16,
        "Settle": 17,
        "Groups": 18,
        "SetGroup": 19,
        "Schedule": 23,
        "Cancel": 24,
        "Scheduled": 25,
        "Serve": 30,
        "Call": 28,
        "Reply": 29,
        "Welcome": 33,
        "Ack": 34,
        "Error": 35,
        "Done": 36,
        "Page": 37,
        "Position": 38,
        "HeadsAre": 39,
        "Present": 40,
        "RoomsAre": 41,
        "HelloAgain": 42,
        "Goodbye": 43,
        "CursorsAre": 44,
        "For": 45,
        "NextKey": 60,
        "Direct": 55,
        "Deliver": 46,
        "GroupsAre": 47,
        "Found": 58,
        "ScheduledAre": 53,
        "Called": 48,
        "Replied": 49,
        "Watermark": 66,
        "Sync": 67,
    }


def test_a_publish_and_a_batch_are_the_bytes_that_the_specification_shows() -> None:
    publish = wire.encode(wire.Publish(1, "r", 0, msgspec.Raw(wire.encode_records([b"a"]))))
    assert publish == b"\x95\x02\x01\xa1r\x00\x91\xc4\x01a"
    batch = wire.encode(wire.Batch(0, 5, 4, 9, [wire.Entry("u", "s", 1, [b"a"])], 3))
    assert batch == b"\x96\x00\x05\x04\x09\x91\x94\xa1u\xa1s\x01\x91\xc4\x01a\x03"
    assert wire.decode_batch(b"\x95" + batch[1:-1]).prev_message is None, "as older logs have it"


def test_a_batch_of_raw_records_is_the_batch_of_the_records() -> None:
    entry = wire.RawEntry("alice", "s1", 3, msgspec.Raw(RECORDS))
    frame = wire.encode(wire.RawBatch(0, 41, 7, 9, [entry]))
    assert wire.decode_batch(frame).entries == [wire.Entry("alice", "s1", 3, wire.decode_records(RECORDS))]
    assert [bytes(each.records) for each in wire.decode_raw_batch(frame).entries] == [RECORDS]


@pytest.mark.parametrize("kind", [0, 31, 32, 63, 65, 99, 1 << 40, -1])
@pytest.mark.parametrize("decode", [wire.decode_client, wire.decode_broker])
def test_a_kind_of_another_version_is_told_from_nonsense(decode: Callable[[bytes], Any], kind: int) -> None:
    assert refused(decode, msgspec.msgpack.encode([kind, 1, "x"])).code == "unknown-kind"


def test_a_broker_takes_no_broker_messages_and_a_client_no_client_messages() -> None:
    for message in BROKER_EXAMPLES:
        assert refused(wire.decode_client, wire.encode(message)).code == "unknown-kind"
    for request in CLIENT_EXAMPLES:
        assert refused(wire.decode_broker, wire.encode(request)).code == "unknown-kind"


# --- fields that came later --------------------------------------------------------------------


def cut_to(message: Any, elements: int) -> bytes:
    """The message as one who does not know its last elements writes it."""
    return msgspec.msgpack.encode(msgspec.msgpack.decode(wire.encode(message), type=list[msgspec.Raw])[:elements])


def test_what_may_be_left_out_has_its_default() -> None:
    assert wire.decode_client(cut_to(wire.Who(7, "general", True), 3)) == wire.Who(7, "general", False)
    assert wire.decode_client(cut_to(wire.Fetch(4, ["a"], 1, 2, 3), 5)) == wire.Fetch(4, ["a"], 1, 2, 0)
    member = msgspec.msgpack.decode(wire.encode(wire.Present(7, [MEMBER])), type=list[msgspec.Raw])[2]
    (fields,) = msgspec.msgpack.decode(member, type=list[list[msgspec.Raw]])
    frame = msgspec.msgpack.encode([40, 7, [fields[:6]]])
    assert wire.decode_broker(frame) == wire.Present(
        7, [wire.Member("alice", "s1", "live", 1, 2, ["general"], "", wire.UNKNOWN)]
    )


def test_the_end_of_a_batch_keeps_the_bytes_of_its_records() -> None:
    newer = msgspec.msgpack.encode([b"b", "e", None, {"of": "a later version"}])
    entries = [wire.RawEntry("u", "s", seq, msgspec.Raw(b"\x92\xc4\x01a" + newer)) for seq in (1, 2)]
    frame = wire.encode(wire.RawBatch(0, 5, 3, 9, entries, 2))
    assert wire.end_of(frame, 4, 4) is frame
    end = wire.decode_raw_batch(wire.end_of(frame, 4, 3))
    assert (end.base, end.prev, end.time, end.prev_message, [entry.seq for entry in end.entries]) == (
        6,
        3,
        9,
        2,
        [1, 2],
    )
    assert [bytes(entry.records) for entry in end.entries] == [b"\x91" + newer, bytes(entries[1].records)]
    refused(lambda frame: wire.end_of(frame, 4, 1), frame[:-3])


def test_a_gap_names_its_room() -> None:
    assert refused(wire.decode_broker, msgspec.msgpack.encode([37, 4, [], 42, True, [[1, 5, "trimmed"]]]))


def test_a_cursor_is_the_bytes_that_the_specification_shows() -> None:
    assert wire.encode(wire.SetCursor(1, "c", "l", 5)) == b"\x95\x0d\x01\xa1c\xa1l\x05"
    assert wire.encode(wire.CursorsAre(1, [wire.Cursor("c", 5, 9)])) == b"\x93\x2c\x01\x91\x93\xa1c\x05\x09"


# --- round trips --------------------------------------------------------------------------------

TEXT = st.text(max_size=12)
BODY = st.binary(max_size=20)
RECORD = st.one_of(BODY, st.builds(wire.Record, BODY, TEXT, st.none() | st.dictionaries(TEXT, TEXT, max_size=3)))
RAW_RECORDS = st.lists(RECORD, max_size=4).map(wire.encode_records).map(msgspec.Raw)
INTEGER = st.integers(-(1 << 63), (1 << 64) - 1)
NATURAL = st.integers(0, wire.OFFSET_MAX)
LAG = get_type_hints(wire.Member, include_extras=True)["lag"]
CHANNEL = get_type_hints(wire.From, include_extras=True)["channel"]
st.register_type_strategy(msgspec.Raw, RAW_RECORDS)


def strategy_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Anything that a field may hold."""
    if annotation == wire.Natural:
        return NATURAL
    if annotation == CHANNEL:
        return st.integers(1, (1 << 32) - 1)
    if annotation == wire.Natural | None:
        return st.none() | NATURAL
    if annotation == LAG:
        return st.integers(wire.UNKNOWN, wire.OFFSET_MAX)
    if get_origin(annotation) is Annotated:  # a length above any that is drawn here
        return strategy_of(annotation.__origin__)
    if annotation is int:
        return INTEGER
    if annotation == wire.RecordOrBody:
        return RECORD
    if isinstance(annotation, types.GenericAlias) and annotation.__origin__ is list:
        return st.lists(strategy_of(annotation.__args__[0]), max_size=3)
    if isinstance(annotation, types.GenericAlias) and annotation.__origin__ is dict:
        return st.dictionaries(*map(strategy_of, annotation.__args__), max_size=3)
    if isinstance(annotation, types.GenericAlias) and annotation.__origin__ is tuple:
        return st.tuples(*map(strategy_of, annotation.__args__))
    if annotation is wire.Gap:
        return st.builds(wire.Gap, *map(strategy_of, get_type_hints(wire.Gap, include_extras=True).values()))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return struct_of(annotation)
    return st.from_type(annotation)


def struct_of(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    fields = msgspec.structs.fields(struct)
    return st.builds(struct, **{field.name: strategy_of(field.type) for field in fields})


ANY_CLIENT_MESSAGE = st.one_of(*map(struct_of, get_args(wire.ClientMessage)))
ANY_BROKER_MESSAGE = st.one_of(*map(struct_of, get_args(wire.BrokerMessage)))


@given(ANY_CLIENT_MESSAGE)
def test_any_client_message_comes_back(message: wire.ClientMessage) -> None:
    assert wire.decode_client(wire.encode(message)) == message


@given(ANY_BROKER_MESSAGE)
def test_any_broker_message_comes_back(message: wire.BrokerMessage) -> None:
    assert wire.decode_broker(wire.encode(message)) == message


@given(st.one_of(struct_of(wire.Watermark), struct_of(wire.Sync), struct_of(wire.Batch)))
def test_any_broadcast_comes_back(message: Any) -> None:
    if isinstance(message, wire.Batch):
        message.kind %= 3  # a batch's kind and a marker's are told apart
    assert wire.decode_broadcast(wire.encode(message)) == message


@given(struct_of(wire.Batch))
def test_entries_of_mere_bodies_are_known_by_their_type(message: wire.Batch) -> None:
    are_bodies = all(isinstance(record, bytes) for entry in message.entries for record in entry.records)
    decoded = wire.decode_batch(wire.encode(message))
    assert decoded == message and message == decoded
    assert {isinstance(entry, wire.BodyEntry) for entry in decoded.entries} <= {are_bodies}
    decoded.entries.append(wire.Entry("u", "s", 1, []))
    assert decoded != message and message != decoded


@given(struct_of(wire.RawBatch))
def test_any_raw_batch_comes_back(message: wire.RawBatch) -> None:
    assert wire.decode_raw_batch(wire.encode(message)) == message


@given(st.lists(RECORD, max_size=20))
def test_any_records_come_back(records: list[wire.RecordOrBody]) -> None:
    assert wire.decode_records(wire.encode_records(records)) == records


# --- nonsense -----------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), INTEGER, st.floats(), TEXT, BODY),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXT | INTEGER, inner, max_size=3),
    max_leaves=12,
)


def only_wire_error(frame: bytes) -> None:
    for decode in DECODERS:
        try:
            decode(frame)
        except WireError as error:
            assert error.code in CODES


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")
@example(b"\x91\xa1\xff")  # text that is no UTF-8
@example(b"\x92\x02" + b"\x91" * 100_000)  # nested deeper than any stack
@example(b"\x91" * 100_000)
@example(b"\x81\x01" * 100_000)
@example(b"\x93\x22" + b"\x91\x92" * 50_000)
@example(b"\xdd\xff\xff\xff\xff")  # 4 thousand million elements
@example(b"\x92\x22\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")  # 4 GB of body
@example(b"\x91\xc6\xff\xff\xff\xff")
@example(b"\xdb\xff\xff\xff\xff")
@example(b"\x93\x01\xc0\xc0")  # ended a broker with msgspec 0.20, whose errors were no ValueErrors
@example(b"\x92\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff")  # a number above any offset
def test_only_a_wire_error_comes_out_of_random_bytes(frame: bytes) -> None:
    only_wire_error(frame)


@given(
    st.sampled_from([b"", *map(wire.encode, [*CLIENT_EXAMPLES, *BROKER_EXAMPLES, *BROADCAST_EXAMPLES]), RECORDS]),
    st.lists(
        st.sampled_from([b"\x91", b"\x92\x01", b"\x81\x01", b"\x81", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01\xa0"])
    ),
    st.integers(0, 20_000),
    st.binary(max_size=5),
    st.data(),
)
def test_only_a_wire_error_comes_out_of_what_is_nested(
    frame: bytes, nest: list[bytes], depth: int, end: bytes, data: st.DataObject
) -> None:
    """At the end of a message, in place of its last bytes, or as an element more than it has."""
    nested = b"".join(nest) * (depth // max(1, len(nest))) + end
    cut = frame[: data.draw(st.integers(0, len(frame)))]
    only_wire_error(cut + nested)
    if frame:
        only_wire_error(bytes([frame[0] + 1]) + frame[1:] + nested)


@pytest.mark.parametrize("frame", [*UNREADABLE.values(), *READABLE.values()], ids=[*UNREADABLE, *READABLE])
def test_only_a_wire_error_comes_out_of_records_that_are_hard_to_read(frame: bytes) -> None:
    only_wire_error(frame)
    only_wire_error(b"\x95\x02\x01\xa3den\x00" + frame)
    only_wire_error(b"\x95\x00\x01\x00\x01\x91\x94\xa1u\xa1s\x01" + frame)
    only_wire_error(b"\x96\x25\x01\x91\x92\xa3den\x95\x00\x01\x00\x01\x91\x94\xa1u\xa1s\x01" + frame + b"\x01\xc2\x90")


DEPTHS = [900, 978, 1_493, 9_994, 50_000, 1_000_000]


@pytest.mark.parametrize("depth", DEPTHS)
@each_example
def test_an_element_of_a_later_version_changes_nothing_however_deep_it_is(
    decode: Callable[[bytes], Any], message: Any, depth: int
) -> None:
    frame = wire.encode(message)
    deep = bytes([frame[0] + 1]) + frame[1:] + b"\x91" * depth + b"\xc0"
    if decode is wire.decode_client and depth > DEPTHS[0]:  # a broker does not walk what a client sends
        try:
            assert decode(deep) == message
        except WireError as error:
            assert error.code == "bad-frame" and error.text.endswith("nested too deeply")
    else:
        assert decode(deep) == message


@given(ANYTHING)
def test_only_a_wire_error_comes_out_of_wrong_types(value: Any) -> None:
    only_wire_error(msgspec.msgpack.encode(value))


@pytest.mark.slow
@given(st.sampled_from(range(1, 70)), st.lists(ANYTHING, max_size=7))
def test_only_a_wire_error_comes_out_of_wrong_fields(kind: int, fields: list[Any]) -> None:
    only_wire_error(msgspec.msgpack.encode([kind, *fields]))


@given(st.sampled_from(EXAMPLES), st.data())
def test_only_a_wire_error_comes_out_of_a_changed_byte(
    of: tuple[Callable[[bytes], Any], Any], data: st.DataObject
) -> None:
    frame = bytearray(wire.encode(of[1]))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    only_wire_error(bytes(frame))


@pytest.mark.parametrize("number", [-1, wire.OFFSET_MAX + 1, 1 << 63, 1.5, "1", None, True])
def test_a_number_that_no_log_can_hold_is_refused(number: Any) -> None:
    assert refused(wire.decode_client, msgspec.msgpack.encode([10, number])).code == "bad-frame"
    assert refused(wire.decode_client, msgspec.msgpack.encode([2, number, "r", 0, []])).code == "bad-frame"
    assert refused(wire.decode_client, msgspec.msgpack.encode([13, 1, "c", "log", number])).code == "bad-frame"


@pytest.mark.parametrize("records", [b"text is no body", [1], ["text"], [[]], [["text"]], [[b"", 1]], {"a": b""}, None])
def test_records_of_wrong_types_are_refused(records: Any) -> None:
    assert refused(wire.decode_records, msgspec.msgpack.encode(records)).code == "bad-frame"


@given(struct_of(wire.Batch), st.integers(0, 80))
def test_the_head_of_a_batch_can_be_read_wherever_it_is_cut_behind_it(batch: wire.Batch, cut: int) -> None:
    frame = wire.encode(batch)
    head = wire.BatchHead(batch.kind, batch.base, batch.prev, batch.time)
    length = len(msgspec.msgpack.encode(head))
    if cut >= length:
        assert wire.decode_head(frame[:cut]) == head
    else:
        refused(wire.decode_head, frame[:cut])


def test_the_request_that_an_answer_without_sense_is_for_can_be_read() -> None:
    assert wire.number_of(msgspec.msgpack.encode([36, 7, "x"])) == 7
    for frame in (b"", b"\xc1", b"\x91\x24", b"\x92\x24\xa1x", b"\x92\x24", b"\x91" * 5000):
        assert wire.number_of(frame) == 0


# --- what is large ------------------------------------------------------------------------------


def array(count: int, element: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + count * element


@pytest.mark.parametrize(
    "frame",
    [
        b"\x94\x27\x01\x05" + array(10_000_000, b"\x92\xa1a\x07"),  # HEADS_ARE
        b"\x93\x29\x01" + array(10_000_000, b"\x93\xa1a\x07\x01"),  # ROOMS_ARE
        b"\x93\x28\x01" + array(2_000_000, b"\x96\xa1a\xa1b\xa4live\x01\x01\x90"),  # PRESENT
        b"\x93\x28\x01" + array(100, b"\x96\xa1a\xa1b\xa4live\x01\x01" + array(200_000, b"\xa2ab")),
        b"\x93\x28\x01\x91\x99\xa1a\xa1b\xa4live\x01\x01\x90\xa0\xff\xdf\x00\x20\x00\x00"
        + b"".join(b"\xa3%3x\xa0" % (number % 4096) for number in range(1 << 21)),
        b"\x96\x25\x01" + array(5_000_000, b"\x92\xa1a\xa1b") + b"\x01\xc2\x90",  # PAGE
        b"\x96\x25\x01\x90\x01\xc2" + array(3_000_000, b"\x94\xa1a\x01\x02\xa1b"),
        b"\x92\x22" + array(10_000_000, b"\x92\x01\x02"),  # ACK
        b"\x93\x2c\x01" + array(4_000_000, b"\x93\xa1a\x01\x02"),  # CURSORS_ARE
    ],
    ids=["heads", "rooms", "members", "rooms of members", "info", "batches", "gaps", "ack", "cursors"],
)
def test_an_answer_that_would_become_too_much_is_refused_before_it_does(frame: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WireError) as caught:
        wire.decode_broker(frame)
    assert caught.value.code == "bad-frame"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
    with pytest.raises(WireError):
        wire.decode_broadcast(b"\x95\x00\x01\x00\x01" + array(1, b"\x94\xa1a\xa1b\x01" + array(5_000_000, b"\xc4\x00")))


def test_the_largest_answers_of_an_honest_broker_pass() -> None:
    names = [f"{number:06}".ljust(128, "x") for number in range(262_144)]
    for message in (
        wire.HeadsAre(1, 5, [(name, 7, 7) for name in names]),
        wire.RoomsAre(1, [wire.Room(name, 7, 1) for name in names]),
        wire.Page(1, [], 9, False, [wire.Gap(name, 1, 2, "trimmed") for name in names]),
        wire.Present(
            1, [wire.Member("a", "s", "live", 1, 1, names[at : at + 512]) for at in range(0, len(names), 512)]
        ),
    ):
        assert len(wire.encode(message)) > 16 << 20
        assert type(wire.decode_broker(wire.encode(message))) is type(message)
