"""The face for asyncio: `connect`, publish, listen, ask; what each call does is what that of `zchat.client` does.

Rules of this file: it holds no protocol, and blocks no event loop. Arguments are looked at when a call is made, and all
else happens when what it returns is awaited.
Spec: docs/client.md, "asyncio". Tests: tests/aio.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import Any, Unpack

from zchat.aio.asking import LoopAsking
from zchat.aio.connection import LoopConnection
from zchat.aio.session import LoopSession
from zchat.aio.subscription import Subscription
from zchat.arguments import flag_of, function_of, info, name_of, rooms_of, start_of, whom
from zchat.core.gaps import Notice
from zchat.core.steps import BecomeMember, done
from zchat.errors import Refused
from zchat.handlers import LOCAL, EventHandlers, F
from zchat.sealing import sealing
from zchat.sockets.clock import CLOSE_SECONDS, WAIT_SECONDS, Deadline, tried, waitable
from zchat.times import Since
from zchat.work import GroupOptions, receiving


def connect(
    address: str | None = None,
    user: str | None = None,
    *,
    wait: float = WAIT_SECONDS,
    timeout: float | None = None,
    seals: bool = True,
    on_notice: Callable[[Notice], object] | None = None,
) -> Connecting:
    """Connect to a broker as `user`: `async with connect() as client`, or `client = await connect()`.

    Its arguments are those of `zchat.connect`. `on_notice` is called by the event loop. Awaiting it raises Unreachable
    when no broker answers, Refused when it will not have us; the call itself BadAddress, BadName, UsageError.
    """
    seconds, timeout = tried(wait), waitable(timeout)
    told = function_of("on_notice", on_notice)
    where, name, credentials = whom(address, user)
    seal = sealing(flag_of("seals", seals))
    connection = partial(LoopConnection, where, name, info(), told, seal, credentials)
    return Connecting(connection, seconds, timeout)


class Connecting:
    """A client that is connected when this is awaited or entered."""

    def __init__(
        self,
        connect: Callable[[], LoopConnection],
        wait: float,
        timeout: float | None,
        connected: Client | None = None,
    ) -> None:
        """`connected`: the client whose connection is used; None: it has its own."""
        self._connect = connect
        self._wait = wait
        self._timeout = timeout
        self._connected_client = connected
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        """The client."""
        return self._connected().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connected()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._client is not None, "it was entered"
        await self._client.__aexit__(kind, error, trace)

    async def _connected(self) -> Client:
        connection = self._connect()
        connection.timeout = self._timeout
        await connection.start(self._wait)
        client = Client(connection)
        if self._connected_client is not None:
            client._connected = self._connected_client
            client._connected._sessions[client] = None
        return client


class Client(LoopAsking):
    """A session with a broker, used in one event loop. An async context manager. Made by `connect`."""

    _connection: LoopConnection

    def __init__(self, connection: LoopConnection) -> None:
        super().__init__(connection)
        self._subscriptions: dict[Subscription, None] = {}  # that are open; a set takes more, of each session
        self._connected = self  # whose connection it is
        self._sessions: dict[Client, None] = {}  # others over the same connection
        self._handlers = EventHandlers(plain_if_local)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.flush(CLOSE_SECONDS)
        finally:
            await self._close(CLOSE_SECONDS, counts=kind is None)

    def session(
        self, user: str, *, wait: float = WAIT_SECONDS, on_notice: Callable[[Notice], object] | None = None
    ) -> Connecting:
        """Another session over this client's connection, as `session` of `zchat.Client` begins one: await or enter it.

        Raises BadName; awaiting it Unreachable and Refused, which leave the others alone, and Closed.
        """
        seconds = tried(wait)
        connected = self._connected
        told = function_of("on_notice", on_notice)
        connection = partial(LoopSession, connected._connection, name_of(user), told)
        return Connecting(connection, seconds, connected._connection.timeout, connected)

    # --- listening --------------------------------------------------------------------------

    def listen(
        self,
        *patterns: str,
        after: int | None = None,
        last: int | None = None,
        since: Since | None = None,
        last_per_room: int | None = None,
        echo: bool = True,
        presence: bool = False,
        join: bool = True,
        resume: str | None = None,
        auto_commit: bool = True,
        group: str | None = None,
        on_notice: Callable[[Notice], None] | None = None,
        timeout: float | None = None,
        **sharing: Unpack[GroupOptions],
    ) -> Subscription:
        """Listen to rooms, as `listen` of `zchat.Client` does. It is live once it was awaited: nothing that is sent
        afterwards is missed. `async with` and `async for` await it themselves.

        `on_notice` is called in order with the messages, by the task that takes them. Awaiting it raises TimedOut when
        it is not live within `timeout` seconds, Refused, Closed; the call itself BadName, UsageError.
        """
        start = start_of(after, last, since, last_per_room)
        steps = receiving(
            patterns,
            start,
            group,
            sharing,
            echo=echo,
            presence=presence,
            resume=resume,
            follows=auto_commit,
            joins=join,
        )
        return Subscription(
            self._connection,
            steps,
            echo=echo,
            follows=auto_commit,
            on_notice=function_of("on_notice", on_notice),
            timeout=waitable(timeout),
            opened=self._subscriptions,
        )

    async def join(self, *rooms: str, timeout: float | None = None) -> None:
        """Be a member of rooms without listening to them: `who` shows it, and its members are told.

        As many `leave` as there were `join` and subscriptions that joined take the session out of a room. Raises
        Refused: then it has not joined; TimedOut: then it joins when the broker is back.
        """
        joined, deadline = rooms_of(rooms), self._deadline("join", timeout)
        try:
            await self._connection.run(done(BecomeMember(joined)), deadline)
        except Refused:
            await self._connection.part(joined, deadline)
            raise

    async def leave(self, *rooms: str, timeout: float | None = None) -> None:
        """Take one `join` of each room back. Where the broker is away, it is told when it is back."""
        await self._connection.part(rooms_of(rooms), self._deadline("leave", timeout))

    # --- handlers ---------------------------------------------------------------------------

    def on(self, event: str) -> Callable[[F], F]:
        """A decorator: while `run` listens, the function is called for each message of this event, with the message.

        `connect`, `disconnect` and `gap` are what happens to the connection, with a Notice; `join` and `leave` are
        members that come and go. Functions for messages may be coroutines. Raises UsageError.
        """
        return self._handlers.on(event)

    async def run(
        self,
        *patterns: str,
        after: int | None = None,
        last: int | None = None,
        since: Since | None = None,
        last_per_room: int | None = None,
        echo: bool = False,
        resume: str | None = None,
    ) -> None:
        """Listen, and call what `on` was given for what comes, one after the other, until the client is closed.

        Where it begins is said as to `listen`; a message counts for `resume` when its functions have returned. What
        this session sends calls nothing, without `echo`. Raises what a function raises, and what `listen` raises.
        """
        handlers = self._handlers
        start = {"after": after, "last": last, "since": since, "last_per_room": last_per_room}
        wanted = {"echo": echo, "presence": handlers.want_presence, "resume": resume, "on_notice": handlers.noticed}
        async with self.listen(*patterns, **start, **wanted) as messages:  # type: ignore[arg-type]
            async for message in messages:
                for function in list(handlers.of(message)):
                    answer = function(message)
                    if isawaitable(answer):
                        await answer

    async def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End the session, its subscriptions first: its leaves are written at once.

        What is published and not acked is waited for while the broker is there, up to `timeout` seconds. What is not
        acked then stays unknown, and the logger `zchat` warns of it. Raises UsageError.
        """
        seconds = waitable(timeout)
        await self._close(CLOSE_SECONDS if seconds is None else seconds)

    # --- parts ------------------------------------------------------------------------------

    async def _close(self, seconds: float, *, counts: bool = True) -> None:
        deadline = Deadline("close", seconds)
        try:
            for client in [self, *list(self._sessions)]:
                for subscription in list(client._subscriptions):
                    await subscription._end(deadline, counts=counts, with_client=True)
        finally:
            await self._connection.close(deadline.left() or 0.0)
            self._connected._sessions.pop(self, None)


def plain_if_local(event: str, function: Callable[..., Any]) -> None:
    """What is called for what happens to the connection is called at once: nobody would await it."""
    if event in LOCAL:
        function_of(event, function)
