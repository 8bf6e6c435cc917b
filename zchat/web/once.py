"""Publishing under a key: what is sent again under the same key is stored once, and answered with the same offset.

Rules of this file
1. A key counts for a user and a room, for KEPT_SECONDS, and for the last `keys_max` of them.
2. It stands in the headers of the record. So a gateway that was started a moment ago finds what the one before it has
   published: it looks through the newest of the room, for as long as it does not know all keys itself. Into the inbox
   of another it cannot look.

Spec: docs/web.md, "Sending again". Tests: tests/web/test_socketio.py.
"""

from __future__ import annotations

import asyncio
import time
from typing import TypeAlias

from zchat import UsageError, ZchatError
from zchat.names import inbox, user_key
from zchat.web.core.events import Spoken
from zchat.web.core.resuming import KEY
from zchat.web.gateway import WebUser

KEPT_SECONDS = 600.0
LOOKED_THROUGH_MAX = 10_000  # messages of a room, for a key
KEY_CHARACTERS_MAX = 128

_PublishedKey: TypeAlias = tuple[str, str, str]


class PublishedKeys:
    """What was published under a key lately."""

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._began = time.monotonic()
        self._offsets: dict[_PublishedKey, tuple[float, asyncio.Task[int]]] = {}

    async def publish(self, user: WebUser, room: str, said: Spoken, key: str) -> int:
        """Publish, unless it was; the offset. Raises ZchatError."""
        if not key:
            return await user.client.publish(room, said.body, event=said.event, headers=said.headers or None)
        if len(key) > KEY_CHARACTERS_MAX:
            raise UsageError(f"a key has up to {KEY_CHARACTERS_MAX} characters")
        self._forget()
        known = (user_key(user.client.user), room, key)
        if known not in self._offsets:
            task = asyncio.create_task(self._publish(user, room, said, key))
            self._offsets[known] = time.monotonic(), task
        at, task = self._offsets[known]
        try:
            return await asyncio.shield(task)
        except ZchatError:
            if self._offsets.get(known) == (at, task):
                del self._offsets[known]
            raise

    # --- parts ------------------------------------------------------------------------------

    async def _publish(self, user: WebUser, room: str, said: Spoken, key: str) -> int:
        is_readable = not room.startswith("@") or room == inbox(user.client.user)
        if is_readable and time.monotonic() - self._began < KEPT_SECONDS:
            async for message in user.client.history(room, last=LOOKED_THROUGH_MAX):
                if message.headers.get(KEY) == key and user_key(message.user) == user_key(user.client.user):
                    return message.offset
        headers = said.headers | {KEY: key}
        return await user.client.publish(room, said.body, event=said.event, headers=headers)

    def _forget(self) -> None:
        """The oldest, which stand first."""
        now = time.monotonic()
        while self._offsets:
            first = next(iter(self._offsets))
            if now - self._offsets[first][0] < KEPT_SECONDS and len(self._offsets) < self._keys_max:
                return
            del self._offsets[first]
