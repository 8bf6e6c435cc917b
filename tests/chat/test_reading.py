"""The window moves over a long conversation, and is never large."""

from __future__ import annotations

import pytest

import zchat.aio
from tests.chat.conftest import chatting, run, until
from tests.conftest import BrokerProcess
from zchat.chat.core.window import MOST, STEP

pytestmark = pytest.mark.slow  # a broker is a process

MANY = 5_000


def test_all_of_it_can_be_read_back_and_forth(shared_broker: BrokerProcess, room: str, user: str) -> None:
    async def talk() -> None:
        address = shared_broker.address
        async with zchat.aio.connect(address, "ben") as ben:
            for number in range(MANY):
                ben.publish(room, str(number))
            await ben.flush()
            async with chatting(address, user, room) as chat:
                conversation, reader = chat.of(room), chat.session.reader
                await until(lambda: conversation.is_live, "it is live")
                window = conversation.window
                assert len(window.records) < 200 and chat.texts(room)[-1] == str(MANY - 1)
                conversation.is_followed = False
                while await reader.load_older(conversation):
                    texts = chat.texts(room)
                    assert texts == [str(number) for number in range(int(texts[0]), int(texts[-1]) + 1)]
                    assert len(window.records) <= MOST + STEP + 500
                assert texts[0] == "0" and window.is_at_beginning and not window.is_at_end
                await ben.send(room, "news")
                await until(lambda: window.newer, "it is counted")
                await reader.go_to(conversation, window.records[50].offset)
                assert "0" in chat.texts(room) and not window.is_at_end
                while await reader.load_newer(conversation):
                    pass
                assert chat.texts(room)[-1] == "news" and window.is_at_end
                await reader.load_older(conversation)
                await reader.go_to(conversation, 60)
                await reader.go_to_end(conversation)
                assert chat.texts(room)[-1] == "news" and window.is_at_end

    run(talk())


def test_a_topic_is_found_and_a_direct_conversation_is_read_alone(
    shared_broker: BrokerProcess, room: str, user: str
) -> None:
    async def talk() -> None:
        address = shared_broker.address
        async with zchat.aio.connect(address, f"ben-{user}") as ben, zchat.aio.connect(address, f"zoe-{user}") as zoe:
            await ben.send(room, "about cats", event="topic")
            for number in range(300):
                ben.publish(room, str(number))
                (ben if number % 10 == 0 else zoe).publish(f"@{user}", str(number))
            await ben.flush()
            await zoe.flush()
            async with chatting(address, user, room) as chat:
                await until(lambda: chat.of(room).is_live, "it is live")
                assert chat.of(room).topic == ""
                await chat.session.look_for_topic(chat.of(room))
                assert chat.of(room).topic == "about cats"
                direct = chat.session.open(f"@ben-{user}")
                page = await chat.session.reader.last(direct)
                assert [record.text for record in page.records] == [str(number) for number in range(0, 300, 10)]

    run(talk())
