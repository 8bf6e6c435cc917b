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

from zchat.printable import printable

AT_ONCE = 60.0  # lines of one kind of event,
A_SECOND = 2.0  # and from then on
EACH_AT_ONCE, EACH_A_SECOND = 20.0, 0.5  # of one user
EACH_MAX = 10_000  # that are remembered
VALUE_CHARACTERS_MAX = 200

_PLAIN = re.compile(r"[\w@.:/,+*…-]+", re.ASCII)


class Audit:
    """Lines that wait to be told."""

    def __init__(self, *, is_on: bool = True) -> None:
        """Where it is not on, nothing is noted: on an open broker everybody takes any name."""
        self._is_on = is_on
        self._lines: list[str] = []
        self._left: dict[str, tuple[float, float]] = {}  # event -> how many may be told, as of when
        self._left_of: dict[tuple[str, str], tuple[float, float]] = {}  # the same of each who has made some
        self._untold: dict[str, int] = {}

    def note(self, event: str, seconds: float, **fields: str) -> None:
        """Something happened."""
        if not self._is_on:
            return
        if len(self._left_of) >= EACH_MAX:
            self._left_of.clear()
        each = event, fields.get("user") or fields.get("address", "")
        left_of = _left(self._left_of.get(each), EACH_AT_ONCE, EACH_A_SECOND, seconds)
        left = _left(self._left.get(event), AT_ONCE, A_SECOND, seconds)
        is_told = left >= 1.0 and left_of >= 1.0
        self._left[event], self._left_of[each] = (left - is_told, seconds), (left_of - is_told, seconds)
        if not is_told:
            self._untold[event] = self._untold.get(event, 0) + 1
            return
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


def _left(before: tuple[float, float] | None, at_once: float, a_second: float, seconds: float) -> float:
    if before is None:
        return at_once
    left, since = before
    return min(at_once, left + a_second * max(0.0, seconds - since))


def _value(value: str) -> str:
    if len(value) > VALUE_CHARACTERS_MAX:
        value = value[:VALUE_CHARACTERS_MAX] + "…"
    if _PLAIN.fullmatch(value):
        return value
    shown = printable(value).replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return f'"{shown}"'
