"""Makes the test vectors that stand beside it: frames in hexadecimal, what they mean, what has to be answered.

    .venv/bin/python -m tests.vectors.make

Rules of this file: everything is made by the code that ships, so that a test can compare; a client in any language
needs nothing but JSON to read it. Bytes are `{"bin": "hexadecimal"}`, the rest is as JSON has it.

Spec: docs/protocol.md, "Test vectors". Tests: tests/test_vectors.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.test_wire import BROADCAST_EXAMPLES, BROKER_EXAMPLES, CLIENT_EXAMPLES
from zchat import names, wire
from zchat.address import Published
from zchat.core import Instant
from zchat.core.broker import BrokerCore
from zchat.core.log import facts_of
from zchat.errors import BadName
from zchat.log.memory import MemoryLog
from zchat.settings import Settings

FOLDER = Path(__file__).parent
NOW = Instant(1_000.0, 1_790_000_000_000_000)
GREETING = wire.encode(wire.Hello(wire.VERSION, "alice"))

FOR = 45

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode

# What a broker refuses: what is wrong, the frame, whether HELLO was said before it.
REFUSED: list[tuple[str, bytes, bool]] = [
    ("no msgpack", b"\xc1garbage", True),
    ("nothing", b"", True),
    ("no array", encode({"kind": 2}), True),
    ("a byte behind the message", encode([9, 1]) + b"\0", True),
    ("a kind that no client sends", encode([34, []]), True),
    ("a kind of a later version", encode([31, 7, "later"]), True),
    ("a version that is not spoken", encode([1, 2, "alice"]), False),
    ("a version that is not spoken, in another form", encode([1, 9, {"name": "alice"}]), False),
    ("a user's name that is none", encode([1, 1, "no name"]), False),
    ("a number as text", encode([2, "1", "general", 0, [b"hi"]]), True),
    ("a PUBLISH without records", encode([2, 1, "general", 0]), True),
    ("a PUBLISH with no record", encode([2, 1, "general", 0, []]), True),
    ("a PUBLISH whose flags are text", encode([2, 1, "general", "none", [b"hi"]]), True),
    ("a PUBLISH that is cut", encode([2, 1, "general", 0, [b"hi"]])[:-1], True),
    ("a record that is text", encode([2, 1, "general", 0, ["hi"]]), True),
    ("a record with the broker's event", encode([2, 1, "general", 0, [[b"", "join"]]]), True),
    ("a seq of 0", encode([2, 0, "general", 0, [b"hi"]]), True),
    ("a room that is not canonical", encode([2, 1, "General", 0, [b"hi"]]), True),
    ("a pattern in place of a room", encode([3, 7, ["build.*"]]), True),
    ("another user's inbox", encode([5, 7, ["@bob"], 0, 0]), True),
    ("no patterns", encode([7, 7, []]), True),
    ("a request that does not decode", encode([8, 7, "general", 7]), True),
    ("a cursor's name that is none", encode([13, 7, "a/b", "log", 0]), True),
    ("a cursor of another log", encode([13, 7, "reader", "log", 0]), True),
    ("a group of a pattern", encode([16, 7, 1, "jobs.*", "workers", 8]), True),
    ("a group of an inbox", encode([16, 7, 1, "@alice", "workers", 8]), True),
    ("a group's name that is none", encode([16, 7, 1, "jobs", "a/b", 8]), True),
    ("a group with too many records in flight", encode([16, 7, 1, "jobs", "workers", 65_537]), True),
    ("a group that begins above the head", encode([19, 7, "jobs", "workers", 9]), True),
    ("a message for later without an id", encode([23, 7, "", "ops", [b"x"], 1]), True),
    ("two messages for later at once", encode([23, 7, "5f3a", "ops", [b"x", b"y"], 1]), True),
    ("a message for later for a room that is none", encode([23, 7, "5f3a", "Ops", [b"x"], 1]), True),
    ("a join for later", encode([23, 7, "5f3a", "ops", [[b"", "join"]], 1]), True),
    ("a FROM without a channel", encode([15]), True),
    ("a FROM on channel 0", encode([15, 0, [9, 1]]), True),
    ("a FROM whose channel is too high", encode([15, 1 << 32, [9, 1]]), True),
    ("a FROM on a channel, around bytes that are none of msgpack", encode([15, 3, None])[:-1] + b"\xc1", True),
    ("a FROM on a channel, around what is no message", encode([15, 3, "text"]), True),
    ("a FROM on a channel, around a request that does not decode", encode([15, 3, [8, 7, "general", 7]]), True),
    ("a HELLO on a channel, of a user whose name is none", encode([15, 3, [1, 1, "no name"]]), True),
    ("a HELLO on a channel, of a version that is not spoken", encode([15, 3, [1, 2, "alice"]]), True),
]

NAMES: dict[str, tuple[Callable[[str], str], list[str]]] = {
    "room": (
        names.room_name,
        [
            *("general", "General", "build.main", "a", "会议", "ＡＢＣ", "straße", "ﬀ", "café", "cafe\u0301", "@alice"),
            *("", ".", "a.", "a..b", "a b", "a/b", "*", "x²", "\u0301a", "a\u200b", "a" * 128, "a" * 129),
        ],
    ),
    "pattern": (names.pattern_name, ["general", "*", "**", "build.*", "build.**", "*.main", "**.main", "b*", "@Alice"]),
    "user": (names.user_name, ["alice", "Alice", "bot.7", "a.b.", "李明", "..", "a b", "", "a" * 64, "a" * 65, "@a"]),
    "cursor": (names.cursor_name, ["laptop", "Laptop", "bot.7", "a/b", ""]),
}


def messages() -> list[dict[str, Any]]:
    """Each message as the code writes it, and with an element of a later version; all elements that it has."""
    made = []
    parts = (("client", CLIENT_EXAMPLES), ("broker", BROKER_EXAMPLES), ("broker, on the SUB", BROADCAST_EXAMPLES))
    for sender, examples in parts:
        for message in examples:
            frame = wire.encode(message)
            later = encode([*decode(frame), "of a later version"])
            for what, each in (("", frame), ("with an element of a later version", later)):
                name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(message).__name__).upper()
                made.append({"name": name, "from": sender, "what": what, "frame": each.hex(), "means": shown(message)})
    return made


def refusals() -> list[dict[str, Any]]:
    """What each frame is answered with: [35, about, number, code] and a text."""
    made = []
    for what, frame, is_greeted in REFUSED:
        settings = Settings()
        facts = facts_of(MemoryLog(), settings.users_seen_max)
        core = BrokerCore(settings, facts, iter(("session",)), Published(5556), NOW)
        if is_greeted:
            core.received(b"alice", GREETING, NOW)
            core.take_replies()
        core.received(b"alice", frame, NOW)
        while core.answer(frozenset()):
            pass
        ((_, answer),) = core.take_replies()
        before = [GREETING.hex()] if is_greeted else []
        told = decode(answer)
        told = [*told[:2], told[2][:4]] if told[0] == FOR else told[:4]
        made.append({"what": what, "before": before, "frame": frame.hex(), "answer": told})
    return made


def canonical_names() -> list[dict[str, Any]]:
    """Names, their canonical forms and topics; null where one is not allowed."""
    made = []
    for kind, (canonical, examples) in NAMES.items():
        for given in examples:
            try:
                name: str | None = canonical(given)
            except BadName:
                name = None
            row = {"kind": kind, "name": given, "canonical": name}
            if kind in ("room", "pattern"):
                row["topic"] = None if name is None else names.topic_prefix(name).hex()
            made.append(row)
    return made


def files() -> dict[str, str]:
    """The text of each file."""
    made = {"messages.json": messages(), "refusals.json": refusals(), "names.json": canonical_names()}
    rows = {name: ",\n".join(json.dumps(row, ensure_ascii=False) for row in of) for name, of in made.items()}
    return {name: f"[\n{text}\n]\n" for name, text in rows.items()}


def shown(message: Any) -> Any:
    """Its elements, those that may be missing too, with bytes as JSON can have them."""
    return _json(msgspec.to_builtins(message, builtin_types=(bytes, msgspec.Raw)))


def _json(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return _json(decode(value))
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    if isinstance(value, dict):
        return {key: _json(each) for key, each in value.items()}
    return value


def main() -> None:
    """Write them."""
    for name, text in files().items():
        (FOLDER / name).write_text(text)
        print(f"{FOLDER / name}: {text.count(chr(10)) - 2}")


if __name__ == "__main__":
    main()
