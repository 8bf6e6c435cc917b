"""`--format`: a line for each message by a template.

    {room} {user}: {body}       fields in braces; two braces are one; \\n \\t \\r \\0 and \\\\ are escapes

Tests: tests/cli/test_output.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zchat.cli.output import KnownLog, escaped, place, rfc3339
from zchat.errors import UsageError
from zchat.printable import printable

if TYPE_CHECKING:
    from zchat.cli.output import Format

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}
OF_OTHERS = {
    **{"%t": "room", "%p": "body", "%s": "body", "%o": "offset", "%k": "user", "%h": "headers", "%P": "headers"},
    **{"%T": "time", "%U": "time", "%I": "time", "%j": "body", "%l": "body"},
}
"""What mosquitto_sub -F and kcat -f write."""

_TEMPLATE = re.compile(
    r"\\(?P<escape>.)|(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<text>[^\\{}]+)|(?P<wrong>.)", re.S
)

FIELDS: dict[str, Callable[[Any], str]] = {
    "room": lambda message: _in_a_column(message.room),
    "offset": lambda message: str(message.offset),
    "user": lambda message: _in_a_column(message.user),
    "time": lambda message: rfc3339(message.time),
    "event": lambda message: _in_a_column(message.event),
    "body": lambda message: _in_a_column(message.body.decode("utf-8", "surrogateescape")),
    "headers": lambda message: escaped(json.dumps(dict(message.headers), ensure_ascii=False)),
    "sealed": lambda message: "sealed" if message.sealed else "open",
}
"""What a template can name. Nothing else of a message is reached: a template is no program."""


def _in_a_column(text: str) -> str:
    """Printable, without the tabs that a template puts between fields, and so that it can be told what it was: a
    backslash is two, and a byte that is no UTF-8 is `\\udcXX`, which no text has."""
    return printable(text.replace("\\", "\\\\")).replace("\t", "\\t")


def by_template(template: str, log: KnownLog) -> Format:
    """A format from text with `{field}`s; `{{` and `}}` are braces, `\\n \\t \\r \\0 \\\\` escapes."""
    parts: list[Callable[[Any], str]] = []
    has_field = False
    for found in _TEMPLATE.finditer(template):
        if (field := found["field"]) is not None:
            has_field = True
            if field == "place":
                parts.append(lambda message: printable(place(message.offset, log.id) or "-"))
                continue
            if field not in FIELDS:
                raise UsageError(f'--format: no field "{{{field}}}"; there are {_fields()}')
            parts.append(FIELDS[field])
        elif found["wrong"] is not None:
            raise UsageError(
                f'--format: "{found["wrong"]}" at {found.start() + 1} stands alone; double a brace to print it'
            )
        else:
            escape = found["escape"]
            text = ESCAPES.get(escape, f"\\{escape}") if escape else (found["text"] or found["brace"][0])
            parts.append(lambda _, text=text: text)  # type: ignore[misc]
    if not has_field:
        here = re.sub("%.", lambda found: f"{{{OF_OTHERS[found[0]]}}}" if found[0] in OF_OTHERS else found[0], template)
        meant = f"; here it is '{here}'" if here != template else ""
        raise UsageError(f'--format: "{template}" has no field; there are {_fields()}{meant}')
    # Bytes of the template that are no UTF-8 go as they are.
    return lambda message: "".join([part(message) for part in parts]).encode("utf-8", "surrogateescape")


def _fields() -> str:
    return ", ".join(f"{{{name}}}" for name in [*FIELDS, "place"])
