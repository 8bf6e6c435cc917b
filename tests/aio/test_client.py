"""`zchat.aio` against a real broker: the same names, arguments, errors and messages as those of the blocking client."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import zchat
import zchat.aio
from tests.aio.conftest import Around, Loops, until
from tests.conftest import BrokerProcess, eventually

pytestmark = pytest.mark.slow  # a broker is a process

StartBroker = Callable[..., BrokerProcess]


# --- one API, two faces ------------------------------------------------------------------------------


def public(thing: type) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}


def arguments(function: Callable[..., object]) -> list[tuple[str, Any, Any]]:
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(
    ("blocking", "of_asyncio", "more"),
    [
        (zchat.Client, zchat.aio.Client, {"drain"}),
        (zchat.Subscription, zchat.aio.Subscription, set()),
        (zchat.Publication, zchat.aio.Publication, set()),
    ],
)
def test_both_faces_have_the_same_names_and_arguments(blocking: type, of_asyncio: type, more: set[str]) -> None:
    ours, theirs = public(of_asyncio), public(blocking)
    assert ours.keys() - more == theirs.keys()
    for name, function in theirs.items():
        if callable(function):
            assert arguments(ours[name]) == arguments(function), name
    assert arguments(zchat.aio.connect) == arguments(zchat.connect)


def test_what_is_awaited_is_what_a_thread_would_wait_for() -> None:
    awaited = {name for name, each in public(zchat.aio.Client).items() if inspect.iscoroutinefunction(each)}
    assert awaited == {
        "cancel",
        "close",
        "cursors",
        "drop_cursor",
        "drop_group",
        "flush",
        "groups",
        "join",
        "leave",
        "limits_met",
        "purge",
        "request",
        "rooms",
        "run",
        "schedule",
        "scheduled",
        "search",
        "send",
        "send_file",
        "set_cursor",
        "set_group",
        "who",
    }


# --- connecting --------------------------------------------------------------------------------------


def test_a_client_is_connected_by_await_or_async_with(run: Loops, shared_broker: BrokerProcess) -> None:
    async def talk() -> None:
        client = await zchat.aio.connect(shared_broker.address, "anna")
        assert (client.user, client.address, client.is_connected) == ("anna", shared_broker.address, True)
        assert repr(client) == f"<zchat.aio.Client anna at {shared_broker.address}: connected>"
        await client.close()
        await client.close()
        assert repr(client) == f"<zchat.aio.Client anna at {shared_broker.address}: closed>"
        async with zchat.aio.connect(shared_broker.address, "ben") as ben, client:
            assert ben.session_id != client.session_id and ben.log_id == client.log_id
        assert not ben.is_connected
        for call in (ben.who(), ben.send("den", "x"), ben.listen("den").get(), anext(ben.history("den"))):
            with pytest.raises(zchat.Closed):
                await call

    run(talk())


def test_what_cannot_be_is_refused_by_the_call_itself(run: Loops, shared_broker: BrokerProcess) -> None:
    async def refused(notice: zchat.Notice) -> None:
        raise AssertionError

    with pytest.raises(zchat.BadAddress):
        zchat.aio.connect("udp://127.0.0.1:1")
    with pytest.raises(zchat.BadName):
        zchat.aio.connect(user="two words")
    for wrong in ({"wait": None}, {"timeout": "1"}, {"on_notice": 5}, {"on_notice": refused}):
        with pytest.raises(zchat.UsageError):
            zchat.aio.connect(**wrong)

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            for call in (
                lambda: anna.listen(),
                lambda: anna.listen("a..b"),
                lambda: anna.listen("a", echo=1),  # type: ignore[arg-type]
                lambda: anna.listen("a", timeout="1"),  # type: ignore[arg-type]
                lambda: anna.history("a", last=1, after=1),
                lambda: anna.history("a", limit="x"),  # type: ignore[arg-type]
                lambda: anna.publish("a..b", "x"),
                lambda: anna.publish("a", 5),  # type: ignore[arg-type]
                lambda: anna.publish("a", b"x" * 2_000_000),
            ):
                with pytest.raises(zchat.UsageError):
                    call()
            for waits in (anna.who("a..b"), anna.set_cursor("a", -1), anna.send("a", "x", timeout="1")):  # type: ignore[arg-type]
                with pytest.raises(zchat.UsageError):
                    await waits
            with pytest.raises(zchat.Refused) as caught:
                await anna.listen("@ben")
            assert caught.value.code == "denied"

    run(talk())


def test_all_who_join_a_room_at_once_are_told_what_comes_of_it(shared_broker: BrokerProcess, run: Loops) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            told = await asyncio.gather(*[anna.join("@ben") for _ in range(3)], return_exceptions=True)
            assert [getattr(each, "code", None) for each in told] == ["denied"] * 3
            await asyncio.gather(*[anna.join("at.once") for _ in range(3)])
            assert [member.user for member in await anna.who("at.once")] == ["anna"]
            for _ in range(3):
                assert await anna.who("at.once")
                await anna.leave("at.once")
            assert not await anna.who("at.once")

    run(talk())


def test_a_broker_that_is_not_there_is_waited_for_as_long_as_the_program_says(run: Loops) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"

        async def talk() -> None:
            with pytest.raises(zchat.Unreachable) as caught:
                await zchat.aio.connect(address, wait=0.2)
            assert (caught.value.address, caught.value.seconds) == (address, 0.2)
            connecting = asyncio.create_task(_connected(address))
            await Around()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting

        run(talk())


async def _connected(address: str) -> zchat.aio.Client:
    return await zchat.aio.connect(address)


def test_a_name_that_is_looked_up_holds_up_no_loop(
    run: Loops, shared_broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        assert told.wait(30)
        return look_up(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def talk() -> None:
        address = shared_broker.address.replace("127.0.0.1", "localhost")
        connecting = asyncio.create_task(_connected(address))
        await until(asked.is_set, "the name is looked up")
        for _ in range(100):
            await Around()  # while nobody knows the number yet
        assert not connecting.done()
        told.set()
        async with await connecting as anna:
            assert await anna.send("den", "hello") > 0

    run(talk())


def test_a_client_belongs_to_the_loop_that_it_was_connected_in(shared_broker: BrokerProcess) -> None:
    with asyncio.Runner() as first:
        client = first.run(_connected(shared_broker.address))

        async def use() -> None:
            for call in (client.who(), client.send("den", "x"), client.listen("den").get(), client.close()):
                with pytest.raises(zchat.UsageError, match="event loop"):
                    await call

        with asyncio.Runner() as second:
            second.run(use())
        thread = threading.Thread(target=lambda: asyncio.run(use()))
        thread.start()
        thread.join(20)
        first.run(client.close())


def test_a_child_of_a_fork_has_no_client_and_the_parent_keeps_it(shared_broker: BrokerProcess, room: str) -> None:
    with asyncio.Runner() as parent:
        client = parent.run(_connected(shared_broker.address))

        async def live() -> zchat.aio.Subscription:
            return await client.listen(room)

        messages = parent.run(live())
        publication = client.publish(room, "of the parent")  # its loop does not run, so it is open yet

        async def use() -> None:
            for call in (client.who(), client.send(room, "x"), messages.get(), publication.result(), client.flush()):
                with pytest.raises(zchat.Closed, match="fork"):
                    await call
            async with zchat.aio.connect(shared_broker.address, "ben") as anew:
                await anew.send(room, "of the child")
            await client.close()

        child = os.fork()
        if not child:
            try:
                asyncio.set_event_loop(None)
                asyncio.run(use())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

        async def go_on() -> set[str]:
            await publication
            return {(await messages.get(10)).text for _ in range(2)}

        assert parent.run(go_on()) == {"of the parent", "of the child"}
        parent.run(client.close())


# --- many listeners, and a loop that stands still ----------------------------------------------------


def test_a_hundred_listeners_in_one_loop_need_no_thread(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    before = threading.active_count()

    async def hear(client: zchat.aio.Client, number: int) -> str:
        async for message in client.listen(f"{room}.{number}"):
            return message.text
        raise AssertionError("it ended")

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            tasks = [asyncio.create_task(hear(anna, number)) for number in range(100)]
            await until(lambda: len(anna._subscriptions) == 100, "all are live")
            for number in range(100):
                anna.publish(f"{room}.{number}", str(number))
            assert await asyncio.gather(*tasks) == [str(number) for number in range(100)]
            assert threading.active_count() == before

    run(talk())


def test_a_loop_that_stands_still_keeps_its_session(
    run: Loops, start_broker: StartBroker, start_zchat: Callable[..., Any]
) -> None:
    """The broker ends who is silent for `ttl` and `grace`: a process that is stopped, and no loop that stands still."""
    import signal

    broker = start_broker("--memory", "--grace", "0.2")
    stopped = start_zchat("listen", "den", "-v", broker=broker, env={"ZCHAT_USER": "stopped"}).live()

    def stand_still(session: str) -> None:
        stopped.process.send_signal(signal.SIGSTOP)
        with zchat.connect(broker.address, "observer") as observer:

            def here() -> dict[str, str]:
                found = {member.user: member for member in observer.who("den")}
                assert (found["anna"].session, found["anna"].state) == (session, "live")
                return {user: member.state for user, member in found.items()}

            eventually(lambda: "stopped" not in here(), "the process that is stopped has gone")
            observer.send("den", "hello")
        stopped.process.send_signal(signal.SIGCONT)

    async def talk() -> None:
        async with zchat.aio.connect(broker.address, "anna") as anna, anna.listen("den") as messages:
            session = anna.session_id
            stand_still(session)
            assert (await messages.get(20)).text == "hello"
            assert (anna.is_connected, anna.session_id) == (True, session)
            assert not [m async for m in anna.history("den", presence=True) if (m.user, m.event) == ("anna", "leave")]

    run(talk())


# --- a broker that comes and goes --------------------------------------------------------------------


def test_a_client_that_only_publishes_is_told_of_its_connection_by_the_loop(
    run: Loops, start_broker: StartBroker
) -> None:
    broker = start_broker()
    told: list[tuple[str, int]] = []

    async def talk() -> None:
        notified = lambda notice: told.append((notice.kind, threading.get_ident()))  # noqa: E731
        async with zchat.aio.connect(broker.address, "anna", on_notice=notified) as anna:
            session = anna.session_id
            await anna.send("den", "one")
            broker.stop()
            await until(lambda: told, "it is told that it is lost")
            assert not anna.is_connected
            publication = anna.publish("den", "two")
            with pytest.raises(zchat.Unreachable):
                await publication.result(0.05)
            for call in (anna.who(timeout=0.05), anna.listen("den", timeout=0.05).get(), anna.flush(0.05)):
                with pytest.raises(zchat.Unreachable):
                    await call
            assert not len(anna._connection._core._requests), "who gave up asks nobody when it is back"
            broker.start()
            assert await publication > 0
            assert (anna.session_id, anna.is_connected) == (session, True)
            assert [message.text async for message in anna.history("den")] == ["one", "two"]

    run(talk())
    here = threading.get_ident()
    assert told == [("lost", here), ("back", here)]


def test_whatever_ends_a_client_ends_all_that_waits(
    run: Loops, shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk() -> None:
        anna = await zchat.aio.connect(shared_broker.address, "anna")
        heard = await anna.listen(room)
        waiting = [
            asyncio.create_task(each) for each in (heard.get(), anext(heard), anna.who(), anna.send("other", "x"))
        ]
        await Around()
        monkeypatch.setattr(anna._connection._core, "received", lambda frame, now: 1 // 0)
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in ended] == [zchat.Closed] * 4
        assert "ZeroDivisionError" in str(ended[0])
        with pytest.raises(zchat.Closed):
            anna.publish(room, "x")
        await anna.close()

    run(talk())


def test_a_close_ends_all_that_waits(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        anna = await zchat.aio.connect(shared_broker.address, "anna")
        heard = await anna.listen(room)
        getting, next_one = asyncio.create_task(heard.get()), asyncio.create_task(_all(heard))
        await Around()
        await anna.close()
        with pytest.raises(zchat.Closed):
            await getting
        assert await next_one == []
        assert repr(heard) == f"<zchat.aio.Subscription of anna to {room}: closed>"

    run(talk())


async def _all(messages: zchat.aio.Subscription) -> list[str]:
    return [message.text async for message in messages]
