"""A room, heard once for all who are in it: what comes is handed to each, and who comes back catches up.

    listen(room) ─► RoomFeed ─► hearers, each at the same offset
    history(room, after) ─► one that catches up ─► what it was held back meanwhile ─► the others

Rules of this file
1. Who attaches gets every record above its place, once and in order: the past is read up to where the feed is, and what
   comes meanwhile is held for it, up to a bound.
2. To hand on waits for nobody. Who is too slow is cut off by its own queue.
3. A feed ends with its last hearer; the next one begins it anew.

Tests: tests/web/test_feeds.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from zchat import Notice, ZchatError
from zchat.aio import Client, Subscription
from zchat.web.heard import HeardRecord

BREATH = 64  # messages of the past, then others have their turn
HANDED_MAX = 2_048  # to hearers, then others have theirs: what was handed on is written


class Hearer(Protocol):
    """Whoever hears rooms."""

    def hear(self, feed: RoomFeed, heard: HeardRecord) -> None:
        """The next message of the room. It returns at once."""

    def hear_notice(self, feed: RoomFeed, notice: Notice) -> None:
        """What happened to the room beside messages: a gap."""

    async def breathe(self) -> None:
        """Wait until what it was given is on its way."""

    def cut(self) -> None:
        """End it: it is too slow, or the gateway has no more of it."""


class RoomFeed:
    """One room. `open` it before anybody attaches."""

    def __init__(
        self,
        client: Client,
        room: str,
        held_max: int,
        over: Callable[[], None],
        broke: Callable[[RoomFeed], None],
    ) -> None:
        self.room = room
        self.position = 0  # the last offset that was handed on
        self._client = client  # whose listener it is
        self._held_max = held_max
        self._over, self._broke = over, broke
        self._hearers: dict[Hearer, None] = {}
        self._catching_up: dict[Hearer, deque[HeardRecord | Notice]] = {}
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Who hears it."""
        return len(self._hearers) + len(self._catching_up)

    async def open(self) -> None:
        """Begin to listen. Raises Refused, TimedOut, Closed."""
        subscription = self._client.listen(self.room, join=False, presence=True, on_notice=self._noticed)
        self._subscription = await subscription
        subscription.pending()  # tells from where it is live
        self._task = asyncio.create_task(self._hand_on(subscription))

    async def attach(self, hearer: Hearer, after: int | None = None) -> None:
        """Hear it from now on, or from above an offset on; returns when it has caught up. Raises ZchatError."""
        if after is None or after >= self.position:
            self._hearers[hearer] = None
            return
        held = self._catching_up[hearer] = deque()
        upto = self.position
        try:
            told: list[Notice] = []
            read = 0
            async for message in self._client.history(self.room, after=after, presence=True, on_notice=told.append):
                for notice in told:
                    hearer.hear_notice(self, notice)
                told.clear()
                if message.offset > upto:
                    break
                hearer.hear(self, HeardRecord(message))
                read += 1
                if read % BREATH == 0:
                    await hearer.breathe()
            while held and hearer in self._catching_up:
                self._hand(hearer, held.popleft())
        finally:
            was_there = self._catching_up.pop(hearer, None) is not None
        if was_there:
            self._hearers[hearer] = None

    def detach(self, hearer: Hearer) -> None:
        """Hear it no longer."""
        self._hearers.pop(hearer, None)
        self._catching_up.pop(hearer, None)
        self.close_if_unheard()

    def close_if_unheard(self) -> None:
        """It ends with the last who hears it."""
        if not len(self):
            self._over()

    def is_caught_up(self, hearer: Hearer) -> bool:
        """Whether all that was handed on has gone to this one."""
        return hearer in self._hearers

    async def close(self) -> None:
        """Listen no longer."""
        if self._task is not None:
            self._task.cancel()
        if self._subscription is not None:
            try:
                await self._subscription.close()
            except ZchatError:
                pass  # the client has ended

    async def offset_before(self, after: int | None, last: int | None, since: str | None) -> int | None:
        """Above which offset the `last` messages are, or those `since` a time; None: nothing is there yet.

        Raises UsageError, Refused.
        """
        if last is None and since is None:
            return after
        async for message in self._client.history(self.room, last=last, since=since, limit=1):
            return message.offset - 1
        return None

    # --- parts ------------------------------------------------------------------------------

    async def _hand_on(self, subscription: Subscription) -> None:
        handed = 0
        try:
            async for message in subscription:
                if message.offset:
                    self.position = message.offset
                heard = HeardRecord(message)
                for hearer in list(self._hearers) if self._hearers else ():
                    hearer.hear(self, heard)
                for hearer, held in list(self._catching_up.items()):
                    self._hold(hearer, held, heard)
                handed += len(self)
                if handed >= HANDED_MAX:
                    handed = 0
                    await asyncio.sleep(0)
        except ZchatError:
            pass  # it has ended: those who hear it come again
        self._broke(self)
        for hearer in [*self._hearers, *self._catching_up]:
            hearer.cut()

    def _noticed(self, notice: Notice) -> None:
        if notice.kind == "live":
            self.position = max(self.position, notice.offset)
            return
        if notice.kind != "gap":
            return
        if notice.reason == "log":  # another one, or an older copy: offsets begin anew
            self.position = max(0, notice.offset - 1) if notice.last else 0
        else:
            self.position = max(self.position, notice.last)
        for hearer in list(self._hearers):
            hearer.hear_notice(self, notice)
        for hearer, held in list(self._catching_up.items()):
            self._hold(hearer, held, notice)

    def _hold(self, hearer: Hearer, held: deque[HeardRecord | Notice], item: HeardRecord | Notice) -> None:
        if len(held) == self._held_max:
            hearer.cut()
        else:
            held.append(item)

    def _hand(self, hearer: Hearer, item: HeardRecord | Notice) -> None:
        if isinstance(item, HeardRecord):
            hearer.hear(self, item)
        else:
            hearer.hear_notice(self, item)
