"""What a broker with keys tells its operator of who came, was refused, and what changed: a line each, for programs too.

    audit event=connected user=alice key=0f3a… address=10.0.0.7

Rules of this file
1. A line is one line: values that are no plain words are JSON strings, so nobody writes a second one, or a field.
2. It has no secrets: of a key the beginning of its public half.
3. Strangers fill no disk: of each kind of event there are so many at once and so many a second, and then a count.
   Of one user, or of one address where none is named, there are fewer: so nobody hides another one behind himself.

Docs: docs/operating.md, "Who came and went". Tests: tests/core/test_audit.py.
"""

from __future__ import annotations

import re

from zchat.core import Instant
from zchat.core.allowances import Allowance
from zchat.printable import printable

AT_ONCE = 60.0  # lines of one kind of event,
A_SECOND = 2.0  # and from then on
EACH_AT_ONCE, EACH_A_SECOND = 20.0, 0.5  # of one user
VALUE_CHARACTERS_MAX = 200

_PLAIN = re.compile(r"[\w@.:/,+*…-]+", re.ASCII)


class Audit:
    """Lines that wait to be told."""

    def __init__(self, *, is_on: bool = True) -> None:
        """Where it is not on, nothing is noted: on an open broker everybody takes any name."""
        self._is_on = is_on
        self._lines: list[str] = []
        self._lines_of = Allowance[str](AT_ONCE, A_SECOND)  # by event,
        self._lines_of_each = Allowance[tuple[str, str]](EACH_AT_ONCE, EACH_A_SECOND)  # and by who makes them
        self._untold: dict[str, int] = {}

    def note(self, event: str, now: Instant, **fields: str) -> None:
        """Something happened."""
        if not self._is_on:
            return
        each = event, fields.get("user") or fields.get("address", "")
        if not (self._lines_of.has(event, 1, now) and self._lines_of_each.take(each, 1, now)):
            self._untold[event] = self._untold.get(event, 0) + 1
            return
        self._lines_of.take(event, 1, now)
        if untold := self._untold.pop(event, 0):
            fields["others"] = str(untold)
        self._lines.append(line_of_event(event, fields))

    def take(self) -> list[str]:
        """What is to be told now."""
        lines, self._lines = self._lines, []
        return lines


def line_of_event(event: str, fields: dict[str, str]) -> str:
    """The line. What is empty is left out."""
    told = [f"{name}={_value(value)}" for name, value in fields.items() if value]
    return " ".join(["audit", f"event={event}", *told])


def _value(value: str) -> str:
    if len(value) > VALUE_CHARACTERS_MAX:
        value = value[:VALUE_CHARACTERS_MAX] + "…"
    if _PLAIN.fullmatch(value):
        return value
    shown = printable(value).replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return f'"{shown}"'
