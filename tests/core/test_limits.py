"""Every limit that a session can meet: what who is over it is told, that it is counted by its name, and that another
user, from another address, is served as ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from tests.core.cycle import Cycle
from zchat import wire
from zchat.core.rights import Rules
from zchat.errors import LogError
from zchat.log.memory import MemoryLog
from zchat.settings import Settings

OVER, GOOD = (b"over", "10.0.0.1"), (b"good", "10.0.0.2")  # connections, which are called as their users, and addresses
LOG = "0123456789abcdef"  # its id
YEAR_2096 = 4_000_000_000_000_000
SAID_MAX = 10
PUBLISHED = "publish"

Makes = Callable[[int], wire.ClientMessage]


class Case(NamedTuple):
    """A limit, what is said again and again until it is met, and the code that is told then."""

    limit: str
    says: Makes
    code: str
    about: str
    settings: dict[str, Any]


def publish(room: str, *bodies: bytes) -> Makes:
    return lambda seq: wire.Publish(seq, room.format(seq), 0, msgspec.Raw(wire.encode_records(list(bodies or (b"x",)))))


def later(number: int) -> wire.ClientMessage:
    return wire.Schedule(number, f"id{number}", "den", msgspec.Raw(wire.encode_records([b"x" * 40])), YEAR_2096)


def case(limit: str, says: Makes, code: str, about: str = "request", **settings: Any) -> Case:
    return Case(limit, says, code, about, settings or {limit: 2})


def joins(number: int) -> wire.ClientMessage:
    return wire.Join(number, [f"hall.{number}"])


def group(number: int) -> wire.ClientMessage:
    return wire.JoinGroup(number, 1, "jobs", f"g{number}", 8)


def member(number: int) -> wire.ClientMessage:
    return wire.JoinGroup(number, number, "jobs", "g", 8)


def serves(number: int) -> wire.ClientMessage:
    return wire.Serve(number, number, "desk")


def calls(number: int) -> wire.ClientMessage:
    return wire.Call(number, "desk", msgspec.Raw(wire.encode_record(b"x")), 60_000)


def fetches(number: int) -> wire.ClientMessage:
    return wire.Fetch(number, ["**"], 0, 0)


def subscribes(number: int) -> wire.ClientMessage:
    return wire.Subscribe(number, [b"#den.%d\0" % each for each in range(number)])


CASES = [
    case("record_bytes_max", publish("den", bytes(300)), "too-large", PUBLISHED, record_bytes_max=200),
    case("publish_bytes_max", publish("den", bytes(300)), "too-large", PUBLISHED, publish_bytes_max=200),
    case("publish_records_max", publish("den", *[b"x"] * 5), "too-many-records", PUBLISHED, publish_records_max=4),
    case("in_flight_max", publish("den"), "busy", PUBLISHED),
    case("user_day_bytes_max", publish("den", bytes(100)), "over-limit", PUBLISHED, user_day_bytes_max=300),
    case("user_new_rooms_max", publish("new.{}"), "busy", PUBLISHED),
    case("address_makings_max", publish("new.{}"), "busy", PUBLISHED, address_makings_max=3),
    case("rooms_max", publish("new.{}"), "over-limit", PUBLISHED),
    case("session_rooms_max", joins, "too-many-rooms"),
    case("connection_joins_max", joins, "busy"),
    case("address_joins_max", joins, "busy"),
    case("user_memberships_max", joins, "over-limit"),
    case("address_memberships_max", joins, "over-limit"),
    case("memberships_max", joins, "over-limit"),
    case("user_cursors_max", lambda n: wire.SetCursor(n, f"c{n}", LOG, 0), "too-many-cursors"),
    case("cursors_max", lambda n: wire.SetCursor(n, f"c{n}", LOG, 0), "over-limit"),
    case("user_groups_max", group, "over-limit"),
    case("address_groups_max", group, "over-limit"),
    case("groups_max", group, "over-limit"),
    case("user_group_members_max", member, "over-limit"),
    case("address_group_members_max", member, "over-limit"),
    case("group_members_max", member, "over-limit"),
    case("user_scheduled_max", later, "over-limit"),
    case("user_scheduled_bytes_max", later, "over-limit", user_scheduled_bytes_max=100),
    case("address_scheduled_max", later, "over-limit"),
    case("address_scheduled_bytes_max", later, "over-limit", address_scheduled_bytes_max=100),
    case("scheduled_max", later, "over-limit"),
    case("scheduled_bytes_max", later, "over-limit", scheduled_bytes_max=100),
    case("user_servers_max", serves, "over-limit"),
    case("address_servers_max", serves, "over-limit"),
    case("servers_max", serves, "over-limit", servers_max=3),
    case("session_calls_max", calls, "busy"),
    case("user_calls_max", calls, "busy"),
    case("address_calls_max", calls, "busy"),
    case("calls_max", calls, "busy"),
    case("user_subscriptions_max", subscribes, "over-limit"),
    case("address_subscriptions_max", subscribes, "over-limit"),
    case("subscriptions_max", subscribes, "over-limit"),
    case("connection_reads_max", fetches, "busy"),
    case("reads_max", fetches, "busy"),
    case("connection_questions_max", lambda n: wire.Who(n, ""), "busy"),
]
OF_EACH = {"reads_max"}  # who has few takes the place of who has most


def is_of_all(limit: str) -> bool:
    """Whether it is met by all together, or by each message: then others may meet it as well."""
    whose = ("user_", "address_", "connection_", "session_", "in_flight_")
    return not limit.startswith(whose) and limit not in OF_EACH


class Limited(Cycle):
    """A broker of some limits, with a user who will be over them and one who will not."""

    def __init__(self, **settings: Any) -> None:
        log = MemoryLog()
        log.log_id = LOG
        super().__init__(log, Rules(), **settings)  # who has rules may subscribe to rooms

    def say(self, who: tuple[bytes, str], message: wire.ClientMessage) -> None:
        connection, address = who
        self.core.received(connection, wire.encode(message), self.now, address)

    def begin(self, case: Case) -> None:
        for who in (GOOD, OVER):
            self.say(who, wire.Hello(wire.VERSION, who[0].decode()))
        self.say(GOOD, publish("den")(1))
        if case.says is calls:
            self.say(GOOD, wire.Serve(1, 1, "desk", "", 100))
        self.commit()
        assert not [reply for _, reply in self.take_replies() if isinstance(reply, wire.Error)]

    def refusals(self, who: tuple[bytes, str]) -> list[wire.Error]:
        """What it was refused by what was said since."""
        replies = [(to, wire.decode_broker(frame)) for to, frame in self.core.take_replies()]
        return [reply for to, reply in replies if to == who[0] and isinstance(reply, wire.Error)]


@pytest.mark.parametrize("case", CASES, ids=[case.limit for case in CASES])
def test_who_is_over_a_limit_is_told_and_another_is_served(case: Case) -> None:
    cycle = Limited(**case.settings)
    cycle.begin(case)
    refused = list[wire.Error]()
    for number in range(1, SAID_MAX):
        cycle.say(OVER, case.says(number))
        if refused := cycle.refusals(OVER):
            break
    (error,) = refused
    assert (error.code, error.about, error.number) == (case.code, case.about, number)
    assert cycle.core.limits.counts == {case.limit: 1}
    assert cycle.core.limits.take(cycle.now.seconds) == [((case.limit, "over", OVER[1]), 1)]
    if not is_of_all(case.limit):
        cycle.say(GOOD, case.says(2))
        assert cycle.refusals(GOOD) == []
    cycle.say(GOOD, publish("den")(3))
    cycle.commit()
    replies = [(to, wire.decode_broker(frame)) for to, frame in cycle.core.take_replies()]
    acked = [seq for to, reply in replies if to == GOOD[0] and isinstance(reply, wire.Ack) for seq, _ in reply.pairs]
    assert 3 in acked


SESSIONS = [
    ("connection_sessions_max", "busy"),
    ("address_sessions_max", "busy"),
    ("sessions_max", "busy"),
    ("user_sessions_max", "busy"),
    ("address_makings_max", "busy"),
]


@pytest.mark.parametrize(("limit", "code"), SESSIONS)
def test_who_begins_too_many_sessions_is_told_and_cut_off(limit: str, code: str) -> None:
    cycle = Limited(**{limit: 2})
    user = "over" if limit.startswith("user") else "over{}"
    for number in range(1, 4):
        connection = b"c" if limit.startswith("connection") else b"c%d" % number
        cycle.say((connection, OVER[1]), wire.Hello(wire.VERSION, user.format(number)))
    (error,) = cycle.refusals((connection, OVER[1]))
    assert (error.code, error.about) == (code, "connection")
    assert cycle.core.limits.counts == {limit: 1} and cycle.core.take_cutoffs() == [connection]
    if limit != "sessions_max":
        cycle.say(GOOD, wire.Hello(wire.VERSION, "good"))
        assert cycle.refusals(GOOD) == []


@pytest.mark.parametrize(("limit", "code"), [("connection_channels_max", "over-limit")])
def test_who_has_too_many_channels_is_told_there_and_the_others_go_on(limit: str, code: str) -> None:
    cycle = Limited(**{limit: 2})
    cycle.say(OVER, wire.Hello(wire.VERSION, "gateway"))
    for number in (1, 2, 3):
        hello = msgspec.Raw(wire.encode(wire.Hello(wire.VERSION, f"guest-{number}")))
        cycle.say(OVER, wire.From(number, hello))
    said = [wire.decode_broker(frame) for _, frame in cycle.core.take_replies()]
    told = [reply for reply in said if isinstance(reply, wire.For)]
    (error,) = [wire.decode_broker(bytes(reply.message)) for reply in told if reply.channel == 3]
    assert isinstance(error, wire.Error) and error.code == code
    assert cycle.core.limits.counts == {limit: 1} and cycle.core.take_cutoffs() == []


@pytest.mark.parametrize("limit", ["listens_bytes_max", "address_listens_bytes_max"])
def test_what_is_told_of_too_many_listeners_is_not_kept_and_counted(limit: str) -> None:
    cycle = Limited(**{limit: 300})
    cycle.begin(CASES[0])
    cycle.say(OVER, wire.Report([(0, [f"hall.{number}" for number in range(9)])]))
    assert cycle.refusals(OVER) == [] and cycle.core.limits.counts == {limit: 1}


def test_a_log_that_has_too_much_is_counted_by_its_limit() -> None:
    cycle = Limited()
    cycle.begin(CASES[0])
    cycle.say(OVER, publish("den")(1))
    assert cycle.begin_commit() is not None
    cycle.append = None
    cycle.core.committed(LogError("log-full", "it has too much", limit="log_bytes_max"), cycle.now)
    (error,) = cycle.refusals(OVER)
    assert error.code == "log-full" and cycle.core.limits.counts == {"log_bytes_max": 1}


def test_each_limit_that_a_session_can_meet_is_here_or_named_where_it_is_tried() -> None:
    here = {case.limit for case in CASES} | {limit for limit, _ in SESSIONS}
    here |= {"connection_channels_max", "listens_bytes_max", "address_listens_bytes_max", "log_bytes_max"}
    elsewhere = {
        "window_bytes": "tests/core/test_checking.py",
        "group_runs_max": "tests/core/test_groups.py",
        "user_records_max": "tests/core/test_paces.py",
        "user_bytes_max": "tests/core/test_paces.py",
        "user_read_seconds_max": "tests/core/test_reads.py",
        "connection_subscriptions_max": "tests/sockets/test_topics.py",
        "connection_topic_bytes_max": "tests/sockets/test_topics.py",
        "topic_bytes_max": "tests/sockets/test_topics.py",
        "connection_unread_bytes_max": "tests/sockets/test_overload.py",
        "address_silent_max": "tests/sockets/test_greetings.py",
        "silent_max": "tests/sockets/test_greetings.py",
        "address_connections_max": "tests/sockets/test_arrivals.py",
        "address_failures_max": "tests/sockets/test_arrivals.py",
        "failures_max": "tests/sockets/test_arrivals.py",
        "memory_watch_bytes": "tests/sockets/test_overload.py",
    }
    remembers = {"page_bytes_max", "batch_bytes_max", "users_seen_max", "address_users_seen_max", "gone_sessions_max",
                 "address_gone_sessions_max"}  # fmt: skip
    limits = {each.name for each in fields(Settings) if each.name.endswith("_max")} | {"window_bytes"}
    rates = {name for name in limits if name.endswith("_a_second_max")}
    assert here | elsewhere.keys() | remembers == (limits | {"memory_watch_bytes"}) - rates
    for limit, file in elsewhere.items():
        assert Path(file).exists(), f"{limit} is not tried by {file}"
