"""The conversations of a user, over a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import zchat
import zchat.aio
from tests.chat.conftest import chatting, run, until
from tests.conftest import BrokerProcess
from zchat.chat.core.conversation import Conversation
from zchat.chat.core.places import cursor_of
from zchat.chat.kept import KeptPlaces
from zchat.chat.reading import ChatPage

pytestmark = pytest.mark.slow  # a broker is a process


def test_unread_counts_and_rooms_follow_the_user(shared_broker: BrokerProcess, room: str, user: str) -> None:
    address, other = shared_broker.address, f"{room}.two"

    async def talk() -> None:
        async with zchat.aio.connect(address, "ben") as ben, chatting(address, user, room, other) as chat:
            await ben.send(room, "before")
            await until(lambda: chat.of(room).is_live and chat.of(other).is_live, "both are live")
            assert chat.of(room).unread == len(chat.texts(room)) == 0 or chat.texts(room) == ["before"]
            chat.session.read(chat.of(room))
            for text in ("one", f"two @{user}"):
                await ben.send(other, text)
            await until(lambda: chat.of(other).unread == 2, "two came")
            assert chat.of(other).mentions == 1
            assert (other, f"two @{user}", True) in chat.face.came_of
        async with chatting(address, user) as again:
            assert {room, other} <= set(again.session.conversations.all)
            await until(lambda: again.of(other).is_live, "it is live")
            assert (again.of(other).unread, again.of(other).mentions) == (2, 1)
            assert not any(speaks for _, _, speaks in again.face.came_of), "nothing is news that was there before"
            again.session.read(again.of(other))
            async with chatting(address, user) as third:
                await until(lambda: third.of(other).is_live, "it is live")
                await again.session.places.keep()
                await third.session.look_elsewhere()
                assert third.of(other).unread == 0, "it was read on the other machine"

    run(talk())


def test_a_room_that_was_left_is_not_there_the_next_time(shared_broker: BrokerProcess, room: str, user: str) -> None:
    async def talk() -> None:
        async with chatting(shared_broker.address, user, room, f"{room}.two") as chat:
            await until(lambda: chat.of(room).is_live, "it is live")
            await chat.session.places.keep()
            await chat.session.part(room)
            names = {member.user for member in await chat.client.who(room) if member.state == "live"}
            assert user not in names
            assert cursor_of(room) not in {cursor.name for cursor in await chat.client.cursors()}

    run(talk())


def test_direct_messages_are_conversations_and_come_back(shared_broker: BrokerProcess, user: str) -> None:
    address, ben_name = shared_broker.address, f"ben-{user}"

    async def talk() -> None:
        async with zchat.aio.connect(address, ben_name) as ben:
            await ben.send(f"@{user}", "while you were away")
            async with chatting(address, user) as chat:
                await until(lambda: f"@{ben_name}" in chat.session.conversations.all, "it is opened")
                await until(lambda: chat.of(f"@{ben_name}").unread == 1, "it is unread")
                chat.type("and here I am", f"@{ben_name}")
                await until(lambda: len(chat.texts(f"@{ben_name}")) == 2, "the own copy comes")
                assert not chat.of(f"@{ben_name}").typed.unsent
                await ben.send(f"@{user}", "good")
                await until(lambda: (f"@{ben_name}", "good", True) in chat.face.came_of, "it speaks to the user")
                chat.session.read(chat.of(f"@{ben_name}"))
            async with chatting(address, user) as again:
                await until(lambda: len(again.texts(f"@{ben_name}")) == 3, "all of it is there")
                await until(lambda: again.of(f"@{ben_name}").is_live, "it is live")
                assert again.of(f"@{ben_name}").unread == 0
                await again.session.part(f"@{ben_name}")
            async with chatting(address, user, "general") as third:
                await until(lambda: third.session._is_inbox_live, "the inbox is live")
                assert f"@{ben_name}" not in third.session.conversations.all, "it was closed"

    run(talk())


def test_a_direct_message_that_was_read_is_read_whenever_what_was_before_it_comes(
    shared_broker: BrokerProcess, user: str
) -> None:
    address, ben_name = shared_broker.address, f"ben-{user}"

    async def talk() -> None:
        async with zchat.aio.connect(address, ben_name) as ben, chatting(address, user) as chat:
            await until(lambda: chat.session._is_inbox_live, "the inbox is live")
            goes_on, last = asyncio.Event(), chat.session.reader.last

            async def late(conversation: Conversation) -> ChatPage:
                await goes_on.wait()
                return await last(conversation)

            chat.session.reader.last = late  # type: ignore[method-assign]
            offset = await ben.send(f"@{user}", "are you there?")
            await until(lambda: f"@{ben_name}" in chat.session.conversations.all, "it is opened")
            chat.session.read(chat.of(f"@{ben_name}"))
            await chat.session.places.keep()
            assert {cursor.name: cursor.offset for cursor in await chat.client.cursors()}[
                f"chat-dm.{ben_name}"
            ] == offset
            goes_on.set()
            await until(lambda: chat.of(f"@{ben_name}").is_live, "it is live")
            assert chat.of(f"@{ben_name}").unread == 0

    run(talk())


def test_a_place_that_could_not_be_kept_is_kept_the_next_time(shared_broker: BrokerProcess, user: str) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, user) as client:
            offset = await client.send("kept", "x")
            places = KeptPlaces(client)
            places.sorted(offset)
            keeping = asyncio.create_task(places.keep())
            await asyncio.wait([keeping], timeout=0)  # it has begun
            keeping.cancel()
            await places.keep()
            assert [(each.name, each.offset) for each in await client.cursors()] == [("chat-inbox", offset)]
            assert places.sorted_upto == offset and not places._unkept

    run(talk())


def test_what_is_typed_waits_for_a_broker_that_is_away(
    start_broker: Callable[..., BrokerProcess], room: str, user: str
) -> None:
    broker = start_broker()

    async def talk() -> None:
        async with chatting(broker.address, user, room) as chat:
            await until(lambda: chat.of(room).is_live, "it is live")
            chat.type("one")
            await until(lambda: chat.texts(room) == ["one"], "it comes")
            broker.stop()
            await until(lambda: not chat.client.is_connected, "it is lost")
            chat.type("two")
            chat.type("three")
            await until(lambda: [unsent.state for unsent in chat.of(room).typed.unsent] == ["pending"] * 2, "they wait")
            broker.start()
            await until(lambda: chat.texts(room) == ["one", "two", "three"], "they come, in order")
            await until(lambda: not chat.of(room).typed.unsent, "nothing waits")
            await until(lambda: len(chat.of(room).members) == 1, "the members are known again")

    run(talk())


def test_a_room_that_cannot_be_read_is_told(shared_broker: BrokerProcess, user: str) -> None:
    async def talk() -> None:
        async with chatting(shared_broker.address, user, "general") as chat:
            chat.session.open("x" * 100)
            long = chat.session.open("ok")
            chat.type("x" * 2_000_000, "ok")
            await until(lambda: [unsent.state for unsent in long.typed.unsent] == ["failed"], "it is too large")
            assert "limit" in long.typed.unsent[0].reason or "bytes" in long.typed.unsent[0].reason

    run(talk())
