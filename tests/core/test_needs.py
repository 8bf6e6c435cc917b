"""Needs: each kind of message has a row, and without its right nobody gets past it."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from tests.core.cycle import Cycle, refused
from zchat import wire
from zchat.core.needs import NEEDS, check, check_patterns
from zchat.core.rights import ADMIN, HISTORY, PRESENCE, READ, VERBS, WRITE, Rights, RoomRule, Rules
from zchat.errors import BadName, WireError

RECORD = wire.raw(wire.encode_record(b"x"))
ONE = wire.raw(wire.encode_records([b"x"]))
NAMED: dict[type, tuple[str, Any]] = {
    wire.Publish: (WRITE, wire.Publish(1, "ops", 0, ONE)),
    wire.Join: (READ, wire.Join(7, ["general", "ops"])),
    wire.Fetch: (READ, wire.Fetch(7, ["ops"], 0)),
    wire.Seek: (HISTORY, wire.Seek(7, ["ops"], 3)),
    wire.Heads: (READ, wire.Heads(7, ["general", "ops"])),
    wire.Who: (PRESENCE, wire.Who(7, "ops")),
    wire.JoinGroup: (HISTORY, wire.JoinGroup(7, 1, "ops", "g", 8)),
    wire.Groups: (READ, wire.Groups(7, "ops")),
    wire.SetGroup: (ADMIN, wire.SetGroup(7, "ops", "g", 0)),
    wire.Latest: (HISTORY, wire.Latest(7, ["ops"], 0, 0, 1)),
    wire.Purge: (ADMIN, wire.Purge(7, "ops")),
    wire.Schedule: (WRITE, wire.Schedule(7, "one", "ops", ONE, 0, 5)),
    wire.Search: (HISTORY, wire.Search(7, "x", ["ops"], 1)),
    wire.Call: (WRITE, wire.Call(7, "ops", RECORD, 1_000)),
    wire.Serve: (READ, wire.Serve(7, 1, "ops")),
}
NEEDS_NOTHING = {
    *(wire.Hello, wire.Part, wire.Rooms, wire.Report, wire.Bye, wire.Cursors, wire.SetCursor, wire.DropCursor),
    *(wire.From, wire.Settle, wire.Cancel, wire.Scheduled, wire.Subscribe, wire.Reply, wire.Enroll),
}


def only(verb: str, user: str) -> Rules:
    """Nobody may do anything in ops, but that user that; who reads what was before, reads."""
    has = {verb, READ} if verb == HISTORY else {verb}
    return Rules(True, (RoomRule("ops", {each: (user,) if each in has else () for each in VERBS}),))


def test_each_kind_of_message_has_a_row_here_and_there() -> None:
    kinds = set(get_args(wire.ClientMessage))
    assert NEEDS.keys() == kinds == NAMED.keys() | NEEDS_NOTHING, "a new kind: who may say it?"
    assert {kind for kind, need in NEEDS.items() if need is None} == NEEDS_NOTHING


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
def test_who_has_the_right_and_no_other_may_say_it_and_who_has_all_others_may_not(kind: type) -> None:
    verb, message = NAMED[kind]
    check(Rights(only(verb, "bob")), "bob", message)
    rest = Rules(True, (RoomRule("ops", {each: () if each == verb else ("*",) for each in VERBS}),))
    for rules in (only(verb, "ann"), rest):
        with pytest.raises(WireError, match=r"bob may not .* ops") as error:
            check(Rights(rules), "bob", message)
        assert error.value.code == "denied"
    check(Rights(), "bob", message)


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
def test_a_broker_refuses_it_and_nothing_changes(kind: type) -> None:
    cycle = Cycle(rules=only(NAMED[kind][0], "ann"))
    ann, bob = cycle.clients("ann", "bob")
    if kind is wire.Publish:
        cycle.send(bob, NAMED[kind][1])
        assert cycle.take_errors() == [(bob, "publish", 1, "denied")] and cycle.begin_commit() is None
    else:
        refused(cycle, bob, NAMED[kind][1], "denied")
    cycle.send(ann, NAMED[kind][1])
    cycle.commit()
    assert [answer for _, answer in cycle.take_replies() if isinstance(answer, wire.Error)] == [
        *([wire.Error("request", 7, "no-server", "nobody serves there")] if kind is wire.Call else [])
    ]


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
def test_another_users_inbox_is_for_writing(kind: type) -> None:
    verb, message = NAMED[kind]
    inbox = wire.decode_client(wire.encode(message))
    if hasattr(inbox, "room"):
        inbox.room = "@ann"
    elif hasattr(inbox, "patterns"):
        inbox.patterns = ["@ann"]
    else:
        inbox.rooms = ["@ann"]  # type: ignore[union-attr]
    check(Rights(), "ann", inbox)
    if verb == WRITE:
        check(Rights(Rules(is_open=False)), "bob", inbox)
    else:
        with pytest.raises(WireError, match="bob may not"):
            check(Rights(), "bob", inbox)


@pytest.mark.parametrize("has", range(1 << len(VERBS)))
def test_each_mix_of_rights_allows_what_its_rights_say(has: int) -> None:
    verbs = {verb for number, verb in enumerate(VERBS) if has >> number & 1}
    rights = Rights(Rules(True, (RoomRule("ops", {verb: ("bob",) if verb in verbs else () for verb in VERBS}),)))
    effective = verbs if READ in verbs else verbs - {HISTORY}  # who may not listen reads nothing of before either
    for verb, message in NAMED.values():
        try:
            check(rights, "bob", message)
        except WireError as error:
            assert error.code == "denied" and verb not in effective, message
        else:
            assert verb in effective, message


def test_patterns_are_not_refused_and_names_have_to_be_canonical() -> None:
    rights = Rights(only(READ, "ann"))
    check(rights, "bob", wire.Heads(1, ["**", "ops.*"]))
    with pytest.raises(BadName):
        check(rights, "bob", wire.Heads(1, ["@Ann"]))
    for patterns in ([], ["a"] * 1_025):
        with pytest.raises(WireError, match="names, limit"):
            check_patterns(patterns)
    with pytest.raises(BadName):
        check_patterns(["ok", "Not"])
