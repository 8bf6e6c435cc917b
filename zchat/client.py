"""The blocking face: `connect`, publish, listen, ask.

Rules of this file: it holds no protocol. Each call hands something to the I/O thread or waits for it, so
a busy program keeps its session, and a `publish` costs an append. Spec: docs/client.md.

    with zchat.connect() as client:
        for message in client.listen("general"):
            client.publish("general", f"hello {message.user}")
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from queue import Empty, SimpleQueue
from types import TracebackType

import msgspec

from zchat import address as addresses
from zchat import wire
from zchat.core.chain import Chain, Delivery, Notice, Start
from zchat.core.client import Chunk, Listener
from zchat.errors import Closed, TimedOut, TooLarge, UsageError
from zchat.message import Message, messages
from zchat.names import pattern_name, user_name
from zchat.sockets.client import Connection

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"
WAIT_SECONDS = 5.0  # for a broker that is not there yet
CLOSE_SECONDS = 5.0
QUEUED_BYTES_MAX = 32 << 20  # of a listener that does not read: what comes after is fetched again when it does
QUEUED_BYTES_LOW = 8 << 20


def connect(address: str = DEFAULT_ADDRESS, user: str | None = None, *, wait: float = WAIT_SECONDS) -> Client:
    """Connect to a broker as `user` (default: the login name), waiting up to `wait` seconds for it.

    Raises Unreachable when no broker answers, Refused when it will not have us, BadAddress and BadName.
    """
    connection = Connection(addresses.parse(address), user_name(login_name() if user is None else user), _info())
    return Client(connection, connection.start(wait))


def login_name() -> str:
    """The name that the system knows this user by."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "anonymous"


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to the broker."""

    _client: Client
    _chunk: Chunk
    _index: int

    def done(self) -> bool:
        """Whether its outcome is known."""
        return self._chunk.is_settled

    def result(self, timeout: float | None = None) -> int:
        """Its offset, once it is stored; 0 for a volatile message, which has none.

        Raises Refused when it was not stored, TimedOut, and Closed when the client ended without knowing.
        """
        chunk = self._chunk
        if not chunk.is_settled:
            self._client.connection.wait_for(lambda: chunk.is_settled, timeout, "ack")
        if chunk.error is not None:
            raise chunk.error
        return chunk.first + self._index if chunk.first else 0


class Subscription:
    """Messages as they come, in order. An iterator; `get` waits for one. A context manager."""

    def __init__(self, client: Client, listener: Listener, echo: bool, notify: Callable[[Notice], None] | None) -> None:
        self._client = client
        self._listener = listener
        self._without = "" if echo else client.session
        self._notify = notify
        self._queue: SimpleQueue[Delivery | Notice | None] = SimpleQueue()
        self._buffer: deque[Message] = deque()
        self._put_bytes = 0  # written by the I/O thread
        self._taken_bytes = 0  # written by the consumer
        self._paused = False
        self.is_live = False
        self._closed = False

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Message]:
        """Messages until the subscription or the client is closed."""
        buffer = self._buffer
        while True:
            while buffer:
                yield buffer.popleft()
            if not self._take(None):
                return

    def get(self, timeout: float | None = None) -> Message:
        """The next message. Raises TimedOut, and Closed after the end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        buffer = self._buffer
        while not buffer:
            try:
                if not self._take(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    raise Closed("the subscription is closed")
            except Empty:
                raise TimedOut("message", timeout or 0.0) from None
        return buffer.popleft()

    def pending(self) -> bool:
        """Whether something can be had without waiting."""
        return bool(self._buffer) or not self._queue.empty()

    def close(self) -> None:
        """End it: nothing more comes, and the rooms are left."""
        if not self._closed:
            self._closed = True
            self._client.unlisten(self._listener)
            self._queue.put(None)

    # --- parts ------------------------------------------------------------------------------

    def _take(self, timeout: float | None) -> bool:
        """Move what comes next into the buffer. False at the end; raises queue.Empty."""
        if self._closed and self._queue.empty():
            return False
        item = self._queue.get(timeout=timeout)
        if item is None:
            self._queue.put(None)
            return False
        if isinstance(item, Notice):
            if item.kind == "live":
                self.is_live = True
            if self._notify is not None:
                self._notify(item)
            return True
        self._buffer.extend(messages(item.room, item.batch, item.first, self._without))
        self._taken_bytes += item.size
        if self._paused and self._put_bytes - self._taken_bytes < QUEUED_BYTES_LOW:
            self._paused = False
            self._client.connection.later(lambda core, now: self._listener.chain.paused(False))
        return True

    def put(self, out: list[Delivery | Notice]) -> None:
        """On the I/O thread: what the chain hands on; an empty list is the end."""
        if not out:
            self._queue.put(None)
        for item in out:
            if isinstance(item, Delivery):
                self._put_bytes += item.size
            self._queue.put(item)
        if not self._paused and self._put_bytes - self._taken_bytes > QUEUED_BYTES_MAX:
            self._paused = True
            self._listener.chain.paused(True)


class Client:
    """A session with a broker. Thread-safe; a context manager. Made by `connect`."""

    def __init__(self, connection: Connection, welcome: wire.Welcome) -> None:
        self.connection = connection  # not part of the public API
        self.address = str(connection.address)
        self.user = connection.user
        self.session = welcome.session
        self.log_id = welcome.log_id
        self._add = connection.outbox.add
        self._record_bytes_max = welcome.limits.get("record_bytes_max", wire.RECORD_BYTES_MAX)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush(CLOSE_SECONDS)
        self.close()

    # --- publishing -------------------------------------------------------------------------

    def publish(
        self,
        room: str,
        body: bytes | str,
        *,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
        volatile: bool = False,
    ) -> Publication:
        """Queue a message and return at once; its `result` is its offset. Blocks while the outbox is full.

        A `volatile` message is not stored: who listens now gets it, as fast as it goes, without a promise.
        Raises BadName, TooLarge, UsageError, Closed.
        """
        if type(body) is not bytes:
            body = body.encode() if isinstance(body, str) else bytes(body)
        record: wire.RecordOrBody = body
        size = len(body)
        if event != "message" or headers:
            record, size = _record(body, event, headers)
        if size > self._record_bytes_max:
            raise TooLarge(size, self._record_bytes_max)
        chunk, index = self._add(room, record, size, volatile)
        return Publication(self, chunk, index)

    def send(
        self,
        room: str,
        body: bytes | str,
        *,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
        volatile: bool = False,
        timeout: float | None = None,
    ) -> int:
        """Publish and wait for the ack: the message's offset (0 when volatile). Raises Refused, TimedOut."""
        return self.publish(room, body, event=event, headers=headers, volatile=volatile).result(timeout)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything published is acked. Raises the first Refused since the last flush, TimedOut."""
        self.connection.flush(timeout)

    # --- listening --------------------------------------------------------------------------

    def listen(
        self,
        *patterns: str,
        after: int | None = None,
        last: int | None = None,
        since: float | datetime | None = None,
        echo: bool = True,
        presence: bool = False,
        notify: Callable[[Notice], None] | None = None,
    ) -> Subscription:
        """Listen to rooms; it is live when this returns, so nothing sent afterwards is missed.

        Starts with what was sent from now on, or with history: above offset `after`, the `last` n
        messages, or `since` a time (seconds since 1970, or a datetime). `echo=False` leaves out what this
        session sends; `presence` adds joins and leaves. `notify` is called in order with the messages, in
        the consumer's thread. A room named in full is joined; a pattern only observes.
        """
        names = [pattern_name(pattern) for pattern in patterns]
        if not names:
            raise UsageError("no room to listen to")
        start = _start(after, last, since)
        listener = Listener(names, Chain(names, start, presence))
        subscription = Subscription(self, listener, echo, notify)
        connection = self.connection
        connection.listen(listener, subscription.put)
        try:
            connection.join(listener.rooms)
            connection.wait_for(lambda: listener.chain.is_begun, None, "subscription")
        except BaseException:
            subscription.close()
            raise
        return subscription

    def history(
        self,
        *patterns: str,
        after: int | None = None,
        last: int | None = None,
        since: float | datetime | None = None,
        limit: int | None = None,
        presence: bool = False,
    ) -> Iterator[Message]:
        """What is stored, up to now, in offset order; all of it when no start is named, at most `limit`."""
        names = [pattern_name(pattern) for pattern in patterns]
        if not names:
            raise UsageError("no room to read")
        return self._read(names, _start(after, last, since), limit, presence)

    # --- asking -----------------------------------------------------------------------------

    def who(self, room: str | None = None) -> list[wire.Member]:
        """The sessions in a room; without one, all sessions, and the users who have gone with when."""
        answer = self.connection.ask(wire.Who(0, pattern_name(room) if room else ""))
        assert isinstance(answer, wire.Present)
        return answer.members

    def rooms(self) -> list[wire.Room]:
        """The rooms that have a record or a member."""
        answer = self.connection.ask(wire.Rooms(0))
        assert isinstance(answer, wire.RoomsAre)
        return sorted(answer.rooms, key=lambda room: room.name)

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End the session: its leave is written at once. What is not acked by then stays unknown."""
        self.connection.close(timeout)

    # --- parts ------------------------------------------------------------------------------

    def unlisten(self, listener: Listener) -> None:
        """For `Subscription.close`."""
        try:
            self.connection.unlisten(listener)
            self.connection.part(listener.rooms)
        except Closed:
            pass

    def _read(self, names: list[str], start: Start, limit: int | None, presence: bool) -> Iterator[Message]:
        connection = self.connection
        position = connection.ask(wire.Seek(0, names, start.last or 0, start.since or 0, presence))
        assert isinstance(position, wire.Position)
        wants_tail = start.last is not None or start.since is not None
        after = position.after if wants_tail else start.after or 0
        left = limit if limit is not None else sys.maxsize
        while after < position.head and left > 0:
            page = connection.ask(wire.Fetch(0, names, after, position.head))
            assert isinstance(page, wire.Page)
            for room, frame in page.batches:
                batch = wire.decode_batch(frame)
                if batch.kind == wire.PRESENCE and not presence:
                    continue
                for message in messages(room, batch, after + 1):
                    if message.offset > position.head or left <= 0:
                        return
                    left -= 1
                    yield message
            after = page.upto if page.more else position.head


def _record(body: bytes, event: str, headers: Mapping[str, str] | None) -> tuple[wire.Record, int]:
    """A record that is more than a body, and its size."""
    if not event or event in ("join", "leave"):
        raise UsageError(f"event {event!r} cannot be published")
    fields = dict(headers) if headers else None
    size = len(body) + len(event.encode())
    for key, value in (fields or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError("headers are text to text")
        size += len(key.encode()) + len(value.encode())
    return wire.Record(body, event, fields), size


def _start(after: int | None, last: int | None, since: float | datetime | None) -> Start:
    if sum(value is not None for value in (after, last, since)) > 1:
        raise UsageError("after, last and since exclude each other")
    if min(after or 0, last or 0) < 0:
        raise UsageError("after and last are not below 0")
    if isinstance(since, datetime):
        since = since.timestamp()
    return Start(after, last, None if since is None else max(0, int(since * 1_000_000)))


def _info() -> dict[str, str]:
    """What operators see of this client."""
    return {"host": socket.gethostname(), "pid": str(os.getpid()), "program": os.path.basename(sys.argv[0] or "")}
