"""Lines for the operator: nobody forges one, and nobody fills a disk with them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from zchat.core import Instant
from zchat.core.audit import AT_ONCE, EACH_AT_ONCE, Audit, line_of_event
from zchat.printable import printable


def test_a_line_has_its_fields_and_leaves_out_what_is_empty() -> None:
    audit = Audit()
    audit.note("connected", Instant(0.0, 0), user="alice", key="", address="10.0.0.7")
    assert audit.take() == ["audit event=connected user=alice address=10.0.0.7"] and audit.take() == []


@given(st.text(min_size=1))
def test_a_value_is_one_value_whatever_is_in_it(value: str) -> None:
    line = line_of_event("refused", {"user": value, "code": "x"})
    assert printable(line) == line and len(line.splitlines()) == 1
    assert line.startswith("audit event=refused user=") and line.endswith(" code=x")
    told = line.removeprefix("audit event=refused user=").removesuffix(" code=x")
    if told.startswith('"'):
        assert isinstance(json.loads(told), str)
    else:
        assert " " not in told and "=" not in told and '"' not in told


def test_a_flood_is_counted_and_not_told() -> None:
    audit = Audit()
    for number in range(1000):
        audit.note("refused", Instant(0.0, 0), key="k", address=f"10.0.0.{number % 100}")
    audit.note("connected", Instant(0.0, 0), user="alice")
    lines = audit.take()
    assert len(lines) == AT_ONCE + 1, "of each kind so many; others do not suffer"
    audit.note("refused", Instant(1.0, 0), key="k")
    assert audit.take() == ["audit event=refused key=k others=940"]


def test_nobody_hides_another_one_behind_a_flood_of_his_own() -> None:
    audit = Audit()
    for _ in range(1000):
        audit.note("joined", Instant(0.0, 0), user="eve", room="den")
    audit.note("joined", Instant(0.0, 0), user="mallory", room="ops")
    lines = audit.take()
    assert len(lines) == EACH_AT_ONCE + 1 and lines[-1] == "audit event=joined user=mallory room=ops others=980"
    audit.note("joined", Instant(1.0, 0), user="eve", room="den")
    audit.note("joined", Instant(2.0, 0), user="eve", room="den")
    assert audit.take() == ["audit event=joined user=eve room=den others=1"], "one in two seconds"
    audit.note("joined", Instant(2.0, -(10**15)), user="eve", room="den")  # the clock was set back
    assert audit.take() == []
    audit.note("joined", Instant(4.0, -(10**15)), user="eve", room="den")
    assert len(audit.take()) == 1


def test_an_open_broker_has_none() -> None:
    audit = Audit(is_on=False)
    audit.note("joined", Instant(0.0, 0), user="anybody")
    assert audit.take() == []
