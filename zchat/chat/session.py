"""The conversations of one user at one broker, kept up to date by tasks of an event loop.

    broker ──► a feed for each room, one for the inbox ──► conversations (core/) ──► a face, which shows them
           ◄── what is typed, how far was read ◄──

Rules of this file
1. All that is known of a conversation is in core/: here are tasks, and calls of the public API.
2. What a task raises is told, and ends that task only.

Docs: docs/chat.md. Tests: tests/chat/test_session.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from zchat.aio import Client
from zchat.chat.core.conversation import Conversation
from zchat.chat.core.rooms import Conversations
from zchat.chat.core.shown import note, peer_of, shown
from zchat.chat.face import ChatFace
from zchat.chat.kept import KeptPlaces
from zchat.chat.reading import PAGE, Reader
from zchat.core.gaps import Notice
from zchat.errors import ZchatError
from zchat.message import Message
from zchat.names import inbox

DIRECT_PAGE = 300  # of the inbox, where it is opened
OPENING_MAX = 8  # rooms that open at once: a broker has bounds
AT_ONCE = 128  # records that are taken in before other tasks have their turn
KEEP_SECONDS = 1.0  # after which a place that was read is kept
CLOSE_SECONDS = 5.0  # for that, at the end
LOOK_SECONDS = 30.0  # after which it is looked what was read on other machines
ROOM = "general"  # where somebody begins who is in no room yet


class ChatSession:
    """The conversations of a user. `start`, then tasks do the rest; `close` at the end."""

    def __init__(self, client: Client, face: ChatFace) -> None:
        self.client = client
        self.face = face
        self.conversations = Conversations(client.user)
        self.reader = Reader(client)
        self.places = KeptPlaces(client)
        self.own = inbox(client.user)
        self.reason = ""  # why the connection is lost
        self._feeds: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opening = asyncio.Semaphore(OPENING_MAX)
        self._is_inbox_live = False

    async def start(self, rooms: Iterable[str], *, also_known: bool = True) -> str:
        """Open the rooms that are named, and also those that the user is in. Returns the one to begin with."""
        named = list(rooms)
        await self.places.look()
        names = [*named, *(await self.places.conversations() if also_known else ())]
        if not any(not name.startswith("@") for name in names):
            names.append(ROOM)
        for name in dict.fromkeys(names):
            self.open(name)
        self._feed(self.own)
        self.go(self._keep_places())
        return named[0] if named else next(name for name in self.conversations.all if not name.startswith("@"))

    async def close(self) -> None:
        """Keep the places; end the tasks."""
        for task in [*self._feeds.values(), *self._tasks]:
            task.cancel()
        if self.client.is_connected:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.places.keep()
            except (ZchatError, TimeoutError):
                pass  # it is unread at the next start
        await asyncio.gather(*self._feeds.values(), *self._tasks, return_exceptions=True)

    def go(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Have it done beside all else."""
        task = asyncio.get_running_loop().create_task(self._told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # of a task that is cancelled before it runs, nobody awaits it
        return task

    def on_notice(self, notice: Notice) -> None:
        """The connection was lost, or is back."""
        self.reason = notice.reason if notice.kind in ("lost", "stranger") else ""
        self.face.changed(None)

    # --- conversations ----------------------------------------------------------------------

    def open(self, name: str) -> Conversation:
        """A room, or the conversation with a user; what comes there is heard from now on."""
        found = self.conversations.all.get(name)
        if found is not None and not found.refused:
            return found
        if found is not None:
            self.conversations.close(name)
        conversation = self.conversations.open(name, self.places.of(name))
        if conversation.is_direct:
            self.places.read(conversation)
            self.go(self._fill(conversation))
        else:
            self._feed(name)
        self.face.changed(None)
        return conversation

    async def part(self, name: str) -> None:
        """Leave it, here and on other machines."""
        self.conversations.close(name)
        feed = self._feeds.pop(name, None)
        if feed is not None:
            feed.cancel()
        self.face.changed(None)
        await self.places.drop(name)

    def read(self, conversation: Conversation) -> None:
        """The user has read it to its end. Of a room that is when its history has come; what is said to one alone came
        by the inbox, in order, whatever is still read of what was before."""
        upto = conversation.window.last_offset
        if upto and (conversation.is_live or conversation.is_direct) and conversation.read(upto):
            self.places.read(conversation)
            self.face.changed(None)

    async def look_at_members(self, conversation: Conversation) -> None:
        """Ask who is in a room."""
        if not conversation.is_direct:
            found = await self.client.who(conversation.name)
            conversation.members.are((member.user, member.session, member.state) for member in found)
            self.face.changed(conversation)

    async def look_for_topic(self, conversation: Conversation) -> None:
        """Look back for the last topic of a room."""
        if not (conversation.topic or conversation.is_direct or conversation.is_topic_known):
            conversation.is_topic_known = True
            topic = await self.reader.topic(conversation)
            conversation.topic = conversation.topic or topic
            self.face.changed(conversation)

    async def look_elsewhere(self) -> None:
        """What was read on another machine is read here."""
        await self.places.look()
        for conversation in self.conversations.all.values():
            if conversation.unread and conversation.read(self.places.of(conversation.name) or 0):
                self.face.changed(None)

    # --- feeds ------------------------------------------------------------------------------

    def _feed(self, room: str) -> None:
        self._feeds[room] = asyncio.get_running_loop().create_task(self._told(self._listen(room)))

    async def _listen(self, room: str) -> None:
        conversation = None if room == self.own else self.conversations.all[room]
        taken = 0

        def noticed(notice: Notice) -> None:
            if conversation is None:
                self._is_inbox_live |= notice.kind == "live"
            elif room in self.conversations.all:
                self._noticed(conversation, notice, taken)

        last, joins = (PAGE, True) if conversation is not None else (DIRECT_PAGE, False)
        try:
            subscription = self.client.listen(room, last=last, join=joins, presence=joins, on_notice=noticed)
            async with self._opening:
                await subscription
            async with subscription:
                async for message in subscription:
                    taken += 1
                    if conversation is None:
                        self._take_direct(message)
                    else:
                        self._take(conversation, message, is_new=conversation.is_live)
                    if taken % AT_ONCE == 0:
                        await asyncio.sleep(0)
        except ZchatError as error:
            if conversation is not None:
                conversation.refused = str(error)
                self.face.changed(conversation)
            raise

    def _take_direct(self, message: Message) -> None:
        name = peer_of(message, self.client.user)
        known = self.conversations.all.get(name)
        is_new = not message.offset or message.offset > self.places.sorted_upto
        self.places.sorted(message.offset)
        if known is None and not is_new:
            return  # of a conversation that was closed
        conversation = known or self.open(name)
        if not message.offset or message.offset > conversation.window.last_offset:
            self._take(conversation, message, is_new=self._is_inbox_live)

    def _take(self, conversation: Conversation, message: Message, *, is_new: bool) -> None:
        if message.session == self.client.session_id:
            conversation.typed.came(message.offset, message.text, message.event)
        record = shown(message)
        if record is not None:
            speaks = conversation.take(record)
            self.face.came(conversation, record, speaks=speaks and is_new)

    def _noticed(self, conversation: Conversation, notice: Notice, taken: int) -> None:
        if notice.kind == "live":
            window = conversation.window
            window.is_at_beginning = taken < PAGE
            is_new = conversation.read_upto is None
            conversation.live(notice.offset)
            if is_new:
                self.places.read(conversation)
            is_cut = not window.is_at_beginning and window.first_offset > (conversation.read_upto or 0)
            conversation.is_more = is_cut and conversation.unread > 0
            self.go(self.look_at_members(conversation))
            self.face.changed(conversation)
        elif notice.kind in ("back", "recovered"):
            self.go(self.look_at_members(conversation))
        elif notice.kind == "gap":
            missing = f"{notice.records:,} messages" if notice.records else "some messages"
            text = f"{missing} cannot be had any more ({notice.reason})"
            record = note(text, time.time_ns() // 1_000, "gap")
            conversation.window.add(record, is_followed=conversation.is_followed)
            self.face.came(conversation, record, speaks=False)

    # --- parts ------------------------------------------------------------------------------

    async def _fill(self, conversation: Conversation) -> None:
        """What was said to and by a user before the conversation was opened."""
        page = await self.reader.last(conversation)
        if not conversation.window.records:
            conversation.window.begin_at(page.records, is_at_end=True, is_at_beginning=page.is_whole)
        conversation.live(0)
        conversation.count()
        self.face.changed(conversation)

    async def _keep_places(self) -> None:
        """Keep what was read, and look at what was read elsewhere, for ever."""
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            if not self.client.is_connected:
                continue
            await self._told(self.places.keep())
            if loop.time() - looked > LOOK_SECONDS:
                looked = loop.time()
                await self._told(self.look_elsewhere())

    async def _told(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except (ZchatError, OSError) as error:
            self.face.tell(str(error), is_error=True)
        except Exception as error:
            self.face.tell(f"internal error: {type(error).__name__}: {error}; please report it", is_error=True)
