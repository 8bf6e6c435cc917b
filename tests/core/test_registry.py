"""The registry: its table of states, then whatever is done to it, compared with a model that only counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.core.presence import who
from zchat.core import Instant
from zchat.core.channels import Endpoint
from zchat.core.log import SeenRow, SessionRow
from zchat.core.registry import Registry
from zchat.core.session import FORGOTTEN, GONE, LIVE, LOST, OUTCOMES_MAX, PENDING, TRANSITIONS, Session
from zchat.names import user_key
from zchat.settings import Settings

GRACE, KEPT, RESTART_GRACE = 3.0, 100.0, 10.0
BEGIN = 1_700_000_000_000_000


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, BEGIN + round(seconds * 1e6))


SETTINGS = Settings(
    grace_seconds=GRACE, restart_grace_seconds=RESTART_GRACE, session_kept_seconds=KEPT, users_seen_max=100
)


def registry_of(**limits: Any) -> Registry:
    return Registry(b"secret", replace(SETTINGS, **limits))


def begun(registry: Registry, session: str = "s1", user: str = "alice", seconds: float = 0.0) -> Session:
    return registry.begin(session, user, f"connection of {session}".encode(), "127.0.0.1", at(seconds))


def store(session: Session) -> None:
    """A publish of it goes to the log."""
    session.accept(session.last_seq + 1)
    session.has_stored = True


# --- states -------------------------------------------------------------------------------------


def in_state(registry: Registry, state: str) -> Session:
    session = begun(registry)
    store(session)
    if state in (LOST, GONE):
        registry.left(session.connection, at(0))
    if state == GONE:
        registry.expired(at(GRACE))
    if state == FORGOTTEN:
        registry.bye(session, at(0))
    assert session.state == state
    return session


EVENTS: dict[str, Callable[[Registry, Session], object]] = {
    "disconnected": lambda registry, session: registry.left(session.connection, at(1)),
    "resumed": lambda registry, session: registry.resume(session, b"another connection", "", at(1)),
    "grace over": lambda registry, session: registry.expired(at(GRACE)),
    "kept over": lambda registry, session: registry.expired(at(GRACE + KEPT)),
    "bye": lambda registry, session: registry.bye(session, at(1)),
}


@pytest.mark.parametrize(("state", "event"), [(state, event) for state in TRANSITIONS for event in TRANSITIONS[state]])
def test_an_event_leads_to_the_state_of_the_table(state: str, event: str) -> None:
    registry = registry_of()
    session = in_state(registry, state)
    EVENTS[event](registry, session)
    assert session.state == TRANSITIONS[state][event]


@pytest.mark.parametrize(
    ("state", "event"),
    [(LIVE, "grace over"), (LIVE, "kept over"), (LOST, "disconnected"), (GONE, "disconnected"), (GONE, "grace over")]
    + [(FORGOTTEN, event) for event in ("disconnected", "grace over", "kept over")],
)
def test_an_event_that_is_not_in_the_table_changes_nothing(state: str, event: str) -> None:
    registry = registry_of()
    session = in_state(registry, state)
    before = who(registry, ""), registry.connections(), registry.next_deadline()
    EVENTS[event](registry, session)
    assert session.state == state
    assert (who(registry, ""), registry.connections(), registry.next_deadline()) == before


def test_a_forgotten_session_is_found_no_more() -> None:
    registry = registry_of()
    session = in_state(registry, FORGOTTEN)
    assert registry.find(session.id) is None
    assert registry.of(session.connection) is None


# --- connections --------------------------------------------------------------------------------


def test_a_session_that_resumed_is_no_longer_heard_on_its_former_connection() -> None:
    registry = registry_of()
    session = begun(registry)
    former = session.connection
    assert registry.resume(session, b"new", "127.0.0.2", at(1))
    assert registry.of(former) is None
    assert registry.of(b"new") is session
    assert registry.connections() == [b"new"]
    assert session.address == "127.0.0.2"


def test_the_end_of_a_former_connection_loses_nothing() -> None:
    registry = registry_of()
    session = begun(registry)
    former = session.connection
    registry.resume(session, b"new", "", at(1))
    assert registry.left(former, at(2)) is None
    assert session.state == LIVE
    assert registry.next_deadline() is None


def test_a_session_that_resumes_on_its_own_connection_goes_on() -> None:
    registry = registry_of()
    session = begun(registry)
    assert registry.resume(session, session.connection, "", at(1))
    assert registry.of(session.connection) is session


def test_a_connection_that_ends_gives_the_session_that_is_lost_by_it() -> None:
    registry = registry_of()
    session = begun(registry)
    connection = session.connection
    assert registry.left(connection, at(1)) is session
    assert registry.left(connection, at(2)) is None
    assert registry.left(b"nobody", at(2)) is None
    assert registry.next_deadline() == at(1 + GRACE).seconds


def test_a_session_that_resumes_in_its_grace_time_has_no_deadline() -> None:
    registry = registry_of()
    session = begun(registry)
    registry.join(session, "general", True, at(0))
    registry.left(session.connection, at(1))
    assert registry.resume(session, b"new", "", at(2))
    assert registry.next_deadline() is None
    assert registry.expired(at(1 + GRACE)) == []
    assert session.rooms == {"general": at(0).micros}


def test_a_session_that_was_gone_comes_back_into_no_room_and_since_now() -> None:
    registry = registry_of()
    session = begun(registry)
    session.accept(7)
    registry.left(session.connection, at(0))
    registry.expired(at(GRACE))
    assert not registry.resume(session, b"new", "", at(9))
    assert (session.last_seq, session.since) == (7, at(9).micros)


# --- time ---------------------------------------------------------------------------------------


def test_the_grace_time_ends_neither_early_nor_late() -> None:
    registry = registry_of()
    session = begun(registry)
    registry.join(session, "general", True, at(0))
    registry.left(session.connection, at(0))
    assert registry.expired(at(GRACE - 0.001)) == []
    assert registry.expired(at(GRACE)) == [session]
    assert session.state == GONE
    assert "general" in session.rooms  # until the caller, who writes the leave, parts it


def test_who_is_lost_again_has_a_whole_grace_time_again() -> None:
    registry = registry_of()
    session = begun(registry)
    registry.left(session.connection, at(0))
    registry.resume(session, b"new", "", at(2))
    registry.left(b"new", at(2))
    assert registry.expired(at(GRACE)) == []
    assert registry.expired(at(2 + GRACE)) == [session]


def test_a_session_is_gone_before_it_is_forgotten_also_when_both_are_due_at_once() -> None:
    registry = registry_of(session_kept_seconds=0.0)
    session = begun(registry)
    registry.join(session, "general", True, at(0))
    registry.left(session.connection, at(0))
    assert registry.expired(at(GRACE)) == [session]
    assert session.state == GONE  # so the caller parts it
    registry.part(session, "general")
    assert registry.expired(at(GRACE)) == [session]
    assert session.state == FORGOTTEN


def test_sessions_expire_in_the_order_of_their_deadlines() -> None:
    registry = registry_of()
    sessions = [begun(registry, f"s{number}") for number in range(3)]
    for seconds, session in zip((3, 1, 2), sessions, strict=True):
        registry.left(session.connection, at(seconds))
    assert registry.expired(at(60)) == [sessions[1], sessions[2], sessions[0]]


# --- tokens -------------------------------------------------------------------------------------


def test_a_token_fits_its_session_and_user_only() -> None:
    registry = registry_of()
    token = registry.token(begun(registry, "s1", "Alice"))
    assert registry.token_fits("s1", "alice", token)  # the same user
    assert not registry.token_fits("s2", "alice", token)
    assert not registry.token_fits("s1", "bob", token)
    assert not registry.token_fits("s1", "alice", token[:-1])
    assert not registry.token_fits("s1", "alice", b"")


def test_a_token_holds_over_a_restart_and_not_for_another_log() -> None:
    registry = registry_of()
    token = registry.token(begun(registry))
    assert registry_of().token_fits("s1", "alice", token)
    other = Registry(b"of another log", SETTINGS)
    assert not other.token_fits("s1", "alice", token)


# --- publishes ----------------------------------------------------------------------------------


def test_the_outcome_of_a_publish_is_pending_until_it_is_settled() -> None:
    session = begun(registry_of())
    session.accept(1)
    assert (session.last_seq, session.outcomes) == (1, {1: PENDING})
    session.settle(1, 41)
    assert session.outcomes == {1: 41}


def test_only_the_latest_outcomes_are_remembered() -> None:
    session = begun(registry_of())
    for seq in range(1, OUTCOMES_MAX + 3):
        session.accept(seq)
    assert len(session.outcomes) == OUTCOMES_MAX
    assert 2 not in session.outcomes and 3 in session.outcomes
    session.settle(2, 41)
    assert 2 not in session.outcomes


# --- rooms and who ------------------------------------------------------------------------------


def test_only_a_join_that_was_written_has_a_leave() -> None:
    registry = registry_of()
    session = begun(registry)
    registry.join(session, "general", True, at(0))
    registry.join(session, "crowd", False, at(0))
    assert session.row().rooms == {"general": at(0).micros}
    assert registry.part(session, "general") and not registry.part(session, "general")
    assert not registry.part(session, "crowd")
    assert not registry.part(session, "never joined")
    assert session.rooms == {} and list(registry.rooms()) == []


def test_who_tells_of_each_member_since_when_and_where() -> None:
    registry = registry_of()
    alice, bob = begun(registry, "s1", "alice"), begun(registry, "s2", "bob", 1)
    registry.join(alice, "general", True, at(2))
    registry.join(alice, "build", False, at(3))
    registry.join(bob, "general", True, at(4))
    registry.left(bob.connection, at(5))
    told = [(member.user, member.state, member.since, member.seen, member.rooms) for member in who(registry, "general")]
    assert told == [
        ("alice", LIVE, at(2).micros, at(0).micros, ["build", "general"]),
        ("bob", LOST, at(4).micros, at(5).micros, ["general"]),
    ]
    assert [(member.session, member.since) for member in who(registry, "")] == [
        ("s1", at(0).micros),
        ("s2", at(1).micros),
    ]
    assert who(registry, "nowhere") == []
    assert (registry.members("general"), registry.members("build"), registry.members("nowhere")) == (2, 1, 0)


def test_a_user_is_present_while_any_session_is() -> None:
    registry = registry_of()
    one, other = begun(registry, "s1", "Alice"), begun(registry, "s2", "alice")
    store(other)
    registry.bye(one, at(1))
    assert [member.state for member in who(registry, "")] == [LIVE]
    registry.bye(other, at(2))
    (gone,) = who(registry, "")
    assert (gone.user, gone.session, gone.state, gone.seen) == ("alice", "", GONE, at(2).micros)


def test_a_user_who_comes_back_is_no_longer_told_as_gone() -> None:
    registry = registry_of()
    registry.bye(begun(registry), at(1))
    begun(registry, "s2")
    assert [(member.session, member.state) for member in who(registry, "")] == [("s2", LIVE)]


def test_users_who_have_gone_are_remembered_up_to_a_number_the_latest_ones() -> None:
    registry = registry_of(users_seen_max=2)
    for seconds, user in enumerate(["a", "b", "a", "c"]):
        session = begun(registry, f"s{seconds}", user)
        registry.join(session, "general", True, at(seconds))
        registry.part(session, "general")
        registry.bye(session, at(seconds))
    assert [(member.user, member.seen) for member in who(registry, "")] == [("a", at(2).micros), ("c", at(3).micros)]


def test_one_that_never_stored_anything_is_forgotten_as_soon_as_it_is_gone() -> None:
    registry = registry_of()
    silent, speaker = begun(registry, "s1"), begun(registry, "s2")
    silent.accept(1)  # and was refused
    store(speaker)
    for session in (silent, speaker):
        registry.left(session.connection, at(0))
    assert registry.expired(at(GRACE)) == [silent, speaker]
    assert (silent.state, speaker.state) == (GONE, GONE)
    assert registry.expired(at(GRACE)) == [silent]
    assert (silent.state, speaker.state) == (FORGOTTEN, GONE)
    assert registry.find("s1") is None


# --- after a restart ----------------------------------------------------------------------------


def test_members_found_in_the_log_are_lost_for_the_longer_grace_time() -> None:
    registry = registry_of()
    registry.restore([SessionRow("s1", "alice", 7, 5, {"general": 4})], [], at(0))
    session = registry.find("s1")
    assert session is not None and (session.state, session.last_seq) == (LOST, 7)
    assert registry.members("general") == 1
    assert registry.next_deadline() == at(RESTART_GRACE).seconds
    assert registry.resume(session, b"new", "", at(1))
    assert registry.part(session, "general")  # its join is in the log


def test_a_session_found_in_no_room_is_gone_and_its_publishes_are_known() -> None:
    registry = registry_of()
    registry.restore([SessionRow("s1", "alice", 7, 5, {})], [], at(0))
    session = registry.find("s1")
    assert session is not None and (session.state, session.last_seq) == (GONE, 7)
    assert not registry.resume(session, b"new", "", at(1))


@pytest.mark.parametrize(("seen", "waits"), [(0, KEPT), (-60, KEPT - 60), (-2 * KEPT, RESTART_GRACE), (+60, KEPT)])
def test_a_session_that_is_gone_is_forgotten_as_if_there_had_been_no_restart(seen: float, waits: float) -> None:
    registry = registry_of()
    registry.restore([SessionRow("s1", "alice", 7, at(seen).micros, {})], [], at(0))
    assert registry.next_deadline() == pytest.approx(at(waits).seconds)


def test_who_was_cut_off_by_the_restart_is_told_with_when_it_was_seen() -> None:
    registry = registry_of()
    rows = [SessionRow("s1", "alice", 7, 5, {}), SessionRow("s2", "bob", 1, 6, {"general": 4})]
    registry.restore(rows, [SeenRow("alice", 3), SeenRow("carol", 2)], at(0))
    told = {(member.user, member.state): member.seen for member in who(registry, "")}
    assert told == {("bob", LOST): 6, ("alice", GONE): 5, ("carol", GONE): 2}


def test_the_users_seen_last_before_the_restart_are_remembered_longest() -> None:
    registry = registry_of(users_seen_max=2)
    registry.restore([], [SeenRow("latest", 9), SeenRow("earlier", 8)], at(0))  # latest first, as a log gives them
    alice = begun(registry, "s1", "alice")
    store(alice)
    registry.bye(alice, at(1))
    assert {member.user for member in who(registry, "")} == {"latest", "alice"}


# --- whatever is done to it ---------------------------------------------------------------------

USERS = ["alice", "Alice", "bob", "carol", "dave"]
ROOMS = ["general", "build", "@alice"]
ADDRESSES = ["10.0.0.1", "10.0.0.2", ""]
SMALL = replace(SETTINGS, gone_sessions_max=4, address_gone_sessions_max=2, users_seen_max=3, address_users_seen_max=2)


class Kept:
    """Names in order, and whose they are: the model of what is bounded in all and for each address."""

    def __init__(self, names_max: int, address_names_max: int) -> None:
        self.names_max, self.address_names_max = names_max, address_names_max
        self.names: list[tuple[str, str | None]] = []

    def put(self, name: str, address: str | None) -> list[str]:
        self.drop(name)
        self.names.append((name, address))
        own = [each for each in self.names if each[1] == address]
        gone = own[:1] if address is not None and len(own) > self.address_names_max else []
        left = [each for each in self.names if each not in gone]
        gone += left[: max(0, len(left) - self.names_max)]
        self.names = [each for each in self.names if each not in gone]
        return [each[0] for each in gone]

    def drop(self, name: str) -> None:
        self.names = [each for each in self.names if each[0] != name]


class ModelSession:
    """What the model knows of a session."""

    def __init__(self, session: Session, address: str) -> None:
        self.session = session
        self.address = address
        self.state = LIVE
        self.deadline: float | None = None
        self.has_stored = self.has_joined = False
        self.rooms: dict[str, bool] = {}  # room -> whether its join was written


class AnyRegistry(RuleBasedStateMachine):
    """Hello, resume, loss, join, part, bye, time and restarts in any order; little is kept of who has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(b"secret", SMALL)
        self.gone = Kept(SMALL.gone_sessions_max, SMALL.address_gone_sessions_max)
        self.seen = Kept(SMALL.users_seen_max, SMALL.address_users_seen_max)
        self.forgotten = -1  # when the youngest of those that were forgotten early was heard last
        self.seconds = 0.0
        self.numbers = count(1)
        self.models: dict[str, ModelSession] = {}
        self.joins: Counter[tuple[str, str]] = Counter()  # (room, session) -> records written
        self.leaves: Counter[tuple[str, str]] = Counter()
        self.former: list[Endpoint] = []

    @property
    def now(self) -> Instant:
        return at(self.seconds)

    def pick(self, data: st.DataObject, *states: str) -> ModelSession | None:
        models = [model for model in self.models.values() if model.state in states]
        return data.draw(st.sampled_from(models)) if models else None

    def leave_all(self, model: ModelSession) -> None:
        for room in list(model.session.rooms):
            self.leave(model, room)

    def leave(self, model: ModelSession, room: str) -> None:
        written = self.registry.part(model.session, room)
        assert written == model.rooms.pop(room, False)
        if written:
            self.leaves[room, model.session.id] += 1

    def went(self, model: ModelSession) -> None:
        if model.has_stored or model.has_joined:
            self.seen.put(user_key(model.session.user), model.address)

    def forget_early(self, sessions: list[str]) -> None:
        for name in sessions:
            self.forgotten = max(self.forgotten, self.models.pop(name).session.seen)

    @rule(user=st.sampled_from(USERS), address=st.sampled_from(ADDRESSES))
    def hello(self, user: str, address: str) -> None:
        number = next(self.numbers)
        session = self.registry.begin(f"s{number}", user, f"c{number}".encode(), address, self.now)
        self.models[session.id] = ModelSession(session, address)

    @rule(data=st.data(), address=st.sampled_from(ADDRESSES))
    def resume(self, data: st.DataObject, address: str) -> None:
        model = self.pick(data, LIVE, LOST, GONE)
        if model is None:
            return
        self.former.append(model.session.connection)
        kept = self.registry.resume(model.session, f"c{next(self.numbers)}".encode(), address, self.now)
        assert kept == (model.state != GONE)
        self.gone.drop(model.session.id)
        model.state, model.deadline, model.address = LIVE, None, address

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        model = self.pick(data, LIVE)
        if model is not None:
            connection = model.session.connection
            assert self.registry.left(connection, self.now) is model.session
            self.former.append(connection)
            model.state, model.deadline = LOST, self.now.seconds + GRACE

    @precondition(lambda self: self.former)
    @rule(data=st.data())
    def end_a_former_connection(self, data: st.DataObject) -> None:
        assert self.registry.left(data.draw(st.sampled_from(self.former)), self.now) is None

    @rule(data=st.data(), is_refused=st.booleans())
    def publish(self, data: st.DataObject, is_refused: bool) -> None:
        model = self.pick(data, LIVE)
        if model is not None and is_refused:
            model.session.accept(model.session.last_seq + 1)
        elif model is not None:
            store(model.session)
            model.has_stored = True

    @rule(data=st.data(), room=st.sampled_from(ROOMS), written=st.booleans())
    def join(self, data: st.DataObject, room: str, written: bool) -> None:
        model = self.pick(data, LIVE)
        if model is None or room in model.rooms:
            return
        self.registry.join(model.session, room, written, self.now)
        model.rooms[room] = written
        model.has_joined = True
        self.joins[room, model.session.id] += written

    @rule(data=st.data(), room=st.sampled_from(ROOMS))
    def part(self, data: st.DataObject, room: str) -> None:
        model = self.pick(data, LIVE, LOST, GONE)
        if model is not None:
            self.leave(model, room)

    @rule(data=st.data())
    def bye(self, data: st.DataObject) -> None:
        model = self.pick(data, LIVE, LOST, GONE)
        if model is not None:
            self.leave_all(model)
            self.registry.bye(model.session, self.now)
            if model.state != GONE:
                self.went(model)
            self.gone.drop(model.session.id)
            del self.models[model.session.id]

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, GRACE, KEPT, 2 * KEPT]))
    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        due = {model.session.id for model in self.models.values() if (model.deadline or 1e9) <= self.now.seconds}
        over = self.registry.expired(self.now)
        assert {session.id for session in over} == due and len(over) == len(due)
        for session in sorted(over, key=lambda session: session.state != FORGOTTEN):
            model = self.models[session.id]
            if model.state == GONE:
                assert session.state == FORGOTTEN
                self.gone.drop(session.id)
                del self.models[session.id]
        early: list[str] = []
        for session in over:
            if session.state != FORGOTTEN:
                model = self.models[session.id]
                model.state = GONE
                model.deadline = self.now.seconds + (KEPT if model.has_stored else 0)
                self.went(model)
                self.leave_all(model)
                early += self.gone.put(session.id, model.address) if model.has_stored else []
        assert [session.id for session in self.registry.surplus(self.now)] == early
        self.forget_early(early)

    @rule()
    def restart(self) -> None:
        """Rows come in no order; those without a publish that was stored and without a room are none."""
        rows = [model.session.row() for model in self.models.values() if model.has_stored or any(model.rooms.values())]
        rows += [self.registry.forgotten.row()] if self.forgotten >= 0 else []
        seen = [SeenRow(member.user, member.seen) for member in who(self.registry, "") if member.state == GONE]
        self.former += self.registry.connections()
        self.registry = Registry(b"secret", SMALL)
        ended = self.registry.restore(rows, seen, self.now)
        self.models = {
            row.session: self.models[row.session] for row in sorted(rows, key=lambda row: row.seen) if row.user
        }
        self.gone = Kept(SMALL.gone_sessions_max, SMALL.address_gone_sessions_max)
        early: list[str] = []
        for model in list(self.models.values()):
            model.rooms = {room: True for room, written in model.rooms.items() if written}
            if not model.rooms:
                early += self.gone.put(model.session.id, None)
        assert ended == early
        self.forget_early(early)
        for model in self.models.values():
            session = self.registry.find(model.session.id)
            assert session is not None
            model.session, model.address = session, ""
            model.has_stored, model.has_joined = bool(session.last_seq), bool(model.rooms)
            model.state = LOST if model.rooms else GONE
            kept = KEPT - (self.now.micros - session.seen) / 1e6
            model.deadline = self.now.seconds + (RESTART_GRACE if model.rooms else max(RESTART_GRACE, kept))
        self.seen = Kept(SMALL.users_seen_max, SMALL.address_users_seen_max)
        cut_off = [(row.user, row.seen) for row in rows if row.user and not row.rooms]
        for user, _ in sorted([*seen, *cut_off], key=lambda each: each[1]):
            self.seen.put(user_key(user), None)

    @invariant()
    def no_more_is_kept_of_who_has_gone_than_the_limits(self) -> None:
        stored = [model for model in self.models.values() if model.state == GONE and model.deadline != self.now.seconds]
        assert len(stored) <= SMALL.gone_sessions_max
        assert len(who(self.registry, "")) <= len(self.models) + SMALL.users_seen_max

    @invariant()
    def what_a_session_sent_that_was_forgotten_early_is_older_than_what_is_told(self) -> None:
        told = self.registry.kept_seconds(self.now)
        assert told == (KEPT if self.forgotten < 0 else min(KEPT, (self.now.micros - self.forgotten) / 1e6))

    @invariant()
    def each_written_join_has_one_leave_and_only_members_have_none_yet(self) -> None:
        open_joins = {key for key, joins in self.joins.items() if joins != self.leaves[key]}
        for key in open_joins:
            assert self.joins[key] == self.leaves[key] + 1
        assert open_joins == {
            (room, model.session.id)
            for model in self.models.values()
            for room, written in model.rooms.items()
            if written
        }

    @invariant()
    def members_are_what_the_joins_and_leaves_add_up_to(self) -> None:
        for room in ROOMS:
            members = {model.session.id for model in self.models.values() if room in model.rooms}
            assert {member.session for member in who(self.registry, room)} == members
            assert self.registry.members(room) == len(members)
            assert (room in self.registry.rooms()) == bool(members)

    @invariant()
    def each_session_is_in_the_state_of_the_model_and_heard_on_one_connection(self) -> None:
        live = {model.session.connection: model.session for model in self.models.values() if model.state == LIVE}
        assert set(self.registry.connections()) == live.keys()
        for connection, session in live.items():
            assert self.registry.of(connection) is session
        for model in self.models.values():
            assert self.registry.find(model.session.id) is model.session
            assert model.session.state == model.state
            assert bool(model.session.connection) == (model.state == LIVE)

    @invariant()
    def the_next_deadline_is_the_earliest(self) -> None:
        deadlines = [model.deadline for model in self.models.values() if model.deadline is not None]
        assert self.registry.next_deadline() == min(deadlines, default=None)

    @invariant()
    def who_tells_of_all_who_are_here_and_of_users_who_have_gone(self) -> None:
        told = who(self.registry, "")
        here = {model.session.id: model.state for model in self.models.values() if model.state in (LIVE, LOST)}
        assert {member.session: member.state for member in told if member.session} == here
        present = {user_key(model.session.user) for model in self.models.values() if model.state in (LIVE, LOST)}
        gone = [user_key(member.user) for member in told if not member.session]
        assert not present & set(gone) and len(gone) == len(set(gone))
        assert set(gone) == {name for name, _ in self.seen.names} - present

    def teardown(self) -> None:
        """In the end everybody is forgotten, and each join has its leave."""
        for model in list(self.models.values()):
            if model.state == LIVE:
                self.registry.left(model.session.connection, self.now)
                model.state, model.deadline = LOST, self.now.seconds + GRACE
        self.wait(RESTART_GRACE)
        self.wait(KEPT)
        assert not self.models and self.joins == self.leaves
        assert self.registry.next_deadline() is None and list(self.registry.rooms()) == []
        assert all(member.state == GONE for member in who(self.registry, ""))


AnyRegistry.TestCase.settings = settings(deadline=None, max_examples=100, stateful_step_count=40)
TestAnyRegistry = pytest.mark.slow(AnyRegistry.TestCase)
