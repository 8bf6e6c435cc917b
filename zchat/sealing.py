"""Seals what goes into a sealed room, and opens what comes out of it, with the keys of a ring.

Rules of this file
1. Where there is a key for a room, as of a second ago, nothing goes into it open: what cannot be sealed raises.
2. Opening raises nothing: what does not open is shown as that, and never as text.
3. Every client has this, and few are in sealed rooms: the ring is loaded where there is a folder for it, the format and
   the library of the cipher by the first record that needs them.

Spec: docs/protocol.md, "Sealed rooms". Tests: tests/test_sealing.py.
"""

from __future__ import annotations

import os
from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from zchat import profile, wire
from zchat.errors import UsageError, WireError
from zchat.names import room_name
from zchat.wire.records import SEALED_EVENT

if TYPE_CHECKING:
    from zchat.core.sealed import SealedBox
    from zchat.ring import KeyRing

INSTALL = "pip install 'zchat[sealed]'"
NO_KEY = "sealed message: no key for it here"
DOES_NOT_OPEN = "sealed message that does not open: it was changed, or is not of this room and user"
UNKNOWN = "sealed message that this version of zchat does not know"

FOLDER_LOOK_SECONDS = 1.0  # between two looks whether there is a folder for keys by now

_NONE: frozenset[str] = frozenset()


class Sealing:
    """What a client does with records of sealed rooms: `Seals` of sockets/link.py, with a ring and a cipher."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ring: KeyRing | None = None  # there was no folder so far,
        self._looked = -inf  # when it was looked for last
        self._by_id: dict[bytes, bytes] = {}  # keys that were looked for

    def rooms(self) -> frozenset[str]:
        """The rooms of which there is a key, as of a second ago: what goes there is sealed. Raises UsageError."""
        if self._ring is None:
            now = monotonic()
            if now - self._looked < FOLDER_LOOK_SECONDS:
                return _NONE
            self._looked = now
            if not os.path.isdir(self._folder):
                return _NONE
            from zchat.ring import KeyRing

            self._ring = KeyRing(self._folder)
        return self._ring.rooms()

    def is_sealed(self, room: str) -> bool:
        """Whether that is so of a room. Raises BadName, UsageError."""
        rooms = self.rooms()
        return bool(rooms) and room_name(room) in rooms

    def seal(self, room: str, user: str, record: wire.RecordOrBody, size: int) -> tuple[wire.RecordOrBody, int]:
        """A record as it goes to that room, and its size: sealed, or as it is. Raises BadName, UsageError."""
        rooms = self.rooms()
        if not rooms or (name := room_name(room)) not in rooms:
            return record, size
        assert self._ring is not None, "it has rooms"
        found = self._ring.of(name)
        if found is None:  # its owner has removed it at this moment
            return record, size
        from zchat.core import sealed

        encrypt, key = cipher().crypto_aead_xchacha20poly1305_ietf_encrypt, found.keys[-1].key
        nonce, outside = os.urandom(sealed.NONCE_BYTES), sealed.outside(record)
        box = encrypt(sealed.content_of(record), sealed.bound_to(name, user), nonce, key)
        made = sealed.sealed_record(sealed.SealedBox(sealed.key_id(key), nonce, box), outside)
        told = sum(len(name) + len(text.encode()) for name, text in outside.items())
        return made, len(made.body) + len(SEALED_EVENT) + told

    def body_bytes_max(self, room: str, most: int) -> int:
        """How large a body may be with little beside it, where a record may have so many bytes. Raises UsageError."""
        if not self.is_sealed(room):
            return most
        from zchat.core.sealed import content_bytes_max

        return content_bytes_max(most)

    def open(self, room: str, user: str, record: wire.Record) -> wire.Record | str:
        """A record with the event `sealed`, opened; or what is to be shown in its place."""
        from zchat.core import sealed

        parts = sealed.parts_of(record.body)
        if parts is None:
            return DOES_NOT_OPEN if record.body.startswith(sealed.VERSION) else UNKNOWN
        sealed_for, told = sealed.origin(room, record.headers)
        try:
            key = self._by_id.get(parts.key_id) or self._key(sealed_for, parts.key_id)
            if key is None:
                return NO_KEY
            content = _opened(parts, sealed.bound_to(sealed_for, user), key)
            found = None if content is None else sealed.record_in(content)
        except UsageError as error:
            return f"sealed message: {error}"
        except WireError:
            found = None
        if found is None:
            return DOES_NOT_OPEN
        return wire.Record(found.body, found.event, {**(found.headers or {}), **told}) if told else found

    def _key(self, room: str, wanted: bytes) -> bytes | None:
        from zchat.core.sealed import key_id

        self._looked = -inf  # somebody has a key: it may have come this moment
        found = self._ring.of(room) if self.rooms() and self._ring is not None else None
        for each in found.keys if found is not None else ():
            self._by_id[key_id(each.key)] = each.key
        return self._by_id.get(wanted)


def sealing(wanted: bool) -> Sealing | None:
    """With the ring beside the profile, if that is wanted."""
    folder = profile.ring_folder()
    return Sealing(folder) if wanted and folder is not None else None


def _opened(parts: SealedBox, bound: bytes, key: bytes) -> bytes | None:
    library = cipher()
    from nacl.exceptions import CryptoError

    try:
        return bytes(library.crypto_aead_xchacha20poly1305_ietf_decrypt(parts.box, bound, parts.nonce, key))
    except CryptoError:
        return None


def cipher() -> Any:
    """The library of the cipher, of the extra `sealed`. Raises UsageError where it is missing."""
    try:
        from nacl import bindings
    except ImportError:
        raise UsageError(f"sealed rooms need a library that is not installed: {INSTALL}") from None
    return bindings
