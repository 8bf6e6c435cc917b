"""docs/protocol.md is the protocol: its tables, its examples, and the client that it ends with."""

from __future__ import annotations

import re
import socket
import sys
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from random import randrange
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import zmq

from tests.conftest import BrokerProcess, eventually, zchat
from zchat import names, wire
from zchat.core import dialling
from zchat.core.group import RUNS_MAX
from zchat.core.introductions import introduction
from zchat.core.recipients import RECIPIENTS_MAX
from zchat.core.schedule import ID_CHARACTERS_MAX
from zchat.core.session import OUTCOMES_MAX
from zchat.errors import CODES, WireError
from zchat.settings import Settings
from zchat.sockets import greetings, options, peers

SPEC = Path(__file__).parent.parent / "docs" / "protocol.md"

CLIENT: tuple[Any, ...] = wire.ClientMessage.__args__
BROKER: tuple[Any, ...] = (*wire.BrokerMessage.__args__, wire.Watermark, wire.Sync)
LISTED = (wire.Member, wire.Room, wire.Cursor, wire.Group, wire.PendingRun, wire.ScheduledMessage)
PARTS = (wire.Record, wire.Batch, wire.Entry, *LISTED)

KEEPALIVE = options.KEEPALIVE_SECONDS
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode


@cache
def text() -> str:
    return SPEC.read_text()


@cache
def section_of(document: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    source = (SPEC.parent.parent / document).read_text()
    level = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", source, re.M | re.S)
    assert found, f"{document} has no heading {heading}"
    return found[1]


def section(heading: str) -> str:
    return section_of("docs/protocol.md", heading)


def rows(part: str) -> list[list[str]]:
    """The cells of the tables in a part of the text, without heads."""
    lines = re.findall(r"^\| (.*?) ?\|$", part, re.M)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines if not line.startswith("---")]


def number(cell: str) -> int:
    return int(cell.split()[0].replace(",", ""))


def spelled(struct: Any) -> str:
    """`HELLO_AGAIN` of HelloAgain."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", struct.__name__).upper()


# --- the messages -------------------------------------------------------------------------------


def table_of(struct: Any) -> str:
    """The part of the text that specifies a struct."""
    name, tag = spelled(struct), struct.__struct_config__.tag
    if tag is not None:
        return section(f"#### {tag} `{name}`")
    if struct in LISTED:
        found = re.search(rf"^`{name}` is (.*?)(?=^#)", text(), re.M | re.S)
    else:
        found = re.search(rf"(?:A|An) \*\*{name.lower()}\*\* (.*?)(?=^(?:A|An) \*\*|^## )", text(), re.M | re.S)
    assert found, f"{name} is not specified"
    return found[1]


def word(hint: Any, raw: str) -> str:
    """How the tables name a type."""
    plain = {int: "int", str: "str", bytes: "bin", bool: "bool", msgspec.Raw: raw}
    if hint in plain:
        return plain[hint]
    if hint is wire.Gap:  # its elements have names, and on the wire none
        return f"[{', '.join(word(each, raw) for each in get_type_hints(hint).values())}]"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is list:
        return f"list of {word(arguments[0], raw)}"
    if origin is tuple:
        return f"[{', '.join(word(each, raw) for each in arguments)}]"
    if origin is dict:
        return f"map of {word(arguments[0], raw)} to {word(arguments[1], raw)}"
    if origin in (Union, UnionType):
        if wire.Record in arguments:
            return "RECORD"
        return f"{word(arguments[0], raw)}, or nil"
    return spelled(hint)


def noted(value: Any) -> str:
    """The notation of the examples: JSON, and h'…' for a bin."""
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(noted, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{noted(key)}: {noted(of)}' for key, of in value.items())}}}"
    return msgspec.json.encode(value).decode()


def default(field: Any) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{noted(field.default_factory())}`"
    return "" if field.default is msgspec.NODEFAULT else f"`{noted(field.default)}`"


def test_every_message_has_its_heading_and_no_other_kind_has_one() -> None:
    for heading, structs in (("### From the client", CLIENT), ("### From the broker", BROKER)):
        parts = re.findall(rf"^{heading}.*?(?=^### |^## )", text(), re.M | re.S)
        found = {int(kind): name for part in parts for kind, name in re.findall(r"^#### (\d+) `(\w+)`$", part, re.M)}
        assert found == {struct.__struct_config__.tag: spelled(struct) for struct in structs}


@pytest.mark.parametrize("struct", [*CLIENT, *BROKER, *PARTS], ids=spelled)
def test_the_elements_of_an_array_are_those_of_its_struct(struct: Any) -> None:
    part = table_of(struct)
    hints = get_type_hints(struct)
    told = {wire.From: "MESSAGE", wire.For: "MESSAGE", wire.Direct: "BATCH or WATERMARK"}
    told |= dict.fromkeys((wire.Call, wire.Reply, wire.Called, wire.Replied), "RECORD")
    raw = (told | {wire.Page: "BATCH", wire.Deliver: "BATCH", wire.Found: "BATCH"}).get(struct, "list of RECORD")
    fields = msgspec.structs.fields(struct)
    expected = [[field.name, word(hints[field.name], raw), default(field)] for field in fields]
    assert [cells[:3] for cells in rows(part) if cells[0] != "element"][: len(fields)] == expected
    tag = struct.__struct_config__.tag
    array = ", ".join([*([str(tag)] if tag is not None else []), *(field.name for field in fields)])
    assert f"`[{array}]`" in part


def test_the_kinds_of_a_batch_and_the_flags_are_those_of_the_wire() -> None:
    meaning = next(cells[3] for cells in rows(table_of(wire.Batch)) if cells[0] == "kind")
    kinds = {wire.MESSAGES: "messages", wire.PRESENCE: "joins and leaves", wire.VOLATILE_MESSAGES: "volatile messages"}
    assert meaning == ", ".join(f"{kind} {what}" for kind, what in sorted(kinds.items()))
    meaning = next(cells[3] for cells in rows(table_of(wire.Publish)) if cells[0] == "flags")
    assert meaning.startswith(f"sum of {wire.VOLATILE} (volatile) and {wire.QUIET} (quiet")
    assert f"version {wire.VERSION}\n" in text()


# --- codes, limits, names -----------------------------------------------------------------------


def test_the_table_of_codes_is_that_of_the_errors() -> None:
    said = {True: "yes", False: "no"}
    expected = [[f"`{name}`", said[code.definite], said[code.fatal], code.sentence] for name, code in CODES.items()]
    assert [cells for cells in rows(section("## Errors")) if cells[0].startswith("`")] == expected


def test_the_limits_that_welcome_tells_are_those_of_the_settings() -> None:
    told = {cells[0]: number(cells[1]) for cells in rows(section("## Limits")) if "_" in cells[0]}
    assert told == Settings().told()


def longest(struct: Any, field: str) -> int:
    """How many elements that field may have."""
    (meta,) = get_type_hints(struct, include_extras=True)[field].__metadata__
    assert isinstance(meta, msgspec.Meta) and meta.max_length is not None
    return meta.max_length


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("names in one JOIN, FETCH, SEEK, LATEST, SEARCH or HEADS", wire.ROOMS_PER_MESSAGE_MAX),
        ("messages of each room in a LATEST", wire.LATEST_MAX),
        ("a frame to the ROUTER", options.FRAME_BYTES_MAX),
        ("a subscription, as a frame", options.SUBSCRIPTION_BYTES_MAX),
        ("topics of a subscriber", Settings().connection_topic_bytes_max),
        (
            "HEADS, WHO, ROOMS, CURSORS, GROUPS and SCHEDULED of a connection that wait",
            Settings().connection_questions_max,
        ),
        ("answers that a client does not read", Settings().connection_unread_bytes_max),
        (
            "connections of one address, on either port, that have not said HELLO, or subscribed",
            Settings().address_silent_max,
        ),
        ("the same, of all addresses", Settings().silent_max),
        ("replies that a client does not read", options.REPLIES_QUEUED_MAX),
        ("batches that a subscriber does not read", options.BATCHES_QUEUED_MAX),
        ("FETCH, SEEK, LATEST and SEARCH of a connection that wait", Settings().connection_reads_max),
        ("subscriptions of a connection", Settings().connection_subscriptions_max),
        ("sessions that have subscribed to a topic of an inbox", RECIPIENTS_MAX),
        ("cursors of a user", Settings().user_cursors_max),
        ("groups of a broker", Settings().groups_max),
        ("records that a member of a group has", wire.GROUP_IN_FLIGHT_MAX),
        ("ranges in one SETTLE", longest(wire.Settle, "acks")),
        ("pending runs of a group", RUNS_MAX),
        ("messages that are to be sent later", Settings().scheduled_max),
        ("the same of one address", Settings().address_scheduled_max),
        ("characters of the id of one", ID_CHARACTERS_MAX),
        ("messages in one answer to SCHEDULED", wire.SCHEDULED_LISTED_MAX),
        ("requests of a session that have no reply", Settings().session_calls_max),
        ("replies to a request", wire.REPLIES_MAX),
        ("channels of a connection that have a session", Settings().connection_channels_max),
        ("unknown elements of a record", wire.UNKNOWN_BYTES_MAX),
        ("unknown elements of all records in a PUBLISH", wire.UNKNOWN_BYTES_IN_ALL_MAX),
        ("arrays and maps in each other, in an unknown element", wire.NESTED_MAX),
        ("names that are looked at", longest(wire.Join, "rooms")),
        ("listeners in a REPORT", longest(wire.Report, "listeners")),
        ("entries of `info` in a HELLO", longest(wire.Hello, "info")),
        ("characters of its names and values", wire.INFO_CHARACTERS_MAX),
    ],
)
def test_the_other_limits_are_those_of_the_code(limit: str, value: int) -> None:
    assert [number(cells[1]) for cells in rows(section("## Limits")) if cells[0] == limit] == [value]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("## Sockets", f"| {options.HEARTBEAT_IVL_MS:,} ms |"),
        ("## Sockets", f"| {options.HEARTBEAT_TTL_MS:,} ms |"),
        ("## Sockets", f"| {options.HEARTBEAT_TIMEOUT_MS:,} ms |"),
        (
            "## Sockets",
            f"| 1, {options.KEEPALIVE_SECONDS} s, {options.KEEPALIVE_SECONDS} s, {options.KEEPALIVE_COUNT} |",
        ),
        ("## Sockets", f"| {options.UNACKED_MS_MAX:,} ms |"),
        ("## Windows", f"Who has {wire.WINDOW_BYTES_MAX:,} bytes"),
        ("## Encoding", f"2{str(wire.OFFSET_MAX.bit_length()).translate(RAISED)}−1"),
        ("## Sockets", f"within {greetings.HELLO_SECONDS:g} s"),
        ("## Windows", f"at most {wire.WINDOW_BYTES_MAX:,} bytes"),
        ("## Sockets", f"{dialling.REST_SECONDS_MIN * 1000:g} ms, {dialling.REST_SECONDS_MAX:g} s |"),
        ("## Names", f"at most {names.ROOM_BYTES_MAX} bytes of UTF-8"),
        ("## Names", f"at most {names.USER_BYTES_MAX} bytes, also when case folded"),
        ("## Sessions", f"{Settings().grace_seconds:g} s over: its leaves"),
        ("## Sessions", f"{Settings().session_kept_seconds / 3600:g} h over"),
        ("## Sessions", f"as lost for {Settings().restart_grace_seconds:g} s instead of {Settings().grace_seconds:g}"),
        ("## Publish once", f"the last {OUTCOMES_MAX:,} publishes"),
        ("## Presence", f"{Settings().crowd_members:,} members or more"),
        ("## Gaps", f"{Settings().watermark_first_seconds:g} s after its last batch"),
        ("## Gaps", f"{Settings().watermark_last_seconds:g} s"),
        ("## Reading history", f"At most {Settings().connection_reads_max} FETCH, SEEK, LATEST and SEARCH"),
        ("## Lag", f"The first {wire.LISTENERS_TOLD_MAX} listeners"),
        ("## Errors", f"{peers.CUT_OFF_WAIT_SECONDS:g} s later"),
    ],
)
def test_a_number_in_the_text_is_that_of_the_code(where: str, says: str) -> None:
    assert says in re.sub(r"\s+", " ", section(where))


def test_the_version_of_unicode_is_told() -> None:
    version = unicodedata.unidata_version.removesuffix(".0")
    assert f"{version} (Python 3.{sys.version_info.minor})" in section("## Names").replace("(3.", "(Python 3.")


def test_the_topics_of_the_examples_are_those_of_the_code() -> None:
    shown = dict(re.findall(r"`(\S+)` → `([0-9a-f ]+)`", section("## Topics")))
    assert len(shown) == 4
    for name, topic in shown.items():
        assert names.topic_prefix(name) == bytes.fromhex(topic)
    session, token, bytes_shown = re.findall(r"of session `(\w+)` with token `h'(\w+)'`: `([0-9a-f ]+)`", text())[0]
    assert introduction(session, bytes.fromhex(token)) == bytes.fromhex(bytes_shown)
    assert wire.PRIVATE_TOPIC == b"\xff" and "| private | `FF` nonce |" in text()


# --- the examples in bytes ----------------------------------------------------------------------


def examples() -> list[tuple[str, str, bytes]]:
    found = re.findall(r"^(\w+)  (\[.*\])\n((?:    [0-9a-f ]+\n)+)", section("## Examples in bytes"), re.M)
    return [(name, notation, bytes.fromhex(frame)) for name, notation, frame in found]


@pytest.mark.parametrize(("name", "notation", "frame"), examples())
def test_an_example_is_what_it_says(name: str, notation: str, frame: bytes) -> None:
    assert noted(decode(frame)) == notation
    decoders: list[Callable[[bytes], Any]] = [wire.decode_client, wire.decode_broker, wire.decode_broadcast]
    accepted = []
    for decoder in decoders:
        try:
            message = decoder(frame)
            accepted.append("BATCH" if isinstance(message, wire.Batch) else spelled(type(message)))
        except WireError:
            pass
    assert name in accepted


def test_the_examples_show_a_whole_conversation() -> None:
    shown = {name for name, _, _ in examples()}
    assert {
        "HELLO",
        "WELCOME",
        "JOIN",
        "PUBLISH",
        "ACK",
        "BATCH",
        "ERROR",
        "SYNC",
        "WATERMARK",
        "FETCH",
        "PAGE",
    } <= shown


# --- the client of the text ---------------------------------------------------------------------


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Makes clients of the class that the text ends with."""
    namespace: dict[str, Any] = {}
    source = re.search(r"```python\n(.*?)```", section("## A client"), re.S)
    assert source is not None
    exec(compile(source[1], str(SPEC), "exec"), namespace)
    clients: list[Any] = []

    def connected(broker: BrokerProcess, user: str) -> Any:
        clients.append(namespace["Client"](broker.address, user))
        return clients[-1]

    yield connected
    for client in clients:
        client.dealer.close()
        client.sub.close()


MEMORY = pytest.mark.parametrize("broker", [("--memory",)], indirect=True)


@MEMORY
@pytest.mark.slow
def test_the_client_of_the_text_talks_with_others(broker: BrokerProcess, connect: Callable[..., Any]) -> None:
    alice, bob = connect(broker, "alice"), connect(broker, "bob")
    heard = bob.listen("general")
    assert alice.publish("general", b"one", [b"two", "deploy", {"by": "ci"}]) == 2
    assert zchat("send", "general", "three", broker=broker).status == 0
    assert [next(heard) for _ in range(3)] == [
        (2, "alice", "message", b"one"),
        (3, "alice", "deploy", b"two"),
        (4, "tester", "message", b"three"),
    ]
    assert zchat("history", "general", "--raw", broker=broker).stdout == "one\ntwo\nthree\n"
    assert [record[2] for record in alice.history("general", 0, 4)] == ["join", "message", "deploy", "message"]
    bob.bye()
    assert list(alice.history("general", 4, 5)) == [(5, "bob", "leave", b"bye")]


@MEMORY
def test_the_client_of_the_text_is_told_of_refusals(broker: BrokerProcess, connect: Callable[..., Any]) -> None:
    alice = connect(broker, "alice")
    with pytest.raises(RuntimeError, match="bad-room"):
        alice.publish("General", b"")
    with pytest.raises(RuntimeError, match="denied"):
        alice.ask(5, ["@bob"], 0, 0)
    with pytest.raises(RuntimeError, match="bad-user"):
        connect(broker, "no name")
    assert alice.publish("general", b"") == 1


def free_ports() -> int:
    """The first of two free ports, below those that connections get: else one of ours may have taken the second."""
    while True:
        port = randrange(20_000, 32_000)
        try:
            with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 1)):
                return port
        except OSError:
            continue


@pytest.mark.slow
def test_the_client_of_the_text_loses_nothing_over_a_restart(
    start_broker: Callable[..., BrokerProcess], connect: Callable[..., Any]
) -> None:
    broker = start_broker(bind=f"tcp://127.0.0.1:{free_ports()}")
    alice, bob = connect(broker, "alice"), connect(broker, "bob")
    heard = bob.listen("general")
    alice.publish("general", b"before")
    assert next(heard)[3] == b"before"
    session = bob.session
    broker.kill()
    broker.start()
    assert alice.publish("general", b"after") == 3
    assert next(heard) == (3, "alice", "message", b"after")
    assert [member[1] for member in bob.ask(8, "general")[0]] == [session]
    assert [record[2] for record in bob.history("general", 0, 3)] == ["join", "message", "message"]


# --- what the broker answers --------------------------------------------------------------------


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One broker for all the questions below."""
    broker = BrokerProcess(tmp_path_factory.mktemp("broker"), ("--memory",)).start()
    yield broker
    broker.stop()


@pytest.fixture
def dealer(answering: BrokerProcess) -> Iterator[zmq.Socket[bytes]]:
    dealer: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(answering.address)
    yield dealer
    dealer.close()


def ask(dealer: zmq.Socket[bytes], *messages: Any) -> Any:
    """Send messages, or bytes as they are; give back the answer to the last one."""
    for message in messages:
        dealer.send(message if isinstance(message, bytes) else encode(message))
        assert dealer.poll(10_000), f"no answer to {message!r}"
        answer = decode(dealer.recv())
    return answer


users = (f"user{number}" for number in count())


@pytest.mark.parametrize(
    ("message", "about", "told", "code"),
    [
        ([1, 2, "alice"], "connection", 0, "unsupported-version"),
        ([1, 1, "no name"], "connection", 0, "bad-user"),
        (b"\xc1garbage", "connection", 0, "bad-frame"),
        (b"", "connection", 0, "bad-frame"),
        (encode([9, 1]) + b"\0", "request", 1, "bad-frame"),
        ([2, "1", "general", 0, [b""]], "connection", 0, "bad-frame"),
        ([2, 1, "general", 0], "publish", 1, "bad-frame"),
        ([31, 1], "request", 1, "unknown-kind"),
        ([31, []], "connection", 0, "unknown-kind"),
        ([1, 2], "connection", 0, "unsupported-version"),
        ([1, 7, {"whatever": [None]}, -1], "connection", 0, "unsupported-version"),
        (encode([1, 7, 0, 0]) + b"\xc1", "connection", 0, "unsupported-version"),
        ([1, 1], "connection", 0, "bad-frame"),
        ([34, []], "connection", 0, "unknown-kind"),
    ],
)
def test_before_hello_a_frame_is_refused(
    dealer: zmq.Socket[bytes], message: Any, about: str, told: int, code: str
) -> None:
    kind, *refusal, sentence = ask(dealer, message)
    assert (kind, *refusal) == (35, about, told, code)
    assert sentence


@pytest.mark.parametrize(
    ("message", "about", "code"),
    [
        ([2, 7, "General", 0, [b""]], "publish", "bad-room"),
        ([2, 7, "general", 0, []], "publish", "too-many-records"),
        ([2, 7, "general", 0, [b""] * 4097], "publish", "too-many-records"),
        ([2, 7, "general", 0, [bytes(1_052_672)]], "publish", "too-large"),
        ([2, 7, "general", 0, [bytes(1_048_577)]], "publish", "too-large"),
        ([2, 7, "general", 0, ["text"]], "publish", "bad-frame"),
        ([2, 7, "general", 0, [[b"", "join"]]], "publish", "denied"),
        ([2, 7, "general", 3, []], "publish", "too-many-records"),
        ([2, 7, "general", "fz", []], "publish", "bad-frame"),
        (encode([2, 7, "general", 0, [b"x"]])[:-1], "publish", "bad-frame"),
        ([3, 7], "request", "bad-frame"),
        ([8, 7, "fz", 7], "request", "bad-frame"),
        (b"\x93\x05\x07\xc1", "request", "bad-frame"),
        ([4, 7, [1 << 60]], "request", "bad-frame"),
        ([31, 7, "a later version's"], "request", "unknown-kind"),
        ([3, 7, ["a.*"]], "request", "bad-room"),
        ([3, 7, ["@somebody.else"]], "request", "denied"),
        ([3, 7, [f"room{number}" for number in range(1025)]], "request", "bad-request"),
        ([5, 7, [], 0, 0], "request", "bad-request"),
        ([5, 7, ["general", "a..b"], 0, 0], "request", "bad-room"),
        ([7, 7, ["@somebody.else"]], "request", "denied"),
        ([13, 7, "a/b", "x", 0], "request", "bad-cursor"),
        ([13, 7, "ab", "x", 0], "request", "other-log"),
    ],
)
def test_a_session_is_told_what_is_refused(dealer: zmq.Socket[bytes], message: Any, about: str, code: str) -> None:
    assert ask(dealer, [1, 1, next(users)], message)[:4] == [35, about, 7, code]


def test_a_frame_above_the_last_limit_ends_the_connection(dealer: zmq.Socket[bytes]) -> None:
    ask(dealer, [1, 1, next(users)])
    dealer.send(encode([2, 1, "general", 0, [bytes(options.FRAME_BYTES_MAX)]]))
    answer = eventually(lambda: ask(dealer, [9, 1]), "it comes back as a connection that nobody knows")
    assert answer == [42]


def test_unknown_elements_at_the_end_are_ignored(dealer: zmq.Socket[bytes]) -> None:
    welcome = ask(dealer, [1, 1, next(users), "", b"", {}, 1, 0, "of a later version"])
    assert welcome[0] == 33
    assert ask(dealer, [3, 1, ["later"], {"more": 1}]) == [36, 1]
    stored = ask(dealer, [2, 1, "later", 0, [[b"body", "message", None, "", "later"]], [b"more"]])[1][0][1]
    page = ask(dealer, [5, 2, ["later"], stored - 1, stored, 0, "later"])
    assert page[2][0][1][4][0][3] == [[b"body", "message", None, "", "later"]]


def test_what_may_be_missing_at_the_end_may_be_missing(dealer: zmq.Socket[bytes]) -> None:
    assert ask(dealer, [1, 1, next(users)])[0] == 33
    assert [ask(dealer, message)[0] for message in ([5, 1, ["**"], 0, 0], [6, 2, ["**"]], [8, 3])] == [37, 38, 40]


def test_a_repeat_is_answered_with_what_became_of_the_first(dealer: zmq.Socket[bytes]) -> None:
    first = ask(dealer, [1, 1, next(users)], [2, 1, "repeats", 0, [b"one"]])
    assert ask(dealer, [2, 1, "repeats", 0, [b"one"]]) == first
    assert ask(dealer, [2, 2, "Repeats", 0, [b""]], [2, 2, "Repeats", 0, [b""]])[:4] == [35, "publish", 2, "bad-room"]
    assert ask(dealer, [2, 9, "repeats", 0, [b"two"]])[1][0][0] == 9
    assert ask(dealer, [2, 5, "repeats", 0, [b"never sent"]])[:4] == [35, "publish", 5, "repeat-unknown"]
    assert [entry[0][3] for *_, entry, _ in (batch for _, batch in ask(dealer, [5, 1, ["repeats"], 0, 0])[2])] == [
        [b"one"],
        [b"two"],
    ]


def test_the_quiet_ones_are_told_of_by_the_next_ack(dealer: zmq.Socket[bytes]) -> None:
    ask(dealer, [1, 1, next(users)])
    for seq in (1, 2):
        dealer.send(encode([2, seq, "quiet", 3, [b""]]))
    assert ask(dealer, [2, 3, "quiet", 1, [b""]]) == [34, [[3, 0]], wire.WINDOW_BYTES_MAX]
    assert ask(dealer, [2, 1, "quiet", 3, [b""]]) == [34, [[1, 0]], wire.WINDOW_BYTES_MAX]


def test_a_number_may_be_left_out_and_what_does_not_decode_uses_none_up(dealer: zmq.Socket[bytes]) -> None:
    ask(dealer, [1, 1, next(users)])
    assert ask(dealer, [2, 3, "holes", "no flags", [b""]])[:4] == [35, "publish", 3, "bad-frame"]
    assert ask(dealer, [2, 3, "holes", 0, [b"third"]])[1][0][0] == 3
    assert ask(dealer, [2, 2, "holes", 0, [b"second"]])[:4] == [35, "publish", 2, "repeat-unknown"]


def test_who_reads_gets_every_answer(dealer: zmq.Socket[bytes]) -> None:
    limit = Settings().connection_questions_max
    assert ask(dealer, [1, 1, next(users)])[0] == 33
    for number in range(1, limit + 1):
        dealer.send(encode([7, number, ["**"]]))
        dealer.send(encode([2, 2 * number - 1, "No Room", 0, [b""]]))
        dealer.send(encode([2, 2 * number, "answered", 0, [b""]]))
    heads: set[int] = set()
    refused: set[int] = set()
    acked: set[int] = set()
    while len(heads) + len(refused) + len(acked) < 3 * limit:
        assert dealer.poll(10_000), f"{len(heads)} HEADS_ARE, {len(refused)} refusals and {len(acked)} in ACKs came"
        kind, *rest = decode(dealer.recv())
        match kind:
            case 39:
                heads.add(rest[0])
            case 35:
                assert rest[0] == "publish" and rest[2] == "bad-room"
                refused.add(rest[1])
            case 34:
                acked.update(seq for seq, _ in rest[0])
    assert heads == set(range(1, limit + 1))
    assert (refused, acked) == ({2 * number - 1 for number in heads}, {2 * number for number in heads})


def test_a_session_that_goes_on_elsewhere_is_told_to_its_former_connection(
    answering: BrokerProcess, dealer: zmq.Socket[bytes]
) -> None:
    user = next(users)
    _, _, session, token, *_ = ask(dealer, [1, 1, user, "", b"", {}, 5])

    def from_elsewhere(number: int) -> Any:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        with context.socket(zmq.DEALER) as elsewhere:
            elsewhere.linger = 0
            elsewhere.connect(answering.address)
            return ask(elsewhere, [1, 1, user, session, token, {}, number])

    assert from_elsewhere(4)[:4] == [35, "connection", 0, "session-taken"]
    assert ask(dealer, [9, 1])[0] == 41
    assert from_elsewhere(6)[4] is True
    assert dealer.poll(10_000)
    assert decode(dealer.recv())[:4] == [35, "connection", 0, "session-taken"]


def test_who_said_no_hello_is_told_to(dealer: zmq.Socket[bytes]) -> None:
    assert ask(dealer, [9, 1]) == [42]
    assert ask(dealer, [1, 1, next(users)], [9, 1])[0] == 41
    assert ask(dealer, [11]) == [43, "bye"]
    assert ask(dealer, [9, 1]) == [42]
