"""One Socket.IO client: the rooms that it hears, what it is sent, and how far it is.

Rules of this file
1. What it wrote itself does not come back to it, nor that its own user joins and leaves.
2. Where it can come back, each event ends with its place: how far it is in each of its rooms. While it catches up in
   one, that is its own; else it is the feed's, and all who are in the same rooms share one encoded packet.
3. Nothing is awaited to hand something to it: what waits is bounded by its queue.
4. It comes into rooms and leaves them in the order in which that was asked for, one after the other; what it says does
   not wait for that, but is said where it is about to be.

Spec: docs/web.md, "Socket.IO". Tests: tests/web/test_socketio.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from zchat import Closed, Notice, Refused, TimedOut, UsageError, ZchatError
from zchat.names import inbox, room_name, user_key
from zchat.web.core import events, lines, resuming
from zchat.web.core.resuming import ROOMS_MAX
from zchat.web.feeds import RoomFeed
from zchat.web.gateway import WebGateway, WebUser
from zchat.web.heard import HeardRecord
from zchat.web.packets import event_packets
from zchat.web.queues import WaitingPackets

BREATH_SECONDS = 0.01


class SocketWindow:
    """A client that is connected. Handlers of the operator get it as `EventCaller`."""

    __slots__ = (
        *(
            "_audience",
            "_begun",
            "_cut",
            "_gateway",
            "_going",
            "_hears_presence",
            "_is_told",
            "_of_user",
            "_own",
            "_queue",
            "_rooms",
            "_user_key",
        ),
        *("is_gone", "tag", "user"),
    )

    def __init__(
        self,
        gateway: WebGateway,
        user: str,
        queue: WaitingPackets,
        id: str,
        rooms: Iterable[str],
        *,
        is_told: bool,
        hears_presence: bool,
        cut: Callable[[], None],
    ) -> None:
        self.user = user
        self._begun: asyncio.Future[None] | None = None  # waited for until its session is there
        self.tag = resuming.tag_of(id)
        self.is_gone = False
        self._user_key = user_key(self.user)
        self._gateway = gateway
        self._of_user: WebUser | None = None
        self._queue = queue
        self._going = list(rooms)  # where it is about to be
        self._is_told = is_told
        self._hears_presence = hears_presence
        self._cut = cut
        self._rooms: dict[str, RoomFeed] = {}  # the last one is where it speaks
        self._own: dict[str, int] = {}  # rooms in which it catches up -> how far it is
        self._audience = ""  # who shares packets with it

    # --- its session ------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether it has a session."""
        return self._of_user is not None

    @property
    def of_user(self) -> WebUser:
        """Its user, once its session is there."""
        if self._of_user is None:
            raise Closed("its session is not there")
        return self._of_user

    async def begin(self) -> None:
        """Begin its session, as soon as the broker is there. Raises Refused, Closed."""
        while not self.is_gone:
            try:
                user = await self._gateway.user(self.user)
            except TimedOut:
                continue
            if self.is_gone:
                self._gateway.release(user)
                return
            self._of_user = user
            if self._begun is not None:
                self._begun.set_result(None)
                self._begun = None
            return

    async def until_begun(self) -> None:
        """Its session is there. Raises Closed when it goes before."""
        if self._of_user is None and not self.is_gone:
            if self._begun is None:
                self._begun = asyncio.get_running_loop().create_future()
            await self._begun  # in the order in which they came
        if self._of_user is None:
            raise Closed("it has gone")

    def go(self, linger: float) -> None:
        """It is gone: nothing more comes, and after a while its user has left, unless another window is in the room."""
        self.is_gone = True
        rooms = [room for room in self._rooms if not room.startswith("@") and room not in self._own]
        for room in self.rooms:
            self._drop(room)
        if self._of_user is not None:
            self._gateway.release(self._of_user, rooms, linger)
        if self._begun is not None:
            self._begun.set_exception(Closed("it has gone"))
            self._begun = None

    # --- rooms ------------------------------------------------------------------------------

    @property
    def room(self) -> str:
        """Where it speaks: the room that it joins, or joined last. Empty: nowhere."""
        return self._going[-1] if self._going else next(reversed(self._rooms), "")

    @property
    def rooms(self) -> list[str]:
        """Where it is."""
        return list(self._rooms)

    def room_of(self, name: Any) -> str:
        """The room that it names; without a name where it speaks. Raises UsageError."""
        if name in (None, ""):
            if not self.room:
                raise UsageError("it is in no room")
            return self.room
        if not isinstance(name, str):
            raise UsageError("a room is text")
        return inbox(self.user) if name == "@me" else room_name(name)

    async def enter(self, after: dict[str, int | None]) -> None:
        """Be in its first rooms, from above an offset on or from now on; of a refusal it is told.

        Raises TimedOut, Closed.
        """
        async with self._gateway.turn(self):
            for room, offset in after.items():
                if self.is_gone:
                    return
                try:
                    await self._join(room, offset)
                except (Refused, UsageError) as error:
                    self.emit("error", events.told(error) | {"event": "join", "room": room})
                finally:
                    self._going.remove(room)

    async def join(self, room: str) -> dict[str, Any]:
        """Be in a room and hear it from now on. Raises ZchatError."""
        self._going.append(room)
        try:
            async with self._gateway.turn(self):
                return {} if self.is_gone else await self._join(room, None)
        finally:
            self._going.remove(room)

    async def leave(self, room: str) -> dict[str, Any]:
        """Be in it no longer. Raises UsageError."""
        async with self._gateway.turn(self):
            if room not in self._rooms:
                raise UsageError(f"it is not in {room}")
            self._drop(room)
            await self.of_user.leave(room)
        left = {"room": room}
        self.emit("left", left)
        return left

    # --- what it is sent --------------------------------------------------------------------

    def hear(self, feed: RoomFeed, heard: HeardRecord) -> None:
        """The next message of one of its rooms."""
        if self._own and not feed.is_caught_up(self) and heard.message.offset:
            self._own[feed.room] = heard.message.offset
        if heard.tag == self.tag:
            return
        if heard.is_presence and (heard.user_key == self._user_key or not self._hears_presence):
            return
        packets = None if self._own else heard.made.get(self._audience)
        if packets is None:
            name, args = lines.event_of(heard.message)
            packets = event_packets(name, self._with_place(args))
            if not self._own:
                heard.made[self._audience] = packets
        for packet in packets:
            self._queue.put_nowait(packet)

    def hear_notice(self, feed: RoomFeed, notice: Notice) -> None:
        """Messages that cannot be had any more."""
        gap = {"room": feed.room, "first": notice.offset, "last": notice.last, "reason": notice.reason}
        self.emit("gap", gap | ({"records": notice.records} if notice.records else {}))

    def emit(self, event: str, *args: Any) -> None:
        """Send an event to this client alone. Raises UsageError."""
        try:
            packets = event_packets(event, self._with_place(list(args)))
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"arguments that cannot be sent: {error}") from None
        for packet in packets:
            self._queue.put_nowait(packet)

    async def breathe(self) -> None:
        """Wait until what it was given is on its way, for as long as it reads."""
        await asyncio.sleep(0)
        while self._queue.is_far_behind and not self.is_gone:
            await asyncio.sleep(BREATH_SECONDS)

    def cut(self) -> None:
        """End it."""
        self._cut()

    # --- what it says, by handlers of the operator ------------------------------------------

    def broadcast(self, event: str, *args: Any, volatile: bool = False) -> None:
        """Publish an event in its room: to all who hear it, but not to this client. Raises UsageError."""
        said = events.spoken(event, args)
        headers = said.headers | {resuming.TAG: self.tag}
        self.of_user.client.publish(self.room_of(None), said.body, event=event, headers=headers, volatile=volatile)

    def reply(self, event: str, *args: Any) -> None:
        """Send an event to this client alone. Raises UsageError."""
        events.check_name(event)
        self.emit(event, *args)

    # --- parts ------------------------------------------------------------------------------

    async def _join(self, room: str, after: int | None) -> dict[str, Any]:
        if room in self._rooms:
            self._rooms[room] = self._rooms.pop(room)
            self._see_rooms()
            return self._joined(room, recovered=False)
        if len(self._rooms) >= ROOMS_MAX:
            raise Refused("too-many-rooms", f"it is in {ROOMS_MAX} rooms, which is the limit")
        feed = await self._gateway.feed(room, self.of_user)
        if self.is_gone:
            return {}
        self._rooms[room] = feed
        self._own[room] = feed.position if after is None else after
        self._see_rooms()
        try:
            await feed.attach(self, after)
            if not room.startswith("@"):
                await self.of_user.join(room)
        except ZchatError:
            self._drop(room)
            raise
        finally:
            self._own.pop(room, None)
        if self.is_gone:
            self._gateway.later(self.of_user.leave(room))
            return {}
        return self._joined(room, recovered=after is not None)

    def _joined(self, room: str, *, recovered: bool) -> dict[str, Any]:
        joined = {"room": room, "user": self.user, "offset": self._rooms[room].position, "recovered": recovered}
        self.emit("joined", joined)
        return joined

    def _drop(self, room: str) -> None:
        feed = self._rooms.pop(room, None)
        if feed is not None:
            feed.detach(self)
            self._see_rooms()

    def _see_rooms(self) -> None:
        self._audience = ";".join(["+", *self._rooms]) if self._is_told else "-"

    def _with_place(self, args: list[Any]) -> list[Any]:
        if not self._is_told:
            return args
        offsets = ((room, self._own.get(room, feed.position)) for room, feed in self._rooms.items())
        return [*args, resuming.place(self._gateway.client.log_id, offsets)]
