"""A visitor in the conversation: its session with the broker, the rooms that it is in, what it says and asks for.

Rules of this file
1. Commands are carried out one at a time; what they raise as a ZchatError the visitor is told (visitor.py).
2. The session ends once what the visitor said is stored, or has not been for a minute.

Docs: docs/doors.md. Tests: tests/tcp/test_gateway.py.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from zchat.aio.publication import Publication
from zchat.core.gaps import Notice
from zchat.errors import Closed, UsageError, ZchatError
from zchat.message import Message
from zchat.names import inbox
from zchat.printable import printable
from zchat.tcp import shown
from zchat.tcp.login import VisitorLogin
from zchat.tcp.spoken import COMMANDS, Said, SlashCommand, understood

if TYPE_CHECKING:
    from zchat.aio.client import Client
    from zchat.aio.subscription import Subscription
    from zchat.tcp.audience import Audience
    from zchat.tcp.gateway import Gateway
    from zchat.tcp.visitor import Visitor

UNSTORED_BYTES_MAX = 64 << 10  # of one visitor; above it no more is read
RECORD_BYTES = 64  # that a message costs beside its body
STORED_SECONDS = 60.0  # a session that is over waits so long for what it said to be stored
SHOWN_SECONDS = 2.0  # and then for that to be shown to the visitor, too
READ_SECONDS = 30.0  # for what /last shows to be read
OUTSIDE = ("login", "quit")  # what may be done before one has come in
ROOMS_MAX = 32  # that it may be in


class Participant:
    """Of one visitor. `begin`, then it may say something, until it is to `finish`."""

    def __init__(self, gateway: Gateway, visitor: Visitor) -> None:
        self.session_id = ""
        self.room = ""  # where it types; empty: in none
        self._gateway = gateway
        self._visitor = visitor
        self._session: Client | None = None
        self._rooms: dict[str, Audience] = {}
        self._inbox: Subscription | None = None
        self._unstored = 0  # messages,
        self._unstored_bytes = 0
        self._last_offset = 0  # of what it said and is stored
        tokens = gateway.options.tokens
        self.login = None if tokens is None else VisitorLogin(tokens)  # where a token is needed

    @property
    def takes_lines(self) -> bool:
        """Whether what it types is looked at: it has a session, or is to log in."""
        return self._session is not None or self.login is not None

    async def begin(self) -> None:
        """It comes."""
        if self.login is not None:
            self._visitor.tell("who are you? /login TOKEN")
        else:
            await self._come_in(self._gateway.guest())

    async def _come_in(self, user: str) -> None:
        gateway, visitor, room = self._gateway, self._visitor, self._gateway.options.room
        try:
            session = await gateway.begin(visitor, user, self._notice)
            self.session_id = session.session_id
            self._session = session
            await self._enter(room)
        except ZchatError as error:
            visitor.cut_off(str(error))
            visitor.leave()
            return
        visitor.tell(f"you are {session.user} in {room}; /help lists what you can do")
        gateway.log(f"{visitor.peer} is {session.user}")

    async def finish(self) -> None:
        """Nothing more is typed. What it said is to be stored, and shown where it shows, before it goes."""
        gateway, visitor = self._gateway, self._visitor
        if not await gateway.until(lambda: not self._unstored, STORED_SECONDS):
            self.tell_unstored()
        audience = self._rooms.get(self.room)
        if audience is not None and visitor.is_there and self._last_offset:
            last = self._last_offset
            await gateway.until(lambda: audience.delivered >= last or not visitor.is_there, SHOWN_SECONDS)
        for room in self._rooms:
            gateway.leave(visitor, room)
        visitor.tell("goodbye")
        visitor.close()
        try:
            if self._session is not None:
                await gateway.end(self._session)
        finally:
            gateway.log(f"{visitor.peer} has gone")
            gateway.gone(visitor)

    # --- saying -----------------------------------------------------------------------------

    def typed(self, line: bytes) -> None:
        """A line. Raises ZchatError."""
        match understood(line):
            case None:
                pass
            case SlashCommand() as command if self._session is not None or command.word in OUTSIDE:
                self._visitor.spend(command.lines)
                self._visitor.do(getattr(self, f"_{command.word}")(command))
            case Said(body) if self._session is not None:
                self.say(body)
            case _:
                raise UsageError("you have not logged in: /login TOKEN")

    def say(self, body: bytes, end: bytes = b"\n") -> None:
        """Something for the room. Raises ZchatError."""
        if not self.room:
            raise UsageError("you are in no room; /join ROOM goes to one")
        self._publish(self.room, body, end)

    def is_held_up(self) -> bool:
        """Whether it has to wait, as too much of what was said is not stored yet."""
        return self._unstored_bytes > UNSTORED_BYTES_MAX or self._gateway.holds_up(self._visitor)

    def tell_unstored(self) -> None:
        """What is not stored by now may never be: the visitor and the operator are told."""
        if self._unstored:
            lost = f"{self._unstored:,} messages have no acknowledgement, and may be lost"
            self._visitor.tell(lost)
            self._gateway.log(f"{self._visitor.peer}: {lost}")

    def _publish(self, room: str, body: bytes, end: bytes = b"\n", echo: str = "") -> None:
        assert self._session is not None, "it has begun"
        try:
            publication = self._session.publish(room, body, headers=shown.headers_of(end) or None)
        except Closed as error:  # its session alone, or all
            self._visitor.cut_off(str(error))
            return
        size = len(body) + RECORD_BYTES
        self._unstored += 1
        self._unstored_bytes += size
        self._gateway.said(size)
        publication.add_done_callback(partial(self._stored, size, echo))

    def _stored(self, size: int, echo: str, publication: Publication) -> None:
        self._unstored -= 1
        self._unstored_bytes -= size
        try:
            offset = publication._outcome()  # it is known, and a callback cannot wait
            if echo:
                self._visitor.show(echo)
            else:
                self._last_offset = max(self._last_offset, offset)
        except ZchatError as error:
            self._visitor.tell(f"not stored: {error}")
            self._gateway.log(f"{self._visitor.peer}: not stored: {error}")
        self._gateway.said(-size)
        self._visitor.go_on()

    # --- its session and rooms --------------------------------------------------------------

    def _notice(self, notice: Notice) -> None:
        if notice.kind == "lost":
            self._visitor.tell("the broker is away; what you type is sent when it is back")
        elif notice.kind == "back" and self._session is not None:
            self.session_id = self._session.session_id  # a broker with another log gave another
            self._visitor.tell("the broker is back")

    async def _enter(self, room: str) -> None:
        assert self._session is not None, "it has begun"
        former, self.room = self.room, room  # what comes from now on comes from here
        try:
            audience = await self._gateway.enter(self._visitor, room, self._session)
            await self._gateway.join(self._session, room)
        except ZchatError:
            self._gateway.leave(self._visitor, room)
            self.room = former
            raise
        self._rooms[room] = audience

    # --- commands ---------------------------------------------------------------------------

    async def _help(self, command: SlashCommand) -> None:
        width = max(len(row.usage) for row in COMMANDS.values())
        for row in COMMANDS.values():
            self._visitor.show(f"* {row.usage:<{width}}  {row.sentence}")

    async def _quit(self, command: SlashCommand) -> None:
        self._visitor.leave()

    async def _login(self, command: SlashCommand) -> None:
        if self.login is None:
            raise UsageError("no token is needed here; /nick NAME says who you are")
        await self._come_in(self.login.user(command.text))
        if self._session is not None:
            await self._listen_to_inbox()

    async def _nick(self, command: SlashCommand) -> None:
        former = self._session
        assert former is not None, "it has begun"
        if self.login is not None:
            self.login.check_name()
        if command.name == former.user:
            raise UsageError(f"you are {former.user} already")
        session = await self._gateway.begin(self._visitor, command.name, self._notice)
        try:
            for room in self._rooms:
                await self._gateway.join(session, room)
        except ZchatError:
            await session.close()
            raise
        self._session, self.session_id = session, session.session_id
        await self._gateway.end(former)
        self._visitor.tell(f"you are {session.user} now")
        await self._listen_to_inbox()

    async def _join(self, command: SlashCommand) -> None:
        room = self._open_to_visitors(command.name)
        if room not in self._rooms:
            if len(self._rooms) >= ROOMS_MAX:
                raise UsageError(f"you are in {len(self._rooms)} rooms, limit {ROOMS_MAX}")
            await self._enter(room)
        self.room = room
        self._visitor.tell(f"you are in {room}; what you type is said there")

    async def _part(self, command: SlashCommand) -> None:
        room = command.name or self.room
        if room not in self._rooms:
            raise UsageError(f"you are not in {room}" if room else "you are in no room")
        assert self._session is not None, "it has begun"
        self._gateway.leave(self._visitor, room)
        del self._rooms[room]
        if room == self.room:
            self.room = next(reversed(self._rooms), "")
        await self._session.leave(room)
        where = f"you are in {self.room}" if self.room else "you are in no room now"
        self._visitor.tell(f"you have left {room}; {where}")

    async def _who(self, command: SlashCommand) -> None:
        room = self._open_to_visitors(command.name or self.room)
        assert self._session is not None, "it has begun"
        users = [member.user for member in await self._session.who(room)]
        self._visitor.show(f"* in {printable(room)}: {shown.names(users)}")

    async def _msg(self, command: SlashCommand) -> None:
        if self._inbox is None:
            await self._listen_to_inbox()  # for the answer
        echo = f"(private to {printable(command.name)}) {printable(command.text)}"
        self._publish(inbox(command.name), command.text.encode(), echo=echo)

    async def _last(self, command: SlashCommand) -> None:
        room, gateway = self._open_to_visitors(self.room), self._gateway
        assert self._session is not None, "it has begun"
        async for message in self._session.history(room, last=command.number):
            self._visitor.show(f"[{_clock(message)}] {shown.line(message)}")
            if self._visitor in gateway.waiting:
                await gateway.until(lambda: self._visitor not in gateway.waiting, READ_SECONDS)
            if not self._visitor.is_there:
                return

    def _open_to_visitors(self, room: str) -> str:
        if not room:
            raise UsageError("you are in no room")
        if not self._gateway.is_allowed(room):
            raise UsageError(f"{room} is not open here")
        return room

    # --- its inbox --------------------------------------------------------------------------

    async def _listen_to_inbox(self) -> None:
        """Once it has a name that others know: a guest who is silent has no inbox."""
        former, self._inbox = self._inbox, None
        if former is not None:
            await former.close()
        assert self._session is not None, "it has begun"
        self._inbox = await self._session.listen(inbox(self._session.user), join=False)
        self._gateway.run(self._read_inbox(self._inbox))

    async def _read_inbox(self, messages: Subscription) -> None:
        try:
            async for message in messages:
                self._visitor.show(f"(private) {shown.line(message)}")
        except ZchatError as error:
            self._visitor.tell(f"private messages reach you no more: {error}")


def _clock(message: Message) -> str:
    """When it was taken, in the gateway's local time; with the date when it is not today's."""
    then, today = time.localtime(message.time // 1_000_000), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M:%S", then)
