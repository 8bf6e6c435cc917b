"""The gateway's way to the broker: one connection, a session for each user, a feed for each room that is heard.

Rules of this file
1. A user has one session, however many windows are open; a room is joined while one of them is in it. A window that is
   lost, and back within LINGER_SECONDS, has not left: a reload of a page writes neither a leave nor a join.
2. What the broker's connection can have is bounded here: rooms that are heard.
3. It is made of public calls of `zchat.aio`, in the event loop that it was started in.

Tests: tests/web/test_feeds.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextlib import suppress
from functools import partial
from weakref import WeakValueDictionary

import zchat.aio
from zchat import Refused, ZchatError
from zchat.names import inbox, user_key
from zchat.profile import meant
from zchat.web.core.bounds import WebLimits
from zchat.web.feeds import RoomFeed

FeedKey = tuple[str, str]  # a room, and whose session hears it; empty: the gateway's own
GATEWAY_USER = "web"  # whose session the connection is; it is in no room
LINGER_SECONDS = 2.0
IDLE_SECONDS = 30.0  # the session of one who only publishes


class WebUser:
    """A user who is here, on a session."""

    def __init__(self, client: zchat.aio.Client) -> None:
        self.client = client
        self.holds = 0  # windows, requests
        self._joined: dict[str, int] = {}  # room -> windows in it

    async def join(self, room: str) -> None:
        """One more window is in the room. Raises ZchatError."""
        self._joined[room] = self._joined.get(room, 0) + 1
        try:
            if self._joined[room] == 1:
                await self.client.join(room)
        except (ZchatError, asyncio.CancelledError):
            self._drop(room)
            raise

    async def leave(self, room: str) -> None:
        """One less."""
        if self._drop(room):
            with suppress(ZchatError):
                await self.client.leave(room)

    def _drop(self, room: str) -> bool:
        left = self._joined.get(room, 0) - 1
        if left < 0:
            return False
        self._joined[room] = left
        if not left:
            del self._joined[room]
        return not left


class WebGateway:
    """One connection to the broker. `start` it in the loop that serves."""

    def __init__(self, broker: str | None, limits: WebLimits, wait: float, *, by_user: bool = False) -> None:
        """`by_user`: each user hears rooms by a session of his own, as the broker says what he may read."""
        self.limits = limits
        self._by_user = by_user
        self._broker = broker
        self._wait = wait
        self._client: zchat.aio.Client | None = None
        self._starting = asyncio.Lock()
        self._users: dict[str, asyncio.Task[WebUser]] = {}
        self._feeds: dict[FeedKey, asyncio.Task[RoomFeed]] = {}
        self._heard: Counter[str] = Counter()  # rooms, and how many feeds of each
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def start(self) -> zchat.aio.Client:
        """The connection; made when it is first needed, and again when it has ended. Raises ZchatError."""
        async with self._starting:
            if self._client is None:
                has_key = meant(self._broker, None).credentials is not None  # whose user it is then
                user = None if has_key else GATEWAY_USER
                self._client = await zchat.aio.connect(self._broker, user, wait=self._wait, seals=False)
            return self._client

    async def close(self) -> None:
        """All users leave."""
        client, self._client = self._client, None
        for feed in self._feeds.values():
            feed.cancel()
        for task in self._tasks:
            task.cancel()
        if client is not None:
            await client.close()

    @property
    def client(self) -> zchat.aio.Client:
        """The connection, once it was made."""
        assert self._client is not None, "started"
        return self._client

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there."""
        return self._client is not None and self._client.is_connected

    @property
    def users(self) -> int:
        """Who is here."""
        return len(self._users)

    @property
    def rooms(self) -> int:
        """What is heard."""
        return len(self._heard)

    # --- users ------------------------------------------------------------------------------

    async def user(self, name: str) -> WebUser:
        """Somebody's session, held until it is released as often. Raises ZchatError."""
        await self.start()
        key = user_key(name)
        task = self._users.get(key)
        if task is None:
            task = self._users[key] = asyncio.create_task(self._begin(name))
        try:
            user = await asyncio.shield(task)
        except ZchatError:
            if self._users.get(key) is task:
                del self._users[key]
            raise
        except asyncio.CancelledError:
            task.add_done_callback(self._let_go)
            raise
        user.holds += 1
        return user

    def _let_go(self, task: asyncio.Task[WebUser]) -> None:
        """Its session has begun, and perhaps nobody wants it any more."""
        if not task.cancelled() and task.exception() is None:
            user = task.result()
            user.holds += 1
            self.release(user)

    def release(self, user: WebUser, rooms: Iterable[str] = (), after: float = 0.0) -> None:
        """A moment later, have it leave these rooms and hold it no longer. Who is held by nobody has gone."""

        async def over() -> None:
            await asyncio.sleep(after)
            for room in rooms:
                await user.leave(room)
            user.holds -= 1
            key = user_key(user.client.user)
            task = self._users.get(key)
            if not user.holds and task is not None and task.done() and task.result() is user:
                del self._users[key]
                with suppress(ZchatError):
                    await user.client.close()

        self.later(over())

    def later(self, work: Awaitable[None]) -> None:
        """Have it done; nobody waits for it."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def turn(self, of: Hashable) -> asyncio.Lock:
        """Held while a client comes into a room or goes, so that what it asks for is done in its order."""
        return self._turns.setdefault(of, asyncio.Lock())

    async def _begin(self, name: str) -> WebUser:
        return WebUser(await self.client.session(name, wait=self._wait))

    # --- rooms ------------------------------------------------------------------------------

    async def feed(self, room: str, user: WebUser | None = None) -> RoomFeed:
        """A room, heard. An inbox is heard by its user alone. Raises ZchatError."""
        if room.startswith("@") and (user is None or room != inbox(user.client.user)):
            raise Refused("denied", "an inbox is read by its user alone")
        is_own = user is not None and (self._by_user or room.startswith("@"))
        client = user.client if user is not None and is_own else await self.start()
        key = room, user_key(client.user) if is_own else ""
        while True:
            task = self._feeds.get(key)
            if task is None:
                if len(self._heard) >= self.limits.rooms_max and room not in self._heard:
                    raise Refused("over-limit", f"the gateway hears {len(self._heard)} rooms, which is its limit")
                task = self._feeds[key] = asyncio.create_task(self._open(client, key))
                self._heard[room] += 1
            try:
                feed = await asyncio.shield(task)
            except ZchatError:
                if self._feeds.get(key) is task:
                    self._drop(key)
                raise
            except asyncio.CancelledError:
                task.add_done_callback(self._close_if_unheard)
                raise
            if self._feeds.get(key) is task:  # else it ended meanwhile, with its last hearer
                return feed

    def _close_if_unheard(self, task: asyncio.Task[RoomFeed]) -> None:
        """It is open, and perhaps nobody wants to hear it any more."""
        if not task.cancelled() and task.exception() is None:
            task.result().close_if_unheard()

    async def _open(self, client: zchat.aio.Client, key: FeedKey) -> RoomFeed:
        feed = RoomFeed(client, key[0], self.limits.held_max, self._forgets(key), partial(self._broke, key))
        await feed.open()
        return feed

    def _broke(self, key: FeedKey, feed: RoomFeed) -> None:
        """A feed has failed. One of the connection's own fails with it: the next who comes makes another one."""
        self._drop(key)
        if not key[1] and self._client is not None:
            broken, self._client = self._client, None
            self._users.clear()
            self._feeds.clear()
            self._heard.clear()
            self.later(broken.close())

    def _drop(self, key: FeedKey) -> asyncio.Task[RoomFeed] | None:
        """That feed is not there any more."""
        task = self._feeds.pop(key, None)
        if task is not None:
            self._heard[key[0]] -= 1
            if not self._heard[key[0]]:
                del self._heard[key[0]]
        return task

    def _forgets(self, key: FeedKey) -> Callable[[], None]:
        def over() -> None:
            task = self._drop(key)
            if task is not None and task.done() and not task.cancelled():
                self.later(task.result().close())

        return over
