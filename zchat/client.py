"""The blocking face: `connect`, publish, listen, ask.

Rules of this file: it holds no protocol. Each call hands something to the connection or waits for it, so
a busy program keeps its session, and a `publish` costs an append. What takes several requests is steps of
the core (core/steps.py), which are carried out here one after the other. Spec: docs/client.md.

    with zchat.connect() as client:
        for message in client.listen("general"):
            client.publish("general", f"hello {message.user}")
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from zchat.arguments import flag_of, function_of, info, name_of, rooms_of, start_of, whom
from zchat.asking import Asking
from zchat.core.gaps import Notice
from zchat.core.steps import BecomeMember, Steps, done
from zchat.core.working import Receiver
from zchat.errors import Refused
from zchat.handlers import EventHandlers, F
from zchat.sealing import sealing
from zchat.sockets.client import Connection
from zchat.sockets.clock import CLOSE_SECONDS, WAIT_SECONDS, Deadline, tried, waitable
from zchat.times import Since
from zchat.work import GroupOptions, receiving

if TYPE_CHECKING:  # who only sends pays for none of it
    from zchat.subscription import Subscription


def connect(
    address: str | None = None,
    user: str | None = None,
    *,
    wait: float = WAIT_SECONDS,
    timeout: float | None = None,
    seals: bool = True,
    on_notice: Callable[[Notice], object] | None = None,
) -> Client:
    """Connect to a broker as `user`, waiting up to `wait` seconds for it; 0 is one try.

    The address may be the name of a broker in the user's profile, zchat.toml. Without one it is that of ZCHAT_BROKER,
    else the profile's, else this machine's; without a user that of ZCHAT_USER, else the profile's, else the login name.
    `timeout` is how long each later call waits for the broker that says nothing else; None: as long as it takes.
    With `seals` what goes to and comes from rooms whose key is in the profile's folder is sealed and opened.
    `on_notice` is told when the connection is lost and when it is back, in a thread of its own.

    Raises Unreachable when no broker answers, Refused when it will not have us, BadAddress, BadName, UsageError.
    """
    seconds, timeout = tried(wait), waitable(timeout)
    where, name, credentials = whom(address, user)
    told = function_of("on_notice", on_notice)
    connection = Connection(where, name, info(), told, sealing(flag_of("seals", seals)), credentials)
    connection.timeout = timeout
    connection.start(seconds)
    return Client(connection)


class Client(Asking):
    """A session with a broker. Thread-safe; a context manager. Made by `connect`."""

    _connection: Connection

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._subscriptions: set[Subscription] = set()  # that are open
        self._connected = self  # whose connection it is
        self._sessions: set[Client] = set()  # others over the same connection
        self._handlers = EventHandlers(function_of)

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

    def session(
        self, user: str, *, wait: float = WAIT_SECONDS, on_notice: Callable[[Notice], object] | None = None
    ) -> Client:
        """Another session over this client's connection, as `user`: for programs that speak for many.

        It is a client like any other, with a presence, publishes, subscriptions and errors of its own, and has neither
        a thread nor a socket. To close it ends it alone; to close the client that was connected ends all. Other calls
        wait as those of that client do. Raises Unreachable and Refused, which leave the others alone, BadName, Closed.
        """
        from zchat.sockets.session import SessionConnection  # only who speaks for many pays for it

        seconds = tried(wait)
        connected = self._connected
        connection = SessionConnection(connected._connection, name_of(user), function_of("on_notice", on_notice))
        connection.start(seconds)
        client = Client(connection)
        client._connected = connected
        connected._sessions.add(client)
        return client

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
        """Listen to rooms; it is live when this returns, so nothing sent afterwards is missed.

        Starts with what is sent from now on, or with history: above offset `after`, the `last` n
        messages, `since` a time (seconds since 1970, a datetime, a timedelta ago, or text: "2h"), or the
        `last_per_room` n messages of each room, joins and leaves not counted.
        `echo=False` leaves out what this session sends; `presence` adds joins and leaves. `on_notice` is called in
        order with the messages, in the consumer's thread. A room named in full is joined, unless `join=False` says that
        it only observes, as a pattern does.

        `resume` names a cursor that the broker keeps for this user: it goes on right after what was handed
        over the last time, from any machine; the start counts the first time only. A message counts as
        handed over when the next one is asked for, or at `close`; with `auto_commit=False` when `commit` is called.

        `group` names a group of one room, which shares its messages: each goes to one member, and is a `Job` with `ack`
        and `nack`. One that was neither acked nor nacked is acked when the next one is asked for, or at `close`; with
        `auto_commit=False` only by `ack`. The start is that of a group which is new. `sharing` is
        `max_in_flight` (16 messages that it has at a time), `ack_wait` (30 s until they go to another) and
        `max_deliveries` (5, then a message goes to the room's dead letters; 0: never).
        Raises TimedOut when it is not live within `timeout` seconds; Refused, BadName, UsageError, Closed.
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
        function_of("on_notice", on_notice)
        connection, deadline = self._connection, self._deadline("the subscription", timeout)
        begun = steps(connection.welcome, connection.member_number())
        return self._open(begun, deadline, echo, auto_commit, on_notice)

    def _open(
        self,
        steps: Steps[Receiver],
        deadline: Deadline,
        echo: bool,
        follows: bool,
        on_notice: Callable[[Notice], None] | None,
    ) -> Subscription:
        from zchat.subscription import Subscription

        connection = self._connection
        opened: list[Subscription] = []

        def subscribe(listener: Receiver) -> None:
            subscription = Subscription(
                connection,
                listener,
                echo=echo,
                follows=follows,
                on_notice=on_notice,
                closed=self._subscriptions.discard,
            )
            opened.append(subscription)
            self._subscriptions.add(subscription)
            connection.listen(listener, subscription._incoming, deadline)

        try:
            connection.run(steps, deadline, subscribe)
        except BaseException:
            for subscription in opened:
                subscription.close()
            raise
        return opened[0]

    def join(self, *rooms: str, timeout: float | None = None) -> None:
        """Be a member of rooms without listening to them: `who` shows it, and its members are told.

        As many `leave` as there were `join` and subscriptions that joined take the session out of a room. Raises
        Refused: then it has not joined; TimedOut: then it joins when the broker is back.
        """
        joined, deadline = rooms_of(rooms), self._deadline("join", timeout)
        try:
            self._connection.run(done(BecomeMember(joined)), deadline)
        except Refused:
            self._connection.part(joined, deadline)
            raise

    def leave(self, *rooms: str, timeout: float | None = None) -> None:
        """Take one `join` of each room back. Where the broker is away, it is told when it is back."""
        self._connection.part(rooms_of(rooms), self._deadline("leave", timeout))

    # --- handlers ---------------------------------------------------------------------------

    def on(self, event: str) -> Callable[[F], F]:
        """A decorator: while `run` listens, the function is called for each message of this event, with the message.

        `connect`, `disconnect` and `gap` are what happens to the connection, with a Notice; `join` and `leave` are
        members that come and go. Raises UsageError.
        """
        return self._handlers.on(event)

    def run(
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
        with self.listen(*patterns, **start, **wanted) as messages:  # type: ignore[arg-type]
            for message in messages:
                for function in list(handlers.of(message)):
                    function(message)

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
            for client in [self, *list(self._sessions)]:
                for subscription in list(client._subscriptions):
                    subscription._end(deadline, counts=counts, with_client=True)
        finally:
            self._connection.close(deadline.left() or 0.0)
            self._connected._sessions.discard(self)
