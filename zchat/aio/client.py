"""The face for asyncio: `connect`, publish, listen, ask; what each call does is what that of `zchat.client` does.

Rules of this file: it holds no protocol, and blocks no event loop. Arguments are looked at when a call is made, and all
else happens when what it returns is awaited.
Spec: docs/client.md, "asyncio". Tests: tests/aio.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Unpack

from zchat.aio.asking import LoopAsking
from zchat.aio.connection import DRAINED_BYTES, LoopConnection
from zchat.aio.publication import Publication
from zchat.aio.session import LoopSession
from zchat.aio.subscription import Subscription
from zchat.arguments import address_of, function_of, info, rooms_of, start_of, user_of
from zchat.core.gaps import Notice
from zchat.core.steps import BecomeMember, done
from zchat.errors import Refused
from zchat.files import PIECES_OUT_MAX, OutgoingFile
from zchat.sockets.clock import CLOSE_SECONDS, WAIT_SECONDS, Deadline, tried, waitable
from zchat.times import Since
from zchat.work import GroupOptions, receiving


def connect(
    address: str | None = None,
    user: str | None = None,
    *,
    wait: float = WAIT_SECONDS,
    timeout: float | None = None,
    on_notice: Callable[[Notice], object] | None = None,
) -> Connecting:
    """Connect to a broker as `user`: `async with connect() as client`, or `client = await connect()`.

    Its arguments are those of `zchat.connect`. `on_notice` is called by the event loop. Awaiting it raises Unreachable
    when no broker answers, Refused when it will not have us; the call itself BadAddress, BadName, UsageError.
    """
    seconds, timeout = tried(wait), waitable(timeout)
    told = function_of("on_notice", on_notice)
    connection = partial(LoopConnection, address_of(address), user_of(user), info(), told)
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
            client._connected._sessions.add(client)
        return client


class Client(LoopAsking):
    """A session with a broker, used in one event loop. An async context manager. Made by `connect`."""

    _connection: LoopConnection

    def __init__(self, connection: LoopConnection) -> None:
        super().__init__(connection)
        self._subscriptions: set[Subscription] = set()  # that are open
        self._connected = self  # whose connection it is
        self._sessions: set[Client] = set()  # others over the same connection

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
        connection = partial(LoopSession, connected._connection, user_of(user), told)
        return Connecting(connection, seconds, connected._connection.timeout, connected)

    # --- publishing -------------------------------------------------------------------------

    async def send(
        self,
        room: str,
        body: bytes | str,
        *,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
        volatile: bool = False,
        timeout: float | None = None,
    ) -> int:
        """Publish and wait for the ack: the message's offset (0 when volatile).

        Raises Refused; and TimedOut: then it may still be sent, so do not send it again. The same holds when it is
        cancelled.
        """
        seconds = waitable(timeout)  # before anything is sent
        if self._connection.outbox.is_full:
            await self._connection.drain(seconds)
        return await self.publish(room, body, event=event, headers=headers, volatile=volatile).result(seconds)

    async def send_file(
        self,
        room: str,
        path: str | os.PathLike[str],
        *,
        headers: Mapping[str, str] | None = None,
        on_progress: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Send a file, in pieces where it is larger than a message may be: the offset of its last message.

        `FileReceiver` makes a file of them again. `on_progress` is called with how far it is, in bytes, and how
        far it goes. Raises Refused; TimedOut where no ack came for `timeout` seconds; UsageError, OSError.
        """
        seconds, told = waitable(timeout), function_of("on_progress", on_progress)
        unacked: deque[Publication] = deque()
        offset = 0
        with OutgoingFile(path, self._connection.outbox.record_bytes_max, headers) as file:
            for piece in file:
                if self._connection.outbox.is_full:
                    await self._connection.drain(seconds)
                unacked.append(self.publish(room, piece.body, event=piece.event, headers=piece.headers))
                if len(unacked) > PIECES_OUT_MAX:
                    offset = await unacked.popleft().result(seconds)
                if told is not None:
                    told(piece.end, file.size)
            for publication in unacked:
                offset = await publication.result(seconds)
        return offset

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until everything published is acked. Raises the first Refused since the last flush, TimedOut."""
        await self._connection.flush(waitable(timeout))

    def drain(self, timeout: float | None = None) -> Awaitable[None]:
        """Wait until there is room for more: at once, where little waits to be sent. For loops of `publish`.

        Awaiting it raises TimedOut, Closed.
        """
        connection = self._connection
        if timeout is None and connection.outbox.bytes_waiting <= DRAINED_BYTES:
            return connection.drained  # a coroutine for each message would be a third of what that costs
        return connection.drain(waitable(timeout))

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
            self._connected._sessions.discard(self)
