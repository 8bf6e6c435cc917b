"""Requests over a real broker: both faces and the commands; servers that fail, are slow, busy or killed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess, Result, Running, environment, eventually
from tests.conftest import zchat as run
from tests.scripts import run as run_script

pytestmark = pytest.mark.slow  # a broker is a process

SERVER = """
import os, sys, zchat
client = zchat.connect(sys.argv[1], "server")
def answer(message):
    if message.text == "die":
        os.kill(os.getpid(), 9)
    return f"{os.getpid()} {message.text}"
service = client.serve("work", answer)
print("serves", flush=True)
service.wait()
"""


def named(name: str, message: zchat.Message) -> str:
    return name


def code(call: Callable[[], object]) -> str:
    """What it is refused with."""
    with pytest.raises(zchat.Refused) as refused:
        call()
    return refused.value.code


def asked(client: zchat.Client, room: str, body: str) -> str:
    """The reply, or the code of a refusal."""
    try:
        return client.request(room, body, timeout=10).text
    except zchat.Refused as refused:
        return refused.code


def test_who_serves_a_room_answers_and_nobody_there_is_told_at_once(shared_broker: BrokerProcess) -> None:
    with zchat.connect(shared_broker.address, "ann") as ann, zchat.connect(shared_broker.address, "bob") as bob:
        assert code(lambda: ann.request("math", "2")) == "no-server"

        def double(message: zchat.Message) -> zchat.Message | str:
            if message.event == "whole":
                return zchat.Message("", 0, "", 0, "done", message.body * 2, {"by": message.user}, "")
            return message.text * 2

        with bob.serve("math", double) as service:
            reply = ann.request("math", "2")
            assert (reply.text, reply.user, reply.room, reply.offset) == ("22", "bob", "math", 0)
            whole = ann.request("math", b"x", event="whole", headers={"a": "b"})
            assert (whole.event, whole.body, dict(whole.headers)) == ("done", b"xx", {"by": "ann"})
            assert not service.wait(0) and list(ann.history("math")) == [] and ann.who("math") == []
        assert service.wait(10)
        assert code(lambda: ann.request("math", "2")) == "no-server"


def test_a_server_that_fails_or_is_slow_is_told_and_goes_on(shared_broker: BrokerProcess) -> None:
    with zchat.connect(shared_broker.address, "ann") as ann, zchat.connect(shared_broker.address, "bob") as bob:
        go_on = threading.Event()

        def answer(message: zchat.Message) -> bytes | None:
            if message.text == "wait":
                go_on.wait(30)
            return None if message.text == "nothing" else b"%d" % (10 // int(message.text or 0))

        with bob.serve("div", answer, max_in_flight=1):
            with pytest.raises(zchat.Refused, match="ZeroDivisionError"):
                ann.request("div", "0")
            assert ann.request("div", "nothing").body == b"" and ann.request("div", "5").text == "2"
            with pytest.raises(zchat.TimedOut):
                ann.request("div", "wait", timeout=0.2)
            go_on.set()
            eventually(lambda: asked(ann, "div", "5") == "2", "it goes on")


def test_several_replies_come_from_several_servers(shared_broker: BrokerProcess) -> None:
    with zchat.connect(shared_broker.address, "ann") as ann:
        servers = [ann.session(f"server{number}") for number in range(3)]
        for server in servers:
            server.serve("all", partial(named, server.user))
        assert {reply.text for reply in ann.request("all", "", replies=3)} == {server.user for server in servers}
        assert len(ann.request("all", "", replies=9)) == 3
        servers[0].close()
        assert len(ann.request("all", "", replies=3)) == 2


@pytest.mark.parametrize("retry", [False, True])
def test_a_server_that_is_killed_is_told_at_once_or_another_is_asked(shared_broker: BrokerProcess, retry: bool) -> None:
    def server() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, shared_broker.address], stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert process.stdout is not None and process.stdout.readline() == "serves\n"
        return process

    with zchat.connect(shared_broker.address, "ann") as ann:
        processes = [server()]
        try:
            began = time.monotonic()
            assert code(lambda: ann.request("work", "die", timeout=60, retry=retry)) == "no-answer"
            assert time.monotonic() - began < 30
            processes += [server(), server()]
            answers: list[str] = []
            asking = threading.Thread(
                target=lambda: answers.extend(ann.request("work", "x", timeout=60, retry=True).text for _ in range(300))
            )
            asking.start()
            processes[1].send_signal(signal.SIGKILL)
            asking.join(60)
            assert len(answers) == 300 and f"{processes[2].pid} x" in answers
        finally:
            for process in processes:
                process.kill()
                process.wait()


class Slow:
    """A handler that waits until it may go on."""

    def __init__(self) -> None:
        self.came, self.go_on = threading.Event(), threading.Event()

    def __call__(self, message: zchat.Message) -> str:
        self.came.set()
        self.go_on.wait(30)
        return f"for {message.user}"


def killed_while_it_is_asked(broker: BrokerProcess, client: zchat.Client, slow: Slow) -> None:
    """The broker, while a request of the client has no reply; the client is told."""
    asked: list[str] = []
    asking = threading.Thread(target=lambda: asked.append(code(lambda: client.request("slow", "x", timeout=60))))
    asking.start()
    assert slow.came.wait(30)
    broker.kill()
    asking.join(30)
    assert asked == ["no-answer"]


def test_a_broker_that_is_killed_leaves_nobody_waiting(broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, "ann") as ann, zchat.connect(broker.address, "bob") as bob:
        slow = Slow()
        with bob.serve("slow", slow):
            killed_while_it_is_asked(broker, ann, slow)
            slow.go_on.set()
            broker.start()
            eventually(lambda: ann.is_connected, "it is back")
            assert eventually(lambda: reply_or_none(ann, "slow"), "it serves again") == "for ann"


def test_after_a_restart_nobody_gets_the_reply_to_what_another_one_asked_before(broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, "ann") as ann, zchat.connect(broker.address, "bob") as bob:
        slow = Slow()
        with zchat.connect(broker.address, "server") as server, server.serve("slow", slow) as service:
            killed_while_it_is_asked(broker, ann, slow)
            broker.start()
            eventually(lambda: bob.is_connected and server.is_connected, "they are back")
            replies: list[str] = []
            other = threading.Thread(
                target=lambda: replies.append(eventually(lambda: reply_or_none(bob, "slow"), "it serves again"))
            )
            other.start()
            eventually(lambda: not service._queue.empty(), "what bob asks is there, behind what is in hand")
            slow.go_on.set()
            other.join(30)
            assert replies == ["for bob"]


def failing(message: zchat.Message) -> bytes | str:
    """A handler that fails in a way of its own."""
    if message.text == "exit":
        sys.exit("wrong argument")
    if message.text == "surrogate":
        raise ValueError("cannot read \udcff")
    if message.text == "long":
        raise ValueError("x" * 5_000_000)
    return b"x" * 5_000_000 if message.text == "large" else "fine"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("exit", "SystemExit: wrong argument"),
        ("surrogate", "ValueError: cannot read .udcff"),
        ("long", "ValueError: xxx"),
        ("large", "message is 5000000 bytes"),
    ],
)
def test_whatever_a_handler_does_who_asked_is_told_and_it_goes_on(
    shared_broker: BrokerProcess, caplog: pytest.LogCaptureFixture, asked: str, why: str
) -> None:
    caplog.set_level("CRITICAL", "zchat")  # pytest-xdist does not carry a log that is no UTF-8
    notices: list[zchat.Notice] = []
    with (
        zchat.connect(shared_broker.address, "ann") as ann,
        zchat.connect(shared_broker.address, "bob", on_notice=notices.append) as bob,
        bob.serve(f"fails.{asked}", failing) as service,
    ):
        with pytest.raises(zchat.Refused, match=why):
            ann.request(f"fails.{asked}", asked)
        assert ann.request(f"fails.{asked}", "x").text == "fine" and not service.wait(0.0)
    assert notices == []


def reply_or_none(client: zchat.Client, room: str) -> str | None:
    try:
        return client.request(room, "x", timeout=10).text
    except zchat.Refused:
        return None


def test_asyncio_asks_and_serves_as_threads_do(shared_broker: BrokerProcess) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "ann") as ann:

            async def answer(message: zchat.Message) -> str:
                if message.text == "bad":
                    raise ValueError("no")
                return message.text.upper()

            async with ann.serve("upper", answer), ann.serve("plain", lambda message: message.body):
                assert (await ann.request("upper", "hi")).text == "HI"
                assert (await ann.request("plain", "hi")).text == "hi"
                many = await asyncio.gather(*(ann.request("upper", str(number)) for number in range(10)))
                assert [reply.text for reply in many] == list("0123456789")
                assert len(await ann.request("upper", "x", replies=4)) == 1
                with pytest.raises(zchat.Refused, match="ValueError: no"):
                    await ann.request("upper", "bad")
            with pytest.raises(zchat.Refused, match="no-server"):
                await ann.request("upper", "hi")
            service = await ann.serve("upper", answer)
            await ann.close()
            await asyncio.wait_for(service.wait(), 10)

    asyncio.run(talk())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no task begins at once")
def test_a_handler_does_not_run_in_the_middle_of_a_turn_where_tasks_begin_at_once(shared_broker: BrokerProcess) -> None:
    async def talk() -> None:
        factory = getattr(asyncio, "eager_task_factory")  # noqa: B009
        asyncio.get_running_loop().set_task_factory(factory)
        callers: list[str] = []

        def answer(message: zchat.Message) -> bytes:
            callers.extend(frame.name for frame in traceback.extract_stack())
            return message.body

        async with zchat.aio.connect(shared_broker.address, "ann") as ann, ann.serve("eager", answer):
            assert (await ann.request("eager", "hi")).text == "hi"
        assert "_serve" in callers and not {"turn", "_turn"} & set(callers)

    asyncio.run(talk())


@pytest.mark.parametrize(
    "options", [{"replies": 0}, {"replies": 9_999}, {"retry": 1}, {"timeout": "x"}, {"event": "join"}, {"headers": 3}]
)
def test_what_can_be_no_request_is_an_error(shared_broker: BrokerProcess, options: dict[str, object]) -> None:
    with zchat.connect(shared_broker.address, "ann") as ann:
        with pytest.raises(zchat.UsageError):
            ann.request("math", "x", **options)  # type: ignore[call-overload]
        with pytest.raises(zchat.UsageError):
            ann.request("math.*", "x")
        with pytest.raises(zchat.TooLarge):
            ann.request("math", bytes(2 << 20))
        for room, most in (("math.*", 1), ("math", 0)):
            with pytest.raises(zchat.UsageError):
                ann.serve(room, lambda message: None, max_in_flight=most)


def test_who_answers_is_a_function(shared_broker: BrokerProcess) -> None:
    async def answer(message: zchat.Message) -> None:
        """Nobody would await it."""

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "ann") as ann:
            for wrong in (5, None):
                with pytest.raises(zchat.UsageError, match="handler is a function"):
                    await ann.serve("none", wrong)  # type: ignore[arg-type]

    asyncio.run(talk())
    with zchat.connect(shared_broker.address, "ann") as ann:
        for wrong in (5, None, answer):
            with pytest.raises(zchat.UsageError, match=r"handler is a (plain )?function"):
                ann.serve("none", wrong)  # type: ignore[arg-type]
        assert code(lambda: ann.request("none", "x")) == "no-server"


def test_commands_ask_and_serve(broker: BrokerProcess, start_zchat: Callable[..., Running]) -> None:
    nobody = run("request", "math", "2", broker=broker)
    assert (nobody.stdout, nobody.status) == ("", 4) and "[no-server]\nhint: zchat serve ROOM" in nobody.stderr
    command = 'test "$ZCHAT_FROM" = tester && sed s/2/two/'
    server = start_zchat("serve", "math", "--exec", command, broker=broker)

    def asked(*args: str) -> Result | None:
        """What came, once somebody serves."""
        found = run("request", "math", *args, broker=broker)
        return None if "no-server" in found.stderr else found

    reply = eventually(lambda: asked("2", "3"), "it serves")
    assert reply.stdout.strip() == "two 3" and reply.stderr == ""
    told = json.loads(run("request", "math", "--json", stdin="1\n2\n", broker=broker).stdout)
    assert told["body"] == "1\ntwo\n" and told["user"] == "tester"
    few = run("request", "math", "2", "--replies", "2", broker=broker)
    assert (few.status, few.stderr) == (124, "zchat: 1 of 2 replies came\n")
    assert server.end(signal.SIGINT).status == -signal.SIGINT
    failing = start_zchat("serve", "math", "--exec", "echo why >&2; exit 3", broker=broker)
    failed = eventually(lambda: asked("x"), "it serves")
    assert failed.status == 4 and "the command failed with status 3: why" in failed.stderr
    ended = failing.end(signal.SIGTERM)
    assert ended.status == -signal.SIGTERM and "Traceback" not in ended.stderr and "status 3: why" in ended.stderr


def test_servers_that_are_killed_leave_no_request_without_an_answer() -> None:
    done = run_script("servers.py", "--seconds", "3", "--between", "0.5", "--servers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
