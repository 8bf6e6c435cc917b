"""Socket.IO clients that nobody here wrote, in rooms with each other and with a terminal."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import socketio

import zchat
from tests.conftest import BrokerProcess, environment, eventually
from tests.conftest import zchat as run_zchat
from tests.web.conftest import Clients, WebProcess

pytestmark = pytest.mark.slow  # processes

StartClients = Callable[[WebProcess], Clients]
StartWeb = Callable[..., WebProcess]
StartBroker = Callable[..., BrokerProcess]
EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "web"
BYTES = {"$": "AQL/"}


def test_who_is_in_a_room_sees_who_comes_speaks_and_goes_from_anywhere(
    shared_web: WebProcess, start_clients: StartClients, room: str
) -> None:
    clients = start_clients(shared_web)
    clients.connect("a", auth={"user": "anna", "room": room})
    clients.connect("b", auth={"user": "ben", "room": room}, transports=["websocket"])
    clients.connect("q", auth={"user": "quiet", "room": room, "presence": False})
    clients.step("q", disconnect=True)
    clients.wait("a", "leave")
    with zchat.connect(shared_web.broker.address, "terry") as terry, terry.listen(room, presence=True) as messages:
        clients.wait("a", "join", 3)
        assert {member.user for member in terry.who(room)} == {"anna", "ben", "terry"}
        assert {member["user"] for member in clients.ask("a", "who")} == {"anna", "ben", "terry"}
        offset = clients.ask("a", "message", "hi")["offset"]
        assert [(m.user, m.event, m.text, m.offset) for m in [messages.get(20), messages.get(20)][1:]] == [
            ("anna", "message", "hi", offset)
        ]
        terry.send(room, b"\xff\x00")
        terry.send(room, "v2", event="deploy")
        terry.send(room, "not yours", event="disconnect")
        messages_of_b = [args[0] for args in clients.args("b", "message")] if clients.wait("b", "message", 3) else []
        assert [(m["user"], m.get("text"), m.get("data"), m["room"]) for m in messages_of_b] == [
            ("anna", "hi", None, room),
            ("terry", None, {"$": "/wA="}, room),
            ("terry", "not yours", None, room),
        ]
        assert messages_of_b[2]["event"] == "disconnect"
        assert clients.args("b", "deploy") == [["v2"]]
        assert len(clients.wait("a", "message", 2)) == 2, "its own does not come back"
        clients.step("b", disconnect=True)
        assert clients.wait("a", "leave", 2)[1]["args"][0]["user"] == "ben"
        assert eventually(lambda: {m.user for m in terry.who(room)} == {"anna", "terry"}, "ben has left")
    assert [each["args"][0]["user"] for each in clients.wait("a", "leave", 3)] == ["quiet", "ben", "terry"]
    assert not clients.events("q", "join", "leave")


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["text"],
        ["7"],
        [7, None, True, 1.5],
        [{"a": [1, {"b": "ü"}]}, "two"],
        [BYTES],
        [{"$": "aGk="}],
        [{"photo": BYTES, "of": [BYTES, "x"]}, "me"],
    ],
)
def test_any_event_reaches_the_others_with_the_arguments_that_it_had(
    shared_web: WebProcess, start_clients: StartClients, room: str, args: list[Any]
) -> None:
    clients = start_clients(shared_web)
    for name in "ab":
        clients.connect(name, auth={"user": name, "room": room}, transports=["websocket"])
    assert clients.ask("a", "move", *args)["room"] == room
    clients.ask("b", "after")
    clients.wait("b", "move"), clients.wait("a", "after")
    assert clients.args("b", "move") == [args] and clients.args("a", "move") == []


def test_nobody_emits_what_others_take_for_their_connection_or_the_gateway(
    shared_web: WebProcess, start_clients: StartClients, room: str
) -> None:
    clients = start_clients(shared_web)
    for name in "abc":
        clients.connect(name, auth={"user": name, "room": room}, transports=["websocket"])
    for event in ("connect", "disconnect"):
        clients.step("a", raw=f'2["{event}","x"]')
    refused = ("error", "joined", "gap", "newListener", "x" * 200)
    for event in refused:
        clients.step("a", raw=f'27["{event}","x"]')
        clients.step("a", raw=f'2["{event}","x"]')  # nobody asked what became of it: it is told
    assert [each["args"][0]["event"] for each in clients.wait("a", "error", len(refused))] == list(refused)
    nested = '2["x",' + "[" * 40 + "]" * 40 + "]"
    for bad in (
        '2["x",' + "[" * 100_000,
        nested,
        "5999999999-[]",
        '51-["x"]',
        "4",
        "9",
        "2[]",
        "2[5]",
        '2{"a":1}',
        "0/x,",
    ):
        clients.step("a", raw=bad)
    for name in ("__proto__", "constructor", "toString", "hasOwnProperty"):
        assert clients.ask("b", name, {"__proto__x": 1})["room"] == room
        assert clients.wait("c", name)[0]["args"][0] == {"__proto__x": 1}
    spoofed = {"disconnect", *refused} - {"joined"}
    assert not clients.events("b", *spoofed) and not clients.events("c", *spoofed)
    assert len(clients.events("b", "joined")) == 1


def test_rooms_direct_messages_history_and_errors(
    shared_web: WebProcess, start_clients: StartClients, room: str
) -> None:
    clients = start_clients(shared_web)
    clients.connect("a", auth={"user": "anna"}, query={"room": room})
    clients.connect("b", query={"user": "ben", "room": room})
    assert clients.ask("a", "join", f"{room}.Ops")["room"] == f"{room}.ops"
    assert clients.ask("a", "move", 1)["room"] == f"{room}.ops", "it speaks where it joined last"
    assert clients.ask("a", "message", {"room": room, "text": "there", "headers": {"k": "v"}})["room"] == room
    assert clients.wait("b", "message")[0]["args"][0]["headers"] == {"k": "v"}
    assert clients.ask("b", "join", "@me")["room"] == "@ben"
    assert clients.ask("a", "message", {"room": "@Ben", "text": "psst"})["room"] == "@ben"
    assert clients.wait("b", "message", 2)[1]["args"][0]["room"] == "@ben"
    assert clients.ask("a", "join", "@ben")["error"] == "denied"
    assert clients.ask("a", "join", "no room")["error"] == "bad-room"
    assert clients.ask("a", "join", {"no": "room"})["error"] == "usage"
    assert clients.ask("a", "message", {"text": 5})["error"] == "usage"
    assert clients.ask("a", "x", {"_placeholder": True, "num": 0})["error"] == "usage"
    assert clients.ask("a", "leave", f"{room}.ops") == {"room": f"{room}.ops"}
    for number in range(3):
        clients.ask("a", "message", f"{number}")
    assert [each["text"] for each in clients.ask("b", "history", {"room": room, "last": 2})] == ["1", "2"]
    first = clients.ask("b", "history", {"room": room})[0]
    assert first["text"] == "there"
    assert len(clients.ask("b", "history", {"room": room, "after": first["offset"]})) == 3
    assert not clients.args("b", "move"), "of a room that it is not in"


def test_under_an_id_a_message_is_stored_once(
    start_broker: StartBroker, start_web: StartWeb, start_clients: StartClients
) -> None:
    broker = start_broker()
    web = start_web(broker)
    clients = start_clients(web)
    clients.connect("a", auth={"user": "anna"})
    offset = clients.ask("a", "message", {"text": "once", "id": "k1"})["offset"]
    assert clients.ask("a", "message", {"text": "once", "id": "k1"})["offset"] == offset
    web.kill()
    web.start()
    clients.wait("a", "joined", 2)
    assert clients.ask("a", "message", {"text": "once", "id": "k1"})["offset"] == offset
    assert clients.ask("a", "message", {"text": "once", "id": "k2"})["offset"] != offset


SERVER = """
from broadcast import handlers


@handlers.on("connect")
async def connect(caller):
    caller.reply("message", {"name": "server", "message": f"hello {caller.user}"})


@handlers.on("fails")
def fails(caller):
    raise ValueError(1)
"""


def test_a_server_of_ones_own_is_ten_lines(
    shared_broker: BrokerProcess, start_web: StartWeb, start_clients: StartClients, tmp_path: Path, room: str
) -> None:
    (tmp_path / "chat.py").write_text(SERVER)
    shutil.copy(EXAMPLES / "broadcast.py", tmp_path)
    web = start_web(shared_broker, "--app", "chat:handlers", "--room", room, cwd=tmp_path)
    clients = start_clients(web)
    for name in ("anna", "ben"):
        clients.connect(name, auth={"user": name})
        assert clients.wait(name, "message")[0]["args"][0] == {"name": "server", "message": f"hello {name}"}
    assert clients.ask("anna", "clientmessage", {"message": "hi"}) == "taken"
    assert clients.wait("anna", "message", 2)[1]["args"][0] == {"name": "me", "message": "hi"}
    assert clients.wait("ben", "message", 2)[1]["args"][0] == {"name": "anna", "message": "hi"}
    assert clients.ask("ben", "fails")["error"] == "usage" and "ValueError: 1" in web.stderr()
    assert not clients.args("ben", "clientmessage")
    assert 'anna: [{"name":"anna","message":"hi"}]' in run_zchat("history", room, broker=shared_broker).stdout


def test_the_example_for_node_talks_with_a_terminal(shared_web: WebProcess, npm: Path, room: str) -> None:
    with zchat.connect(shared_web.broker.address, "terry") as terry, terry.listen(room) as messages:
        node = subprocess.Popen(
            ["node", str(EXAMPLES / "room.js"), room, "anna", shared_web.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment({"NODE_PATH": str(npm)}),
        )
        assert node.stdin is not None and node.stdout is not None
        assert node.stdout.readline() == f"* you are in {room}\n"
        print("hello", file=node.stdin, flush=True)
        assert messages.get(30).text == "hello"
        terry.send(room, "hi anna")
        assert node.stdout.readline() == "terry: hi anna\n"
        assert node.communicate(timeout=30)[0] == "* away\n"


def numbers_of(clients: Clients, name: str) -> list[int]:
    return [args[0] for args in clients.args(name, "number")]


def has_all(numbers: Callable[[], list[int]], count: int) -> bool:
    return len(numbers()) >= count


def test_nothing_is_missed_or_doubled_over_killed_gateways_and_brokers(
    start_broker: StartBroker, start_web: StartWeb, start_clients: StartClients
) -> None:
    broker = start_broker("--grace", "1s")
    web = start_web(broker)
    clients = start_clients(web)
    clients.connect("a", auth={"user": "anna"})
    clients.connect("b", auth={"user": "ben"}, transports=["websocket"])
    assert clients.ask("a", "join", "other")["room"] == "other"
    assert clients.ask("a", "join", "general")["room"] == "general"
    python = PythonClient(web.url)
    sent = 0
    with zchat.connect(broker.address, "terry") as terry:
        for killed in (None, web, broker, web):
            for _ in range(100):
                terry.publish("general", f"[{sent}]", event="number", headers={"args": "json"})
                sent += 1
            if killed is not None:
                killed.kill()
                for _ in range(100):
                    terry.publish("general", f"[{sent}]", event="number", headers={"args": "json"})
                    sent += 1
                killed.start()
            terry.flush(30)
            for name in "ab":
                eventually(partial(has_all, partial(numbers_of, clients, name), sent), f"{name} has all {sent}")
                assert numbers_of(clients, name) == list(range(sent))
            eventually(partial(has_all, lambda: python.numbers, sent), f"python has all {sent}")
            assert python.numbers == list(range(sent))
        terry.send("other", "here, too")
        assert clients.wait("a", "message")[0]["args"][0]["text"] == "here, too"
    connects = clients.events("b", "connect")
    assert len(connects) >= 3 and all(each["recovered"] for each in connects[1:])
    python.end()


class PythonClient:
    """python-socketio's own client, in a thread of its own; it hands in how far it is by `last`."""

    def __init__(self, url: str) -> None:
        self.numbers: list[int] = []
        self.last: str | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._client = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)
        self._client.on("number", self._number)
        self._client.on("joined", self._joined)
        self._run(self._client.connect(url, auth=self._auth, wait_timeout=20))
        eventually(lambda: self.last, "python's client is in its room")

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _auth(self) -> dict[str, Any]:
        return {"user": "py", "client": "c1", "last": self.last}

    def _joined(self, joined: Any, last: str) -> None:
        self.last = last

    def _number(self, number: int, last: str) -> None:
        self.numbers.append(number)
        self.last = last

    def end(self) -> None:
        self._run(self._client.disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)


def test_pythons_client_gets_the_arguments_as_they_are(shared_web: WebProcess, room: str) -> None:
    async def talk() -> list[Any]:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        async with socketio.AsyncSimpleClient() as anna:
            ben = socketio.AsyncClient()
            ben.on("move", lambda *args: heard.put_nowait(args))
            await ben.connect(shared_web.url, auth={"user": "ben", "room": room}, transports=["websocket"])
            await anna.connect(shared_web.url, auth={"user": "anna", "room": room})
            while (await anna.receive(timeout=20))[0] != "joined":  # ben may come only now
                pass
            await anna.emit("move", ({"x": 1}, b"\xff"))
            got = await asyncio.wait_for(heard.get(), 20)
            assert (await anna.call("message", "hi", timeout=20))["room"] == room
            await ben.disconnect()
            return list(got)

    assert asyncio.run(talk()) == [{"x": 1}, b"\xff"]


def test_what_is_emitted_at_once_is_done_in_its_order(shared_web: WebProcess, room: str) -> None:
    """Nobody waits for an answer: neither for its first room, nor for one that it joins or leaves."""

    async def talk() -> None:
        other = f"{room}-other"
        for _ in range(5):
            anna = socketio.AsyncClient()
            await anna.connect(shared_web.url, auth={"user": "anna", "room": room}, transports=["websocket"])
            calls = f"who {room},leave {room},join {other},message hi,who {other},leave {other},who {other},who {room}"
            done = await asyncio.gather(*(anna.call(*call.split(), timeout=20) for call in calls.split(",")))
            there, left, joined, said, there_too, left_too, *empty = done
            assert [each["user"] for each in there] == ["anna"] and left == {"room": room}
            assert (joined["room"], said["room"], left_too) == (other, other, {"room": other})
            assert [each["user"] for each in there_too] == ["anna"] and empty == [[], []]
            await anna.disconnect()

    asyncio.run(talk())


def test_who_may_not_be_is_refused_and_who_is_away_comes_back_when_the_broker_does(
    start_broker: StartBroker, start_web: StartWeb, start_clients: StartClients
) -> None:
    broker = start_broker()
    web = start_web(broker, "--wait", "300ms")
    clients = start_clients(web)
    clients.step("x", connect={"auth": {"user": "no name"}})
    assert "U+0020" in clients.wait("x", "connect_error")[0]["text"]
    clients.step("y", connect={"extraHeaders": {"Origin": "https://evil.example"}, "transports": ["websocket"]})
    clients.wait("y", "connect_error")
    broker.kill()
    clients.step("a", connect={"auth": {"user": "anna"}})
    assert web.process is not None and web.process.poll() is None
    broker.start()
    clients.wait("a", "joined")
    assert web.stop() == -signal.SIGTERM
