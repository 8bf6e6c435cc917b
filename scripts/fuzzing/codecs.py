"""All that makes sense of bytes and text from others: what it cannot read it refuses in its own way, and no other.

Rule of this file: besides, what was read and is written again reads the same, and what is shown moves no cursor.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

import msgspec

from fuzzing import messages
from zchat import address, config, keys, names, wire
from zchat.errors import ZchatError
from zchat.printable import printable
from zchat.tcp.spoken import understood
from zchat.tcp.telnet import Telnet
from zchat.tcp.typed import TypedChunks, TypedLines
from zchat.web.core import events, lines, resuming


def _file(text: str) -> None:
    """A broker's."""
    try:
        config.parse(text)
    except (tomllib.TOMLDecodeError, RecursionError):  # of what is no TOML: config.ConfigFile tells it
        pass


WHOLE: tuple[Callable[[bytes], Any], ...] = (
    wire.decode_client,
    wire.decode_broker,
    wire.decode_broadcast,
    wire.decode_batch,
)
PARTS: tuple[Callable[[Any], Any], ...] = (
    wire.decode_raw_batch,
    wire.decode_head,
    wire.decode_records,
    wire.decode_bodies,
    wire.split_records,
    wire.count_of,
    wire.check_records,
    wire.about,
    wire.channel_of,
    wire.number_of,
    wire.mended,
    understood,
)
NAMES: tuple[Callable[[str], Any], ...] = (names.room_name, names.pattern_name, names.user_name, names.cursor_name)
TEXTS: tuple[Callable[[str], Any], ...] = (
    address.parse,
    address.parse_bind,
    address.parse_listen,
    address.parse_published,
    resuming.places_of,
    _file,
    keys.parse_invitation,
    lambda text: keys.parse_grants(text, "authorized_keys"),
    lambda text: keys.parse_pair(text, "server.key"),
)


def seeds() -> list[bytes]:
    """Inputs to begin with."""
    texts = (
        "general",
        "build.*",
        "@alice",
        "tcp://[::1]:5555",
        "/join ops",
        "ＡＢＣ",
        "\x1b[2J\u202e",
        '["a",{"x":1}]',
        'default = "closed"\n[groups]\na = ["b"]\n[rooms."a.*"]\nread = ["group:a", "*"]\n[limits]\nrooms_max = 5',
        f"{'0a' * 32} alice gateway=web.* expires=2026-12-31T12:00:00Z revoked",
        f"zchat://host:5555?user=alice&invite={'0a' * 32}&server={'0b' * 32}",
        f"public {'0a' * 32}\nsecret {'0b' * 32}\n",
    )
    return [*messages.frames(), *(text.encode() for text in texts), b"\xff\xfd\x01hi\r\n/who\n"]


def give(data: bytes) -> None:
    """Raises when one of them does what it must not."""
    for decode in WHOLE:
        try:
            message = decode(data)
        except ZchatError:
            continue
        again = wire.encode(message)
        assert wire.encode(decode(again)) == again, f"{decode.__name__}: it reads as another"
    for read in PARTS:
        try:
            read(data)
        except ZchatError:
            pass
    _typed(data)
    text = data.decode("utf-8", "replace")
    shown = printable(text, newlines=True)
    assert all(part.isprintable() or part in "\t\n" or part.isspace() or ord(part) > 0x9F for part in shown), shown
    assert printable(printable(text)) == printable(text), "what was shown is shown the same"
    for name in NAMES:
        try:
            canonical = name(text)
        except ZchatError:
            continue
        assert name(canonical) == canonical, f"{name.__name__}: its canonical form is none"
    for parse in TEXTS:
        try:
            parse(text)
        except ZchatError:
            pass
    _events(text, data)


def mutated(data: bytes, size_max: int, draw: Any, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """Another input made of one."""
    if draw.random() < 0.5:
        try:
            value = msgspec.msgpack.decode(data)
        except (ValueError, RecursionError):
            return mutate(data, size_max)
        return messages.written(messages.changed(value, draw))[:size_max]
    return mutate(data, size_max)


def _typed(data: bytes) -> None:
    """What a visitor types, in two pieces."""
    for typed in (TypedLines(), TypedChunks()):
        telnet = Telnet()
        for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
            typed.add(telnet.take(piece)[0])
        typed.end()
        while typed.take() is not None:
            pass


def _events(text: str, data: bytes) -> None:
    """What clients of the page and of Socket.IO say."""
    for headers in ({"args": "json"}, {"args": "binary", "parts": text[:20]}, {}):
        events.arguments("message", data, headers)
    lines.written({"text": text})
    try:
        events.spoken(text[:20], [text, data, {"text": text}])
    except ZchatError:
        pass
