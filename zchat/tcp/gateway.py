"""The gateway: one connection to the broker, and a session on it for each visitor.

Rules of this file
1. What is held for visitors is bounded in all: how many they are, what waits to be read by them, and what they said
   that is not stored yet.
2. It waits for a broker that is away as long as that takes; its visitors stay, and are told.
3. At its end each visitor is told, too, and what was not stored by then.

Docs: docs/doors.md. Tests: tests/tcp/test_gateway.py.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from ssl import SSLContext
from typing import Any, NamedTuple

from zchat.aio.client import Client
from zchat.core.gaps import Notice
from zchat.errors import Closed, Refused, StartError, Unreachable
from zchat.names import matcher
from zchat.tcp.audience import Audience
from zchat.tcp.visitor import Visitor
from zchat.tokens import TokenFile

READ_BYTES = 16 << 10  # taken of one visitor before others have their turn
WAITING_BYTES_IN_ALL_MAX = 64 << 20  # what may wait to be read by visitors, before slow ones are cut off
SLOW_SECONDS = 2.0  # they are waited for so long
UNSTORED_BYTES_IN_ALL_MAX = 8 << 20  # said by visitors, and not stored yet: above it they are read no more
BEGUN_AT_ONCE = 256  # sessions: their joins share commits
ENDED_AT_ONCE = 64  # who waits for the end of a session is looked at in each turn
SESSION_SECONDS = 10.0  # a broker that does not answer for so long is away
BUSY_SECONDS = 1.0  # a broker that has too much to do is asked again this often
GOODBYE_SECONDS = 3.0  # at the end, for what is not stored, and then for what is not read
LOOK_SECONDS = 1.0  # at the tokens of visitors
BACKLOG = 4_096  # connections that wait to be accepted: of more, each waits a second to come again
HANDSHAKE_SECONDS = 10.0  # of TLS
GUEST_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that looks like another


class GatewayOptions(NamedTuple):
    """What `zchat tcp` was asked for."""

    room: str  # where visitors begin
    allowed: tuple[str, ...] = ("**",)  # patterns of the rooms that they may go to
    is_raw: bool = False
    echoes: bool = True
    connections_max: int = 10_000
    tokens: TokenFile | None = None  # who has none of them stays outside
    rate: int = 500  # lines a second that a visitor may type; ten times as many at once


class Gateway:
    """Visitors, and the rooms that they are in."""

    def __init__(self, client: Client, options: GatewayOptions, log: Callable[[str], object]) -> None:
        self.client = client
        self.options = options
        self.log = log  # for operators: who comes and goes, and what went wrong
        self.visitors: dict[Visitor, None] = {}
        self.waiting: dict[Visitor, None] = {}  # has something that it has not read
        self.unstored_bytes = 0
        self.slowed = 0  # visitors who typed faster than they may, so far
        self.read_buffer = memoryview(bytearray(READ_BYTES))  # of whoever is read at the moment
        self.is_allowed = matcher((options.room, *options.allowed))
        self._held_up: dict[Visitor, None] = {}  # is read no more until less is not stored
        self._audiences: dict[tuple[str, Visitor | None], Audience] = {}
        self._begins = asyncio.Semaphore(BEGUN_AT_ONCE)
        self._ends = asyncio.Semaphore(ENDED_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._news: asyncio.Future[None] | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_ending = False

    async def listen(self, host: str | None, port: int, tls: SSLContext | None) -> tuple[str, int]:
        """Take visitors from now on; where that is. Raises StartError."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Visitor(self),
                host,
                port,
                ssl=tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
                ssl_shutdown_timeout=GOODBYE_SECONDS if tls else None,
            )
        except OSError as error:
            raise StartError(f"cannot listen at {host or '*'}:{port}: {error.strerror or error}") from None
        name = self._server.sockets[0].getsockname()
        return name[0], name[1]

    def stop(self, error: BaseException | None = None) -> None:
        """End it; with an error where one is why."""
        if not self._end.done():
            if error is None:
                self._end.set_result(None)
            else:
                self._end.set_exception(error)

    async def serve(self) -> None:
        """Until it is stopped; visitors are told. Raises why it cannot go on."""
        watching = None if self.options.tokens is None else self.run(self._watch())
        try:
            await self._end
        finally:
            if watching is not None:
                watching.cancel()
            self._server.close()
            await self._say_goodbye()

    # --- visitors ---------------------------------------------------------------------------

    def came(self, visitor: Visitor) -> bool:
        """False where there is no room for it."""
        if self.is_ending or len(self.visitors) >= self.options.connections_max:
            return False
        self.visitors[visitor] = None
        return True

    def gone(self, visitor: Visitor) -> None:
        """Nothing is left of it."""
        self.visitors.pop(visitor, None)
        self.waiting.pop(visitor, None)
        self._held_up.pop(visitor, None)
        self.has_news()

    async def begin(self, visitor: Visitor, user: str, on_notice: Callable[[Notice], object]) -> Client:
        """A session for a visitor. While the broker is away it is waited for, as long as the visitor stays.

        Raises Refused, Unreachable.
        """
        is_told = False
        while True:
            try:
                async with self._begins:
                    return await self.client.session(user, wait=SESSION_SECONDS, on_notice=on_notice)
            except Closed as error:
                self.stop(error)  # it is the connection's end
                raise
            except Unreachable:
                if not visitor.is_there:
                    raise
            except Refused as error:
                if error.code != "busy":
                    raise
                await asyncio.sleep(BUSY_SECONDS)
            if not is_told:
                visitor.tell("the broker does not answer; it is waited for")
                is_told = True

    async def end(self, session: Client) -> None:
        """It leaves its rooms, and is no more."""
        async with self._ends:
            await session.close()

    async def join(self, session: Client, room: str) -> None:
        """The session is a member. A broker that has too much to do is asked again. Raises Refused, Closed."""
        while True:
            try:
                return await session.join(room)
            except Refused as error:
                if error.code != "busy":
                    raise
            await asyncio.sleep(BUSY_SECONDS)

    def guest(self) -> str:
        """A name for who has not said one."""
        return "guest-" + "".join(secrets.choice(GUEST_LETTERS) for _ in range(5))

    async def _watch(self) -> None:
        """Who is inside by a token that is good no more, goes; so does who says none."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for visitor in list(self.visitors):
                login = visitor.participant.login
                if login is not None and (why := login.why_outside()):
                    visitor.cut_off(why)
                    visitor.leave()

    # --- rooms ------------------------------------------------------------------------------

    async def enter(self, visitor: Visitor, room: str, session: Client) -> Audience:
        """From now on the visitor is written what comes in the room. Raises Refused."""
        key = self._audience_key(visitor, room)
        audience = self._audiences.get(key)
        if audience is None:
            client = self.client if self.options.tokens is None else session
            audience = self._audiences[key] = Audience(self, room, client)
        audience.members[visitor] = None
        try:
            await asyncio.shield(audience.opened)
        except BaseException:  # it may have been cancelled
            self.leave(visitor, room)
            raise
        return audience

    def leave(self, visitor: Visitor, room: str) -> None:
        """It is not any more."""
        key = self._audience_key(visitor, room)
        audience = self._audiences.get(key)
        if audience is None or visitor not in audience.members:
            return
        del audience.members[visitor]
        if not audience.members:
            del self._audiences[key]
            self.run(audience.close())

    def _audience_key(self, visitor: Visitor, room: str) -> tuple[str, Visitor | None]:
        """All are one audience, but where the broker is to say what each may read."""
        return room, None if self.options.tokens is None else visitor

    # --- bounds -----------------------------------------------------------------------------

    def said(self, size: int) -> None:
        """So many bytes are not stored yet; or they are, where it is below 0."""
        self.unstored_bytes += size
        if size < 0:
            self.has_news()
            while self._held_up and self.unstored_bytes < UNSTORED_BYTES_IN_ALL_MAX:
                visitor = next(iter(self._held_up))
                del self._held_up[visitor]
                visitor.go_on()

    def holds_up(self, visitor: Visitor) -> bool:
        """Whether the visitor has to wait as too much of all is not stored; then it is told to `go_on`."""
        if self.unstored_bytes < UNSTORED_BYTES_IN_ALL_MAX:
            return False
        self._held_up[visitor] = None
        return True

    async def take_turns(self) -> None:
        """Let other tasks have their turn, and wait until there is room for more that is not read."""
        await asyncio.sleep(0)
        if self.waiting and self._waiting_bytes() > WAITING_BYTES_IN_ALL_MAX:
            if await self.until(lambda: self._waiting_bytes() <= WAITING_BYTES_IN_ALL_MAX, SLOW_SECONDS):
                return
            for visitor in sorted(self.waiting, key=lambda each: -each.waiting_bytes):
                if self._waiting_bytes() <= WAITING_BYTES_IN_ALL_MAX // 2:
                    break  # else each next message would be waited for as long
                visitor.cut_off("it reads too slowly")

    def _waiting_bytes(self) -> int:
        return sum(visitor.waiting_bytes for visitor in self.waiting)

    # --- waiting ----------------------------------------------------------------------------

    def has_news(self) -> None:
        """Something that `until` may wait for."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait for it. False when the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    if self._news is None or self._news.done():
                        self._news = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._news)
        except TimeoutError:
            return bool(condition())
        return True

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have it done by a task. What it raises ends the gateway."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ran)
        return task

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.is_ending:
            self.stop(error)

    # --- its end ----------------------------------------------------------------------------

    async def _say_goodbye(self) -> None:
        self.is_ending = True
        for visitor in list(self.visitors):
            visitor.stop_reading()
        if self.client.is_connected:
            await self.until(lambda: not self.unstored_bytes, GOODBYE_SECONDS)
        for visitor in list(self.visitors):
            visitor.say_goodbye("the gateway ends")
        await self.until(lambda: not any(visitor.is_there for visitor in self.visitors), GOODBYE_SECONDS)
        for visitor in list(self.visitors):
            visitor.abort()
        for task in list(self._tasks):
            task.cancel()
