"""What a sealed record is made of, and what an invite to a sealed room says; the cipher itself is in sealing.py.

Rules of this file
1. A sealed record has the event `sealed`, no headers but how long it lives, and this body. Its own event, headers and
   body are in the box.

       version 1 (1 byte) | id of the key (16) | nonce (24) | box: XChaCha20-Poly1305 of the padded content

2. The box is bound to the room and to the user who sealed it: a record that was put into another room, or under
   another name, does not open. The room of a dead letter is the one that it comes from.
3. The content is the record as it would be sent open, one byte 0x80, and zeros up to a length of few: what the length
   tells is a part of some 3 to 12 % at most.

Spec: docs/protocol.md, "Sealed rooms". Tests: tests/core/test_sealed.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from zchat import expiry, wire
from zchat.errors import BadName, UsageError, WireError
from zchat.names import DEAD, room_name, user_key
from zchat.wire.records import SEALED_EVENT

VERSION = b"\x01"
KEY_BYTES = 32
KEY_ID_BYTES = 16
NONCE_BYTES = 24
TAG_BYTES = 16
HEAD_BYTES = len(VERSION) + KEY_ID_BYTES + NONCE_BYTES
PADDED_MIN = 64  # all short messages have one length
CONTENT_MORE_BYTES = 256  # for msgpack's own bytes around a body and its headers, and the end
LIFE_CHARACTERS_MAX = 32
KEYS_MAX = 256  # of a room
INVITE = "zchat-seal"
UNSEALED_EVENTS = ("", "join", "leave", SEALED_EVENT)  # that no box may hold: the broker alone writes joins and leaves

_END = b"\x80"  # of the content; zeros follow
_KEY = re.compile(r"(\d{1,11})\.([A-Za-z0-9_-]{43})", re.A)


class RoomKey(NamedTuple):
    """A key of a room."""

    made: int  # seconds since 1970; the youngest seals
    key: bytes


class SealedBox(NamedTuple):
    """The parts of a sealed body."""

    key_id: bytes
    nonce: bytes
    box: bytes


# --- records ------------------------------------------------------------------------------------


def key_id(key: bytes) -> bytes:
    """What a record calls the key that it was sealed with."""
    return hashlib.blake2b(key, digest_size=KEY_ID_BYTES, person=b"zchat room key").digest()


def bound_to(room: str, user: str) -> bytes:
    """What a box is bound to. Two spellings of a user's name are one user."""
    return f"zchat sealed 1\0{room}\0{user_key(user)}".encode()


def origin(room: str, headers: Mapping[str, str] | None) -> tuple[str, dict[str, str]]:
    """The room for which a record was sealed, and what a broker has added to it: a dead letter tells both."""
    told = {name: text for name, text in (headers or {}).items() if name.startswith("dead-")}
    came_from = told.get("dead-room", "")
    return (came_from, told) if came_from and room == came_from + DEAD else (room, {})


def content_of(record: wire.RecordOrBody) -> bytes:
    """What goes into the box."""
    content = wire.encode_record(record) + _END
    return content.ljust(padded_size(len(content)), b"\0")


def record_in(content: bytes) -> wire.Record:
    """What was in the box. Raises WireError: who sealed it had the key, and made something else of it."""
    whole = content.rstrip(b"\0")
    if not whole.endswith(_END):
        raise WireError("bad-frame", "a box without an end")
    found = wire.decode_record(wire.raw(whole[:-1]))
    record = wire.Record(found) if isinstance(found, bytes) else found
    if record.event in UNSEALED_EVENTS:
        raise WireError("bad-frame", f"a box with the event {record.event!r}")
    return record


def sealed_record(parts: SealedBox, outside: dict[str, str]) -> wire.Record:
    """The record that is sent."""
    return wire.Record(VERSION + parts.key_id + parts.nonce + parts.box, SEALED_EVENT, outside or None)


def outside(record: wire.RecordOrBody) -> dict[str, str]:
    """What of a record is told beside its box: how long it lives, as who has no key passes it over then, too."""
    headers = (None if isinstance(record, bytes) else record.headers) or {}
    return {expiry.HEADER: headers[expiry.HEADER][:LIFE_CHARACTERS_MAX]} if expiry.HEADER in headers else {}


def parts_of(body: bytes) -> SealedBox | None:
    """Those of a sealed body; None: it is none that this version knows."""
    if not body.startswith(VERSION) or len(body) < HEAD_BYTES + TAG_BYTES + PADDED_MIN:
        return None
    nonce_at = len(VERSION) + KEY_ID_BYTES
    return SealedBox(body[len(VERSION) : nonce_at], body[nonce_at:HEAD_BYTES], body[HEAD_BYTES:])


def padded_size(size: int) -> int:
    """Padmé: at most 12 % more, and of all sizes up to a bound so few that the logarithm of their logarithm counts."""
    if size <= PADDED_MIN:
        return PADDED_MIN
    exponent = size.bit_length() - 1
    step = 1 << (exponent - exponent.bit_length())
    return -(-size // step) * step


def content_bytes_max(record_bytes_max: int) -> int:
    """How large a record may be, so that sealed it is no larger than a broker takes."""
    room = record_bytes_max - HEAD_BYTES - TAG_BYTES - len(SEALED_EVENT) - len(expiry.HEADER) - LIFE_CHARACTERS_MAX
    exponent = room.bit_length() - 1
    step = 1 << (exponent - exponent.bit_length())
    return room // step * step - CONTENT_MORE_BYTES


# --- invites ------------------------------------------------------------------------------------


def invite_line(room: str, keys: list[RoomKey]) -> str:
    """One line that gives keys of a room to whoever has it."""
    head = f"{INVITE}:{room}:{','.join(map(key_text, keys))}"
    return f"{head}:{_sum(head)}"


def invited(line: str) -> tuple[str, list[RoomKey]]:
    """The room and the keys of such a line. Raises UsageError; the text never has a part of a key."""
    head, _, checksum = line.strip().rpartition(":")
    kind, _, rest = head.partition(":")
    name, _, keys = rest.rpartition(":")
    if kind != INVITE:
        raise UsageError(f"this is no invite to a sealed room: one begins with {INVITE}:")
    if checksum != _sum(head):
        raise UsageError("the invite is not whole: a part of the line is missing or was changed")
    try:
        room, found = room_name(name), [key_in(text) for text in keys.split(",")]
    except (BadName, ValueError):
        raise UsageError("the invite makes no sense to this version of zchat") from None
    return room, found[:KEYS_MAX]


def key_text(key: RoomKey) -> str:
    """A key as text."""
    return f"{key.made}.{base64.urlsafe_b64encode(key.key).decode().rstrip('=')}"


def key_in(text: str) -> RoomKey:
    """A key of such text. Raises ValueError."""
    found = _KEY.fullmatch(text)
    if found is None:
        raise ValueError("no key")
    try:
        key = base64.b64decode(found[2] + "=", altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("no key") from None
    return RoomKey(int(found[1]), key)


def merged(keys: list[RoomKey], more: list[RoomKey]) -> list[RoomKey]:
    """All of them once, the youngest last; of two that are as old both sides choose the same."""
    youngest_first = sorted({each.key: each for each in [*more, *keys]}.values(), reverse=True)
    return youngest_first[:KEYS_MAX][::-1]


def _sum(head: str) -> str:
    return hashlib.sha256(head.encode()).hexdigest()[:8]
