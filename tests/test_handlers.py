"""Functions that are called for events, in both faces, over a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

import zchat
import zchat.aio
from tests.aio.conftest import until
from tests.conftest import BrokerProcess, eventually
from zchat.core.gaps import Notice
from zchat.handlers import EventHandlers, reply_to

MEMORY = pytest.mark.parametrize("broker", [("--memory",)], indirect=True)


def message(event: str, offset: int = 3) -> zchat.Message:
    return zchat.Message("den", offset, "Ann", 7, event, b"x", {}, "s1")


def test_what_is_the_programs_own_is_called_by_no_message() -> None:
    handlers, heard = EventHandlers(lambda event, function: None), list[object]()
    for event in ("gap", "connect", "disconnect", "deploy", "deploy"):
        assert handlers.on(event)(heard.append) == heard.append
    assert len(handlers.of(message("deploy"))) == 2 and not handlers.want_presence
    assert [handlers.of(message(event)) for event in ("gap", "connect", "disconnect", "other")] == [[]] * 4
    notices = [Notice("live"), Notice("recovered"), Notice("lost"), Notice("gap")]
    for notice in notices:
        handlers.noticed(notice)
    assert heard == [notices[0], notices[2], notices[3]]
    handlers.on("leave")(print)
    assert handlers.want_presence
    with pytest.raises(zchat.UsageError):
        handlers.on("")
    with pytest.raises(zchat.UsageError):
        handlers.on("x")(3)


def test_an_answer_goes_to_the_senders_inbox() -> None:
    assert reply_to(message("x")) == ("@ann", {"reply-room": "den", "reply-offset": "3"})
    assert reply_to(message("x", 0)) == ("@ann", {"reply-room": "den"})


@MEMORY
@pytest.mark.slow
def test_threads_have_functions_called_in_order_until_the_client_is_closed(broker: BrokerProcess) -> None:
    heard: list[str] = []
    with zchat.connect(broker.address, "bot") as bot, zchat.connect(broker.address, "ann") as ann:

        @bot.on("deploy")
        def deployed(message: zchat.Message) -> None:
            heard.append(message.text)
            bot.publish("den", "mine", event="deploy")
            bot.reply(message, "seen", headers={"by": "bot"}).result(10)
            if message.text == "boom":
                raise RuntimeError(message.text)

        bot.on("join")(lambda message: heard.append(f"{message.user} came"))
        bot.on("connect")(lambda notice: heard.append(notice.kind))
        with pytest.raises(zchat.UsageError):
            bot.on("deploy")(asyncio.sleep)
        running = threading.Thread(target=lambda: bot.run("den"))
        running.start()
        eventually(lambda: "live" in heard, "it listens")
        with ann.listen("den"):
            ann.send("den", "v1", event="deploy")
            ann.send("den", "talk")
        ann.send("den", "v2", event="deploy")
        eventually(lambda: heard[-1] == "v2", "it is called")
        answers = eventually(lambda: (found := list(ann.history("@ann")))[1:] and found, "it has replied to both")
        assert [answer.text for answer in answers] == ["seen"] * 2
        assert dict(answers[0].headers).keys() == {"reply-room", "reply-offset", "by"}
        assert [each for each in heard if each != "bot came"] == ["live", "ann came", "v1", "v2"]
        bot.close()
        running.join(30)
        assert not running.is_alive()
    with zchat.connect(broker.address, "bot") as bot:

        @bot.on("deploy")
        def fails(message: zchat.Message) -> None:
            raise RuntimeError(message.text)

        with pytest.raises(RuntimeError, match="v1"):
            bot.run("den", after=0)


@MEMORY
@pytest.mark.slow
def test_tasks_have_functions_and_coroutines_called(broker: BrokerProcess) -> None:
    async def talk() -> None:
        heard: list[str] = []
        async with zchat.aio.connect(broker.address, "bot") as bot, zchat.aio.connect(broker.address, "ann") as ann:

            @bot.on("deploy")
            async def deployed(message: zchat.Message) -> None:
                await bot.reply(message, "seen")
                heard.append(message.text)

            bot.on("deploy")(lambda message: heard.append("too"))
            with pytest.raises(zchat.UsageError):
                bot.on("connect")(deployed)
            await ann.send("den", "v1", event="deploy")
            running = asyncio.create_task(bot.run("den", last=1))
            await until(lambda: heard == ["v1", "too"], "both are called")
            assert [answer.text async for answer in ann.history("@ann")] == ["seen"]
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    asyncio.run(asyncio.wait_for(talk(), 60))
