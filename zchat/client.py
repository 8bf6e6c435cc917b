"""The blocking face: `connect`, publish, listen, ask.

Rules of this file: it holds no protocol. Each call hands something to the connection or waits for it, so
a busy program keeps its session, and a `publish` costs an append. What takes several requests is steps of
the core (core/steps.py), which are carried out here one after the other. Spec: docs/client.md.

    with zchat.connect() as client:
        for message in client.listen("general"):
            client.publish("general", f"hello {message.user}")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from types import TracebackType

from zchat import address as addresses
from zchat import wire
from zchat.arguments import flag_of, function_of, info, login_name, names_of, number_of, record_of, start_of, text_of
from zchat.core.client import AWAY, CLOSED, READY
from zchat.core.deliveries import Delivery
from zchat.core.gaps import Notice
from zchat.core.history import History
from zchat.core.listening import Listener
from zchat.core.opening import Opening
from zchat.errors import UsageError
from zchat.message import Message, messages
from zchat.names import cursor_name, room_name, user_name
from zchat.sockets.client import Connection
from zchat.sockets.clock import Deadline, waitable
from zchat.sockets.outbox import Publication
from zchat.subscription import Subscription

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"
WAIT_SECONDS = 5.0  # for a broker that is not there yet
TRY_SECONDS = 1.0  # a wait of 0 is one try, and takes no longer
CLOSE_SECONDS = 5.0


def connect(
    address: str | None = None,
    user: str | None = None,
    *,
    wait: float = WAIT_SECONDS,
    timeout: float | None = None,
    on_notice: Callable[[Notice], object] | None = None,
) -> Client:
    """Connect to a broker as `user`, waiting up to `wait` seconds for it; 0 is one try.

    Without an address it is that of ZCHAT_BROKER, else this machine's; without a user that of ZCHAT_USER, else the
    login name. `timeout` is how long each later call waits for the broker that says nothing else; None: as long as it
    takes. `on_notice` is told when the connection is lost and when it is back, in a thread of its own.

    Raises Unreachable when no broker answers, Refused when it will not have us, BadAddress, BadName, UsageError.
    """
    seconds, timeout = waitable(wait), waitable(timeout)
    if seconds is None:
        raise UsageError("wait is None, not seconds")
    user = os.environ.get("ZCHAT_USER") or login_name() if user is None else text_of("user", user)
    address = os.environ.get("ZCHAT_BROKER") or DEFAULT_ADDRESS if address is None else address
    connection = Connection(addresses.parse(address), user_name(user), info(), function_of("on_notice", on_notice))
    connection.timeout = timeout
    return Client(connection, connection.start(seconds or TRY_SECONDS))


class Client:
    """A session with a broker. Thread-safe; a context manager. Made by `connect`."""

    def __init__(self, connection: Connection, welcome: wire.Welcome) -> None:
        self._connection = connection
        self._subscriptions: set[Subscription] = set()  # that are open
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
            self._close(CLOSE_SECONDS, counts=kind is None)

    def __repr__(self) -> str:
        """`<zchat.Client alice at tcp://127.0.0.1:5555: connected>`."""
        states = {READY: "connected", AWAY: "not connected", CLOSED: "closed"}
        return f"<zchat.Client {self.user} at {self.address}: {states[self._connection.state]}>"

    @property
    def session(self) -> str:
        """The name of this session; a broker with another log gives another."""
        return self._connection.welcome.session

    @property
    def log_id(self) -> str:
        """The name of the broker's log, in which offsets mean something."""
        return self._connection.welcome.log_id

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there, as far as is known; what is published meanwhile waits."""
        return self._connection.is_ready

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
        """Queue a message and return at once; its `result` is its offset. Waits while 16 MiB wait already.

        A `volatile` message is not stored: who listens now gets it, as fast as it goes, without a promise.
        Raises BadName, TooLarge, UsageError, TimedOut (it is not queued), Closed.
        """
        try:
            if type(body) is bytes and headers is None and event == "message" and type(volatile) is bool:
                return self._add(room, body, len(body), volatile)
            record, size = record_of(body, event, headers)
            return self._add(room, record, size, flag_of("volatile", volatile))
        except (AttributeError, TypeError):
            text_of("room", room)  # looked at only now: each message would pay for it
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
        """Publish and wait for the ack: the message's offset (0 when volatile).

        Raises Refused; and TimedOut: then it may still be sent, so do not send it again.
        """
        seconds = waitable(timeout)  # before anything is sent
        return self.publish(room, body, event=event, headers=headers, volatile=volatile).result(seconds)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything published is acked. Raises the first Refused since the last flush, TimedOut."""
        self._connection.flush(waitable(timeout))

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
        auto_commit: bool = True,
        on_notice: Callable[[Notice], None] | None = None,
        timeout: float | None = None,
    ) -> Subscription:
        """Listen to rooms; it is live when this returns, so nothing sent afterwards is missed.

        Starts with what was sent from now on, or with history: above offset `after`, the `last` n
        messages, or `since` a time (seconds since 1970, or a datetime). `echo=False` leaves out what this
        session sends; `presence` adds joins and leaves. `on_notice` is called in order with the messages, in
        the consumer's thread. A room named in full is joined; a pattern only observes.

        `resume` names a cursor that the broker keeps for this user: it goes on right after what was handed
        over the last time, from any machine; the start counts the first time only. A message counts as
        handed over when the next one is asked for, or at `close`; with `auto_commit=False` when `commit` is called.
        Raises TimedOut when it is not live within `timeout` seconds; Refused, BadName, UsageError, Closed.
        """
        names = names_of(patterns, "listen to")
        start = start_of(after, last, since)
        for what, flag in (("echo", echo), ("presence", presence), ("auto_commit", auto_commit)):
            flag_of(what, flag)
        function_of("on_notice", on_notice)
        cursor = cursor_name(text_of("cursor", resume)) if resume is not None else ""
        opening = Opening(names, start, presence, cursor, follows=auto_commit)
        opened: list[Subscription] = []

        def subscribe(listener: Listener) -> None:
            subscription = Subscription(
                connection, listener, echo=echo, on_notice=on_notice, closed=self._subscriptions.discard
            )
            opened.append(subscription)
            self._subscriptions.add(subscription)
            connection.listen(listener, subscription._incoming, deadline)

        connection, deadline = self._connection, self._deadline("the subscription", timeout)
        try:
            connection.run(opening.steps(connection.welcome), deadline, subscribe)
        except BaseException:
            for subscription in opened:
                subscription.close()
            raise
        return opened[0]

    def history(
        self,
        *patterns: str,
        after: int | None = None,
        last: int | None = None,
        since: float | datetime | None = None,
        limit: int | None = None,
        presence: bool = False,
        on_notice: Callable[[Notice], None] | None = None,
        timeout: float | None = None,
    ) -> Iterator[Message]:
        """What is stored, up to now, in offset order; all of it when no start is named, at most `limit` messages.

        `on_notice` is told of gaps, in order with the messages. Raises TimedOut when it is not all there within
        `timeout` seconds, counted from the first message that is asked for; WireError where the broker makes no sense.
        """
        names = names_of(patterns, "read")
        start = start_of(after, last, since)
        most = wire.OFFSET_MAX if limit is None else number_of("limit", limit)
        flag_of("presence", presence), function_of("on_notice", on_notice)
        history = History(names, start, presence, 0 if last == 0 else most)
        return self._read(history, on_notice, waitable(timeout))

    # --- asking -----------------------------------------------------------------------------

    def who(self, room: str | None = None, *, lag: bool = False, timeout: float | None = None) -> list[wire.Member]:
        """The sessions in a room; without one, all sessions, and the users who have gone with when.

        `lag` also tells how far each one's listeners are behind.
        """
        name = "" if room is None else room_name(text_of("room", room))
        question = wire.Who(0, name, flag_of("lag", lag))
        return self._connection.ask(question, wire.Present, self._deadline("who", timeout)).members

    def rooms(self, *, timeout: float | None = None) -> list[wire.Room]:
        """The rooms that have a record or a member."""
        answer = self._connection.ask(wire.Rooms(0), wire.RoomsAre, self._deadline("rooms", timeout))
        return sorted(answer.rooms, key=lambda room: room.name)

    def cursors(self, *, timeout: float | None = None) -> list[wire.Cursor]:
        """The cursors that the broker keeps for this user, by name."""
        return self._connection.ask(wire.Cursors(0), wire.CursorsAre, self._deadline("cursors", timeout)).cursors

    def set_cursor(self, name: str, offset: int, *, timeout: float | None = None) -> None:
        """Keep a cursor: `listen(resume=name)` goes on after that offset. Raises BadName, UsageError, Refused."""
        deadline = self._deadline("set_cursor", timeout)
        self._connection.set_cursor(cursor_name(text_of("cursor", name)), number_of("offset", offset), deadline)

    def drop_cursor(self, name: str, *, timeout: float | None = None) -> None:
        """Keep that cursor no longer; none of that name is no error. Raises BadName."""
        drop = wire.DropCursor(0, cursor_name(text_of("cursor", name)))
        self._connection.ask(drop, wire.Done, self._deadline("drop_cursor", timeout))

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """End the session, its subscriptions first: its leaves are written at once.

        What is published and not acked is waited for while the broker is there, up to `timeout` seconds. What is not
        acked then stays unknown, and the logger `zchat` warns of it. Raises UsageError.
        """
        seconds = waitable(timeout)
        self._close(CLOSE_SECONDS if seconds is None else seconds)

    # --- parts ------------------------------------------------------------------------------

    def _close(self, seconds: float, *, counts: bool = True) -> None:
        deadline = Deadline("close", seconds)
        try:
            for subscription in list(self._subscriptions):
                subscription._end(deadline, counts=counts, with_client=True)
        finally:
            self._connection.close(deadline.left() or 0.0)

    def _deadline(self, what: str, timeout: float | None) -> Deadline:
        return self._connection.deadline(what, waitable(timeout))

    def _read(
        self, history: History, on_notice: Callable[[Notice], None] | None, timeout: float | None
    ) -> Iterator[Message]:
        in_all = None if timeout is None else self._deadline("history", timeout)
        while history.request is not None:
            deadline = in_all or self._deadline("history", None)  # of the client's: for each page
            answer = self._connection.answer(history.request, deadline)
            for item in history.take(answer, self._connection.welcome):
                if isinstance(item, Delivery):
                    yield from islice(messages(item.room, item.batch, item.first), item.last - item.first + 1)
                elif on_notice is not None:
                    on_notice(item)
