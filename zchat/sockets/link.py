"""A client's engine (core/engine.py) over ZeroMQ's sockets (port.py), and what is known of it: the part without waits.

Rules of this file
1. Whoever drives the engine calls what the engine calls; a face adds how it is driven and how a program waits.
2. Nobody waits for a name server (resolve.py), nor for a connection (connector.py), but until a deadline.
3. What a program was not told, and nobody else will tell, is told by a warning at the end.

It has more than 300 lines because all that the faces have in common is in it.
Spec: docs/design.md, "The client". Tests: tests/sockets/test_client.py, tests/aio.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from selectors import BaseSelector
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import zmq

from zchat import wire
from zchat.address import Address
from zchat.core import Instant
from zchat.core.client import AWAY, CLOSED, GREETING, READY, Answer, ClientCore
from zchat.core.client_session import SessionCore
from zchat.core.engine import Engine
from zchat.core.gaps import Notice
from zchat.core.port import Consumer
from zchat.core.publishing import Chunk
from zchat.core.working import Receiver
from zchat.errors import Closed, Refused, TimedOut, Unreachable, ZchatError
from zchat.sockets import exits
from zchat.sockets.clock import Deadline
from zchat.sockets.notices import Notices
from zchat.sockets.outbox import CHUNK_BYTES, Outbox
from zchat.sockets.port import SocketPort

if TYPE_CHECKING:
    from zchat.keys import Credentials

T = TypeVar("T")
OnNotice: TypeAlias = Callable[[Notice], object] | None
OwnKey: TypeAlias = "Credentials | None"  # its key and the broker's


class Settled(Protocol):
    """How far a session's publishes have an outcome."""

    settled_upto: int  # chunks, counted as the outbox opens them


class Seals(Protocol):
    """Who has the keys of rooms, as a client asks for it."""

    def rooms(self) -> frozenset[str]:
        """The rooms of which there is a key: what goes there is sealed. Raises UsageError."""

    def is_sealed(self, room: str) -> bool:
        """Whether that is so of a room. Raises BadName, UsageError."""

    def seal(self, room: str, user: str, record: wire.RecordOrBody, size: int) -> tuple[wire.RecordOrBody, int]:
        """A record as it goes to that room, and its size: sealed, or as it is. Raises BadName, UsageError."""

    def open(self, room: str, user: str, record: wire.Record) -> wire.Record | str:
        """A record with the event `sealed`, opened; or what is to be shown in its place."""


class Link:
    """One client's way to the broker. `made` makes a publication of each record; `call` has functions called."""

    _engine: Engine
    _own: ClientCore  # the connection's own session
    _published: Settled  # what became of what it published

    def __init__(
        self,
        address: Address,
        user: str,
        info: dict[str, str],
        on_notice: OnNotice,
        seals: Seals | None,
        credentials: OwnKey,
        *,
        made: Callable[[Any, Chunk, int], Any],
        call: Callable[[Callable[[], object]], object],
        selector: BaseSelector | None = None,
    ) -> None:
        own = ClientCore(user, info, iter(partial(os.urandom, 16), b""))
        try:
            self._port = SocketPort(address, credentials, selector)
            self._credentials = credentials
        except zmq.ZMQError as error:
            raise Closed(f"the connection failed: {error.strerror}") from error
        self._begin(own, address, Outbox(self.push, self, made), on_notice, call, seals)
        self._own = own
        self._engine = Engine(own, address, self._port, self.outbox, self)
        self._published = self._engine

    def _begin(
        self,
        core: SessionCore,
        address: Address,
        outbox: Outbox[Any],
        on_notice: OnNotice,
        call: Callable[[Callable[[], object]], object],
        seals: Seals | None,
    ) -> None:
        """What each session has of its own."""
        self.address = address
        self.user = core.user
        self.timeout: float | None = None  # of each call that says nothing else; None: as long as it takes
        self.outbox = outbox
        self.seals = seals  # None: it neither seals nor opens what is of sealed rooms
        self.opens = None if seals is None else seals.open
        self._core = core
        self._notices = Notices(on_notice, call)
        self._call = call
        self._answers: dict[int, Answer | None] = {}  # None: asked, not answered
        self._failure: ZchatError | None = None  # it has ended,
        self.broke: ZchatError | None = None  # and why, where nobody closed it
        self._refused: Refused | None = None  # the first since the last flush,
        self._untold: Refused | None = None  # and the first of which nobody has been told at all
        self._lost = 0  # messages that have no outcome, at the end
        self._lost_beside: dict[Link, None] = {}  # sessions of the connection that have some of which nobody has told

    def go_on(self, session: str, token: bytes, seq: int) -> None:
        """Before it starts: as the session that a process before had, whose last publish had that `seq`."""
        self._own.go_on(session, token, seq)
        self.outbox.opened = self._engine.settled_upto = seq

    # --- by whoever has a face on it --------------------------------------------------------

    @property
    def welcome(self) -> wire.Welcome:
        """What the broker said last about this session."""
        assert self._core.welcome is not None, "connected"
        return self._core.welcome

    @property
    def broker_time(self) -> int:
        """What the broker's clock says by now, in microseconds since 1970."""
        return time_ns() // 1_000 + self._core.broker_ahead

    @property
    def is_ready(self) -> bool:
        """Whether the broker is there."""
        return self.state == READY

    @property
    def state(self) -> str:
        """READY, AWAY or CLOSED, for whoever has been connected once."""
        state = self._core.state
        return CLOSED if self._failure is not None or state == CLOSED else READY if state == READY else AWAY

    def why_not(self) -> str:
        """What keeps the broker from answering, as far as we know."""
        if self._core.state == GREETING and self._core.welcome is None:
            return "something answers there, but not a zchat broker"
        return self._engine.seen if self._core.state == AWAY else "it is there, and slow"

    def is_sealed(self, room: str) -> bool:
        """Whether what goes to a room is sealed. Raises BadName, UsageError."""
        return self.seals is not None and self.seals.is_sealed(room)

    def sealed(self, room: str, record: wire.RecordOrBody, size: int) -> tuple[wire.RecordOrBody, int]:
        """A record as it goes to a room, and its size. Raises BadName, UsageError."""
        return (record, size) if self.seals is None else self.seals.seal(room, self.user, record, size)

    def record_bytes_max(self, room: str) -> int:
        """How large a record may be that goes to a room."""
        most = self.outbox.record_bytes_max
        if not self.is_sealed(room):
            return most
        from zchat.core.sealed import content_bytes_max  # only sealed rooms need it

        return content_bytes_max(most)

    def deadline(self, what: str, timeout: float | None) -> Deadline:
        """Of a call."""
        return Deadline(what, self.timeout if timeout is None else timeout)

    def room_deadline(self) -> Deadline:
        """Of a `publish` that finds the outbox full."""
        return self.deadline("room for another message", None)

    def late(self, deadline: Deadline) -> TimedOut:
        """What a call raises when its time is over."""
        seconds = deadline.seconds or 0.0
        if self.is_ready:
            return TimedOut(deadline.what, seconds)
        return Unreachable(str(self.address), seconds, self.why_not())

    def push(self) -> None:
        """Something was published, and nobody is awake to send it."""
        raise NotImplementedError

    def wake(self) -> None:
        """The engine rests, and there is something to do."""
        raise NotImplementedError

    def stir(self) -> None:
        """What somebody waits for may be there, and no turn brought it."""
        raise NotImplementedError

    def later(self, command: Callable[[SessionCore, Instant], object]) -> None:
        """Have a command done soon."""
        self._engine.later(partial(self._command, command))

    def do(self, command: Callable[[SessionCore, Instant], T]) -> T:
        """Do it now. Returns what it returns; raises what it raises, and Closed or Refused when it has ended."""
        raise NotImplementedError

    def call_when_settled(self, chunk: Chunk, function: Callable[[], object]) -> None:
        """Have a function of the program called once the chunk's outcome is known."""
        chunk.when_settled(partial(self._call, function))
        self._want_ack_of(chunk)

    def told(self, error: Exception) -> None:
        """The program knows of it."""
        if isinstance(error, Refused):
            self._untold = None

    # --- by the engine ----------------------------------------------------------------------

    def there(self) -> None:
        """The broker is there."""
        if self._own.next_key and self._credentials is not None:
            self._credentials.told(self._own.next_key.hex())
        self._notices.there()

    def lost(self) -> None:
        """The connection is lost."""
        self._notices.lost("")

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        """Something that somebody may wait for."""
        if refused:
            self._refused = self._refused or refused[0]
            self._untold = self._untold or refused[0]
        for number, answer in answers:
            if number in self._answers:
                self._answers[number] = answer

    def _command(self, command: Callable[[SessionCore, Instant], T], own: ClientCore, now: Instant) -> T:
        """Carried out in a turn of the engine, for this session of the connection."""
        return command(self._core, now)

    # --- what waits have in common ----------------------------------------------------------

    def _welcomed(self, wait: float) -> wire.Welcome:
        """It has waited for the broker. Raises why it is not there."""
        if self._failure is not None:
            raise self._failure
        welcome = self._core.welcome
        if welcome is None:
            raise Unreachable(str(self.address), wait, self.why_not())
        self.outbox.record_bytes_max = max(CHUNK_BYTES, welcome.limits.get("record_bytes_max", wire.RECORD_BYTES_MAX))
        return welcome

    def _expecting(self, ask: Callable[[SessionCore, Instant], int]) -> Callable[[SessionCore, Instant], int]:
        """What asks, and has the answer kept. `ask` gives the number of a request; 0 is done already."""

        def expect(core: SessionCore, now: Instant) -> int:
            number = ask(core, now)
            if number:
                self._answers[number] = None
            return number

        return expect

    def _subscribe(self, listener: Receiver, consumer: Consumer) -> Callable[[], bool]:
        """Subscribe. What is ordered goes to `consumer`. Returns whether that is over, one way or the other."""

        def start(core: SessionCore, now: Instant) -> None:
            self._engine.consumers[listener] = consumer
            core.listen(listener, now)

        self.do(start)
        listening = self._core.listening
        return lambda: bool(listener.is_begun or listening.trouble)

    def member_number(self) -> int:
        """What the next member of a group is called that this connection has."""
        return self._core.working.next_number()

    def server_number(self) -> int:
        """What the next room is called that this connection serves."""
        return self._core.calling.next_number()

    def _not_live(self, deadline: Deadline, began: float, *, is_late: bool) -> Unreachable:
        """Why a subscription has not become live."""
        listening = self._core.listening
        if not is_late:
            return Unreachable(str(self.address), round(monotonic() - began, 1), listening.trouble)
        why = listening.trouble or listening.silence if self.is_ready else self.why_not()
        return Unreachable(str(self.address), deadline.seconds or 0.0, why)

    def unlisten(self, listener: Receiver) -> None:
        """Unsubscribe; nothing comes after it returns."""

        def end(core: SessionCore, now: Instant) -> None:
            core.unlisten(listener, now)
            self._engine.consumers.pop(listener, None)

        self.do(end)

    def _want_acks(self) -> Callable[[], bool]:
        """Somebody is about to wait for what becomes of what was published so far. Returns whether it is known."""
        published, opened = self._published, self.outbox.opened
        if published.settled_upto < opened:
            self.do(lambda core, now: core.want_acks(opened))
        return lambda: published.settled_upto >= opened

    def _want_all_acks(self) -> Callable[[], bool]:
        """The same of all sessions of the connection."""
        return self.do(lambda core, now: self._engine.want_acks()) if self._engine.lines else self._want_acks()

    def _want_ack_of(self, chunk: Chunk) -> None:
        """The same of one chunk: only what is volatile may have asked for none."""
        if chunk.flags & wire.VOLATILE and not chunk.is_settled:
            opened = self.outbox.opened
            self.later(lambda core, now: core.want_acks(opened))

    def _flushed(self) -> None:
        """All that was published is settled. Raises the first Refused since the last flush."""
        refused, self._refused = self._refused, None
        if refused is not None:
            self.told(refused)
            raise refused

    # --- its end ----------------------------------------------------------------------------

    def hold(self, seconds: float) -> None:
        """Before a fork: its threads, if it has some, are in the middle of no turn, unless that takes too long."""

    def let_go(self) -> None:
        """After it, in the parent."""

    def forked(self) -> None:
        """In a child after a fork: the sockets belong to the parent, and would hang."""
        self._failure = self.broke = Closed("this process was forked: connect again in the child")
        self.outbox.forked(self._failure)
        self._engine.forked()

    def _bye(self) -> Callable[[], bool] | None:
        """End the session, if the broker is there. Returns whether it has ended."""
        core = self._core
        if core.state != READY:
            return None
        try:
            self.do(lambda core, now: core.bye())
        except ZchatError:
            return None  # it has ended
        return lambda: core.state == CLOSED

    def _end(self, error: Exception | None) -> None:
        """The last that is done with the engine; `error` is what a turn raised."""
        broke = self._engine.failure
        if isinstance(error, zmq.ZMQError):
            broke = Closed(f"the connection failed: {error.strerror}")
        elif error is not None:  # whatever it is, nobody may wait for an engine that goes on no more
            broke = Closed(f"the client failed: {type(error).__name__}: {error}")
            broke.__cause__ = error
        self.broke = broke
        failure = broke or Closed()
        unknown = failure if isinstance(failure, Closed) else Closed(str(failure))  # a Refused would say: not stored
        self._lost = self._engine.close(unknown)
        self._failure = failure
        self._notices.end(broke)
        self._port.close()

    def _tell_lost(self) -> None:
        """What the program has not been told, and nobody else will tell."""
        lost, self._lost = self._lost, 0
        while self._lost_beside:
            beside, _ = self._lost_beside.popitem()
            lost, beside._lost = lost + beside._lost, 0
        refused, self._untold = self._untold, None
        if lost:
            what = "1 message has" if lost == 1 else f"{lost} messages have"
            exits.tell(f"zchat: {what} no acknowledgement of {self.address}, and may be lost: the client has ended")
        if refused is not None:
            exits.tell(f"zchat: {self.address} refused what was published, and it is not stored: {refused}")
