"""The blocking face: `connect`, publish, listen, ask.

Rules of this file: it holds no protocol. Each call hands something to the I/O thread or waits for it, so
a busy program keeps its session, and a `publish` costs an append. It has more than 300 lines because a
class that people use is read in one place. Spec: docs/client.md.

    with zchat.connect() as client:
        for message in client.listen("general"):
            client.publish("general", f"hello {message.user}")
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from operator import index
from types import TracebackType

from zchat import address as addresses
from zchat import wire
from zchat.core.answers import Missing
from zchat.core.chain import Chain, Notice, Start
from zchat.core.history import History
from zchat.core.listening import Listener
from zchat.errors import BadName, Refused, UsageError
from zchat.message import Message, messages
from zchat.names import cursor_name, is_pattern, pattern_name, room_name, user_name
from zchat.sockets.client import Connection
from zchat.sockets.clock import Deadline, waitable
from zchat.sockets.outbox import Publication
from zchat.subscription import Subscription

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"
WAIT_SECONDS = 5.0  # for a broker that is not there yet
TRY_SECONDS = 1.0  # a wait of 0 is one try, and takes no longer
CLOSE_SECONDS = 5.0


def connect(address: str = DEFAULT_ADDRESS, user: str | None = None, *, wait: float = WAIT_SECONDS) -> Client:
    """Connect to a broker as `user` (default: the login name), waiting up to `wait` seconds for it; 0 is one try.

    Raises Unreachable when no broker answers, Refused when it will not have us, BadAddress, BadName, UsageError.
    """
    seconds = waitable(wait)
    if seconds is None:
        raise UsageError("wait is None, not seconds")
    name = user_name(login_name() if user is None else _text("user", user))
    connection = Connection(addresses.parse(address), name, _info())
    return Client(connection, connection.start(seconds or TRY_SECONDS))


def login_name() -> str:
    """The name that the system knows this user by."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "anonymous"


class Client:
    """A session with a broker. Thread-safe; a context manager. Made by `connect`."""

    def __init__(self, connection: Connection, welcome: wire.Welcome) -> None:
        self.connection = connection  # not part of the public API
        self.address = str(connection.address)
        self.user = connection.user
        self._add = connection.outbox.add

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush(CLOSE_SECONDS)
        finally:
            self.close()

    @property
    def session(self) -> str:
        """The name of this session; a broker with another log gives another."""
        return self.connection.welcome.session

    @property
    def log_id(self) -> str:
        """The name of the broker's log, in which offsets mean something."""
        return self.connection.welcome.log_id

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
        try:
            if type(body) is bytes and not headers and event == "message":
                return self._add(room, body, len(body), volatile)
            record, size = _record(body, event, headers)
            return self._add(room, record, size, volatile)
        except (AttributeError, TypeError):
            _text("room", room)  # looked at only now: each message would pay for it
            raise

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
        seconds = waitable(timeout)  # before anything is sent
        return self.publish(room, body, event=event, headers=headers, volatile=volatile).result(seconds)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything published is acked. Raises the first Refused since the last flush, TimedOut."""
        self.connection.flush(waitable(timeout))

    # --- listening --------------------------------------------------------------------------

    def listen(
        self,
        *patterns: str,
        after: int | None = None,
        last: int | None = None,
        since: float | datetime | None = None,
        echo: bool = True,
        presence: bool = False,
        resume: str | None = None,
        keeps: bool = True,
        notify: Callable[[Notice], None] | None = None,
    ) -> Subscription:
        """Listen to rooms; it is live when this returns, so nothing sent afterwards is missed.

        Starts with what was sent from now on, or with history: above offset `after`, the `last` n
        messages, or `since` a time (seconds since 1970, or a datetime). `echo=False` leaves out what this
        session sends; `presence` adds joins and leaves. `notify` is called in order with the messages, in
        the consumer's thread. A room named in full is joined; a pattern only observes.

        `resume` names a cursor that the broker keeps for this user: it goes on right after what was handed
        over the last time, from any machine; the start counts the first time only. A message counts as
        handed over when the next one is asked for, or at `close`; with `keeps=False` when `keep` is called.
        """
        names = _names(patterns, "listen to")
        start = _start(after, last, since)
        cursor = cursor_name(_text("cursor", resume)) if resume is not None else ""
        if cursor:
            start = self._resumed(cursor, names, start, presence)
        several = len(names) > 1 or is_pattern(names[0])
        listener = Listener(names, Chain(names, start, presence, marks=bool(cursor) and several), cursor)
        connection = self.connection
        subscription = Subscription(connection, listener, start.after or 0, echo=echo, notify=notify, keeps=keeps)
        try:
            connection.listen(listener, subscription.put)
            self._join(listener.rooms)  # once it is live: what others say to its coming is not missed
            if cursor and start.after is None:  # the first time it is kept where it begins, if nothing ever comes
                subscription._begin_at(listener.chain.began, stored=self._store(cursor, listener.chain.began))
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
        notify: Callable[[Notice], None] | None = None,
        timeout: float | None = None,
    ) -> Iterator[Message]:
        """What is stored, up to now, in offset order; all of it when no start is named, at most `limit`.

        `notify` is told of gaps, in order with the messages. Raises TimedOut when it is not all there within
        `timeout` seconds, counted from the first message that is asked for; WireError where the broker makes no sense.
        """
        names = _names(patterns, "read")
        start = _start(after, last, since)
        most = wire.OFFSET_MAX if limit is None else _number("limit", limit)
        return self._read(names, start, 0 if last == 0 else most, presence, notify, waitable(timeout))

    # --- asking -----------------------------------------------------------------------------

    def who(self, room: str | None = None, *, lag: bool = False) -> list[wire.Member]:
        """The sessions in a room; without one, all sessions, and the users who have gone with when.

        `lag` also tells how far each one's listeners are behind.
        """
        question = wire.Who(0, room_name(_text("room", room)) if room else "", lag)
        return self.connection.ask(question, wire.Present).members

    def rooms(self) -> list[wire.Room]:
        """The rooms that have a record or a member."""
        return sorted(self.connection.ask(wire.Rooms(0), wire.RoomsAre).rooms, key=lambda room: room.name)

    def cursors(self) -> list[wire.Cursor]:
        """The cursors that the broker keeps for this user, by name."""
        return self.connection.ask(wire.Cursors(0), wire.CursorsAre).cursors

    def set_cursor(self, name: str, offset: int) -> None:
        """Keep a cursor: `listen(resume=name)` goes on after that offset. Raises BadName, UsageError, Refused."""
        self.connection.keep_cursor(cursor_name(_text("cursor", name)), _number("offset", offset), None)

    def drop_cursor(self, name: str) -> None:
        """Keep that cursor no longer; none of that name is no error. Raises BadName."""
        self.connection.ask(wire.DropCursor(0, cursor_name(_text("cursor", name))), wire.Done)

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End the session: its leave is written at once. What is not acked by then stays unknown."""
        seconds = waitable(timeout)
        self.connection.close(CLOSE_SECONDS if seconds is None else seconds)

    # --- parts ------------------------------------------------------------------------------

    def _store(self, cursor: str, offset: int) -> bool:
        """Keep a cursor; False while the log cannot be written."""
        try:
            self.set_cursor(cursor, offset)
        except Refused as error:
            if not error.code.startswith("log-"):
                raise
            return False
        return True

    def _join(self, rooms: set[str]) -> None:
        """Become a member; while the log cannot be written, listening goes on without."""
        try:
            self.connection.join(rooms)
        except Refused as error:
            if not error.code.startswith("log-"):
                raise

    def _resumed(self, cursor: str, names: list[str], start: Start, presence: bool) -> Start:
        """Where a listener with that cursor starts; with none yet and no start, it is what comes once it is live."""
        kept = next((one.offset for one in self.cursors() if one.name == cursor), None)
        if kept is None and start != Start():
            kept = start.after if start.after is not None else self._seek(names, start, presence).after
            self._store(cursor, kept)
        return Start(after=kept)

    def _seek(self, names: list[str], start: Start, presence: bool, deadline: Deadline | None = None) -> wire.Position:
        seek = wire.Seek(0, names, start.last or 0, start.since or 0, presence)
        return self.connection.ask(seek, wire.Position, deadline=deadline)

    def _read(
        self,
        names: list[str],
        start: Start,
        left: int,
        presence: bool,
        notify: Callable[[Notice], None] | None,
        timeout: float | None,
    ) -> Iterator[Message]:
        deadline = Deadline("history", timeout)
        position = self._seek(names, start, presence, deadline)
        after = start.after or 0 if start.last is None and start.since is None else position.after
        history = History(names, after, position.head, begins_small=True)
        while history.fetch is not None and left > 0:
            for part in history.take(self.connection.ask(history.fetch, wire.Page, deadline=deadline)):
                if isinstance(part, Missing):
                    if notify is not None:
                        notify(Notice("gap", part.first, part.last, part.room, reason=part.reason))
                    continue
                if part.batch.kind != wire.MESSAGES and not (part.batch.kind == wire.PRESENCE and presence):
                    continue
                for message in messages(part.room, part.batch, after + 1):
                    if message.offset > position.head or left <= 0:
                        return
                    left -= 1
                    yield message


def _record(body: bytes | str, event: str, headers: Mapping[str, str] | None) -> tuple[wire.RecordOrBody, int]:
    """A record, and its size."""
    try:
        content = body.encode() if isinstance(body, str) else bytes(memoryview(body))  # bytes(5) would be five zeros
        if event == "message" and not headers:
            return content, len(content)
        fields = dict(headers) if headers else None
        size = len(content) + sum(len(text.encode()) for pair in (fields or {}).items() for text in pair)
        size += len(event.encode())
    except (TypeError, AttributeError) as error:
        raise UsageError("a body is bytes or text, an event text, headers are text to text") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"text that no UTF-8 can hold: {error.reason}") from error
    if not event or event in ("join", "leave"):
        raise UsageError(f"event {event!r} cannot be published")
    return wire.Record(content, event, fields), size


def _start(after: int | None, last: int | None, since: float | datetime | None) -> Start:
    if sum(value is not None for value in (after, last, since)) > 1:
        raise UsageError("after, last and since exclude each other")
    return Start(
        None if after is None else _number("after", after),
        None if last is None else _number("last", last) or None,
        None if since is None else _microseconds(since),
    )


def _names(patterns: tuple[str, ...], verb: str) -> list[str]:
    if not patterns:
        raise UsageError(f"no room to {verb}")
    if len(patterns) > wire.ROOMS_PER_MESSAGE_MAX:
        raise UsageError(f"{len(patterns)} rooms and patterns, limit {wire.ROOMS_PER_MESSAGE_MAX}")
    return [pattern_name(_text("pattern", pattern)) for pattern in patterns]


def _text(kind: str, name: str) -> str:
    if not isinstance(name, str):
        raise BadName(kind, repr(name), "a name is text")
    return name


def _number(what: str, value: int) -> int:
    """An offset or a count, as the wire and the log can have it."""
    try:
        number = index(value)
    except TypeError:
        raise UsageError(f"{what} is no whole number") from None
    if not 0 <= number <= wire.OFFSET_MAX:
        raise UsageError(f"{what} is not in 0..{wire.OFFSET_MAX}")
    return number


def _microseconds(since: float | datetime) -> int:
    """Since 1970; what is before is the beginning."""
    try:
        seconds = since.timestamp() if isinstance(since, datetime) else since
        microseconds = int((seconds + 0.0) * 1_000_000)
    except (TypeError, ValueError, OverflowError):
        microseconds = wire.OFFSET_MAX + 1
    if microseconds > wire.OFFSET_MAX:
        raise UsageError("since is no time that can be: seconds since 1970, or a datetime")
    return max(0, microseconds)


def _info() -> dict[str, str]:
    """What operators see of this client."""
    return {"host": socket.gethostname(), "pid": str(os.getpid()), "program": os.path.basename(sys.argv[0] or "")}
