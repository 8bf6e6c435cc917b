"""Who comes in where tokens are needed: each kind of token by each way in, and the end of one that is taken back."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import socketio
import websockets
from starlette.requests import Request
from websockets.exceptions import ConnectionClosed, InvalidStatus

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.conftest import zchat as run
from tests.tcp.test_gateway import REQUEST
from tests.web.conftest import WebProcess
from zchat.tokens import TokenFile
from zchat.web.entry import is_secure

pytestmark = pytest.mark.slow  # a gateway is a process

StartWeb = Callable[..., WebProcess]


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class Guarded(NamedTuple):
    """A gateway with tokens."""

    web: WebProcess
    file: TokenFile
    alice: str
    bob: str
    bad: dict[str, str]  # what opens nothing

    def ask(
        self, path: str, token: str = "", *, data: bytes | None = None, told: dict[str, str] | None = None
    ) -> Answer:
        told = dict(told or {})
        if token:
            told["authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.web.url + path, data, told)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return _answered(answer)
        except urllib.error.HTTPError as answer:
            return _answered(answer)


def _answered(answer: Any) -> Answer:
    body = answer.read()
    kind = answer.headers.get("content-type", "")
    return Answer(
        answer.status, json.loads(body) if kind.startswith("application/json") else body, dict(answer.headers)
    )


@pytest.fixture
def guarded(broker: BrokerProcess, start_web: StartWeb, tmp_path: Path) -> Guarded:
    file = TokenFile(tmp_path / "tokens")
    alice, bob, over, gone = file.new("Alice", 600), file.new("bob", 600), file.new("eve", -1), file.new("mallory", 60)
    file.revoke("mallory")
    with zchat.connect(broker.address, "carol") as carol:
        carol.send("general", "hello")
    web = start_web(broker, "--tokens", str(file.path))
    return Guarded(
        web, file, alice, bob, {"over": over, "taken back": gone, "made up": "zt_" + "a" * 43, "no token": "x"}
    )


PROTECTED = (
    "/general/json?poll=1&last=5",
    "/general/sse",
    "/general/who",
    "/general/1",
    "/me",
    "/metrics",
    "/@alice/json?poll=1",
)


def test_without_a_token_nothing_is_read_or_written_by_http(guarded: Guarded, broker: BrokerProcess) -> None:
    for path in PROTECTED:
        found = guarded.ask(path)
        assert (found.status, found.body["error"]) == (401, "no-token"), path
        assert found.headers["www-authenticate"] == "Bearer"
        for what, token in guarded.bad.items():
            refused = guarded.ask(path, token)
            assert (refused.status, refused.body["error"]) == (401, "bad-token"), (path, what)
    for token in ("", *guarded.bad.values()):
        assert guarded.ask("/general", token, data=b"x").status == 401
        assert guarded.ask("/general?user=alice", token, data=b"x").status == 401
    for path in (
        "/",
        "/general",
        "/login",
        "/docs",
        "/openapi.json",
        "/static/chat.js",
        "/static/login.js",
        "/healthz",
    ):
        assert guarded.ask(path).status == 200, path
    with zchat.connect(broker.address, "carol") as carol:
        assert [message.text for message in carol.history("general")] == ["hello"]


def test_who_has_a_token_is_its_user_and_nobody_else(guarded: Guarded) -> None:
    assert guarded.ask("/me", guarded.alice).body["user"] == "Alice"
    assert guarded.ask("/general", guarded.alice, data=b"hi").body["user"] == "Alice"
    assert guarded.ask("/general?user=alice", guarded.alice, data=b"hi").body["user"] == "Alice"
    for path in (
        "/general?user=bob",
        "/general/json?poll=1&last=1&user=bob",
        "/general/who?user=bob",
        "/general/1?user=bob",
    ):
        refused = guarded.ask(path, guarded.alice, data=b"x" if path.startswith("/general?") else None)
        assert (refused.status, refused.body["error"]) == (403, "denied"), path
    assert guarded.ask("/general", guarded.alice, data=b"x", told={"x-user": "bob"}).status == 403
    lines = guarded.ask("/general/json?poll=1&last=9", guarded.bob).body.splitlines()
    assert [json.loads(line)["user"] for line in lines] == ["carol", "Alice", "Alice"]
    assert guarded.ask("/@alice", guarded.bob, data=b"psst").status == 200
    own = guarded.ask("/@alice/json?poll=1&last=9", guarded.alice).body
    assert b"psst" in own
    assert (
        guarded.ask("/@alice/json?poll=1&last=9", guarded.bob).status != 200
        or b"psst" not in guarded.ask("/@alice/json?poll=1&last=9", guarded.bob).body
    )


def test_logging_in_sets_a_cookie_that_no_script_and_no_other_page_has(guarded: Guarded) -> None:
    found = guarded.ask("/login", data=json.dumps({"token": guarded.alice}).encode())
    assert (found.status, found.body["user"]) == (200, "Alice")
    cookie = found.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; ")) and "Secure" not in cookie
    far = guarded.ask("/login", data=json.dumps({"token": guarded.alice}).encode(), told={"host": "chat.example"})
    assert "Secure" in far.headers["set-cookie"].split("; "), "only this machine may do without TLS"
    value = re.match(r"zchat=([^;]+)", cookie)
    assert value is not None
    mine = {"Cookie": f"other=1; zchat={value[1]}"}
    assert guarded.ask("/me", told=mine).body["user"] == "Alice"
    assert guarded.ask("/general", data=b"by cookie", told=mine).status == 200
    assert guarded.ask("/general", data=b"x", told=mine | {"origin": "https://evil.example"}).status == 403, (
        "of another page"
    )
    assert guarded.ask("/me", told={"cookie": "zchat=made-up"}).status == 401
    assert guarded.ask("/me", told=mine | {"authorization": "Basic eDp5"}).status == 401, "what is said counts"
    for token in guarded.bad.values():
        refused = guarded.ask("/login", data=json.dumps({"token": token}).encode())
        assert refused.status == 401 and "set-cookie" not in refused.headers
    for body in (b"", b"{}", b"[]", b"x" * 10_000, b'{"token": 7}'):
        assert guarded.ask("/login", data=body).status == 401
    assert "Max-Age=0" in guarded.ask("/logout", data=b"").headers["set-cookie"]


def test_websockets_need_a_token_and_end_with_it(guarded: Guarded) -> None:
    at = guarded.web.url.replace("http", "ws")

    async def talk() -> None:
        for path in ("/ws", "/general/ws", "/general/ws?user=alice"):
            for token in ("", *guarded.bad.values()):
                headers = {"authorization": f"Bearer {token}"} if token else {}
                with pytest.raises(InvalidStatus):
                    async with websockets.connect(at + path, additional_headers=headers):
                        pass
        mine = {"authorization": f"Bearer {guarded.bob}"}
        async with (
            websockets.connect(f"{at}/ws", additional_headers=mine) as page,
            websockets.connect(f"{at}/general/ws", additional_headers=mine) as room,
        ):
            await page.send('{"do": "hello", "user": "alice", "n": 1}')
            assert json.loads(await page.recv())["error"] == "denied"
            await page.send('{"do": "hello", "n": 2}')
            assert json.loads(await page.recv())["user"] == "bob"
            await room.send("from a script")
            guarded.file.revoke("bob")
            for socket in (page, room):
                with pytest.raises(ConnectionClosed):
                    while True:
                        await asyncio.wait_for(socket.recv(), 20)

    asyncio.run(talk())


def test_a_stream_ends_when_its_token_is_taken_back(guarded: Guarded) -> None:
    curl = ["curl", "-sSN", "-H", f"Authorization: Bearer {guarded.bob}", f"{guarded.web.url}/general/sse?last=1"]
    reading = subprocess.Popen(curl, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert reading.stdout is not None and b"retry" in reading.stdout.readline()
        guarded.file.revoke("bob")
        eventually(lambda: reading.poll() is not None, "it is cut off")
    finally:
        reading.kill()
        reading.wait()
        if reading.stdout is not None:
            reading.stdout.close()
    assert guarded.ask("/me", guarded.alice).status == 200, "others notice nothing"


def test_clients_of_socket_io_come_in_by_their_token(guarded: Guarded) -> None:
    async def talk() -> None:
        for auth in (None, {}, {"user": "alice"}, *({"token": token} for token in guarded.bad.values()), {"token": 7}):
            stranger = socketio.AsyncClient(reconnection=False)
            with pytest.raises(socketio.exceptions.ConnectionError):
                await stranger.connect(guarded.web.url, auth=auth, transports=["websocket"])
            await stranger.disconnect()
        thief = socketio.AsyncClient(reconnection=False)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await thief.connect(guarded.web.url, auth={"token": guarded.bob, "user": "alice"}, transports=["websocket"])
        bob = socketio.AsyncClient(reconnection=False)
        ended = asyncio.Event()
        bob.on("disconnect", lambda *_: ended.set())
        await bob.connect(guarded.web.url, auth={"token": guarded.bob}, transports=["websocket"])
        assert (await bob.call("message", {"room": "general", "text": "hi"}, timeout=20))["room"] == "general"
        members = await bob.call("who", "general", timeout=20)
        assert "bob" in {member["user"] for member in members}
        by_header = socketio.AsyncClient(reconnection=False)
        header = {"authorization": f"Bearer {guarded.alice}"}
        await by_header.connect(guarded.web.url, headers=header, transports=["websocket"])
        guarded.file.revoke("bob")
        await asyncio.wait_for(ended.wait(), 20)
        assert by_header.connected
        await by_header.disconnect()

    asyncio.run(talk())


def test_long_polling_without_a_token_is_refused_before_it_says_anything(guarded: Guarded) -> None:
    at = "/socket.io/?EIO=4&transport=polling"
    sid = json.loads(guarded.ask(at).body[1:])["sid"]
    assert guarded.ask(f"{at}&sid={sid}", data=b'42["message", "not yet"]').status in (200, 400)
    guarded.ask(f"{at}&sid={sid}", data=b"40")
    assert b"token is needed" in guarded.ask(f"{at}&sid={sid}").body
    guarded.ask(f"{at}&sid={sid}", data=b'42["message", "nor now"]')
    lines = guarded.ask("/general/json?poll=1&last=9", guarded.bob).body.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["hello"]


def test_the_page_says_that_it_needs_to_log_in_and_one_without_tokens_does_not(
    guarded: Guarded, broker: BrokerProcess, start_web: StartWeb
) -> None:
    assert b'name="zchat-login" content="token"' in guarded.ask("/").body
    assert b"login.js" in guarded.ask("/login").body
    free = guarded._replace(web=start_web(broker))
    assert b'name="zchat-login" content=""' in free.ask("/").body
    assert free.ask("/general?user=anybody", data=b"x").body["user"] == "anybody"


def test_it_speaks_tls_and_the_cookie_is_secure_then(
    broker: BrokerProcess, start_web: StartWeb, tmp_path: Path
) -> None:
    certificate, key, file = tmp_path / "cert.pem", tmp_path / "key.pem", TokenFile(tmp_path / "tokens")
    token = file.new("alice", 60)
    made = subprocess.run(
        [*REQUEST[:-1], "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("openssl makes no certificate")
    web = start_web(broker, "--cert", str(certificate), "--key", str(key), "--tokens", str(file.path))
    assert web.url.startswith("https://")
    context = ssl.create_default_context(cafile=certificate)
    request = urllib.request.Request(f"{web.url}/login", json.dumps({"token": token}).encode())
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        assert "Secure" in answer.headers["set-cookie"]

    async def talk() -> None:
        at = web.url.replace("https", "wss") + "/ws"
        mine = {"authorization": f"Bearer {token}"}
        async with websockets.connect(at, additional_headers=mine, ssl=context) as page:
            await page.send('{"do": "hello", "n": 1}')
            assert json.loads(await page.recv())["user"] == "alice"

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("scheme", "host", "secure"),
    [
        ("https", "chat.example", True),
        ("http", "chat.example", True),
        ("http", "127.chat.example", True),
        ("http", "127.0.0.1", False),
        ("http", "localhost", False),
        ("https", "localhost", True),
    ],
)
def test_only_this_machine_has_a_cookie_that_goes_without_tls(scheme: str, host: str, secure: bool) -> None:
    scope = {"type": "http", "scheme": scheme, "path": "/", "headers": [(b"host", host.encode())]}
    assert is_secure(Request(scope)) == secure


def test_a_gateway_without_its_file_does_not_start(broker: BrokerProcess, tmp_path: Path) -> None:
    weak = tmp_path / "weak"
    TokenFile(weak).new("alice", 60)
    weak.chmod(0o644)
    for command in ("web", "tcp"):
        none = run(command, "--tokens", str(tmp_path / "none"), broker=broker)
        assert none.status == 1 and "zchat tokens new USER" in none.stderr
        refused = run(command, "--tokens", str(weak), broker=broker)
        assert refused.status == 2 and "chmod 600" in refused.stderr
        listen = "0.0.0.0:0" if command == "web" else "*:0"
        wide = run(command, "--listen", listen, broker=broker)
        assert wide.status == 2 and "--insecure" in wide.stderr and wide.stderr.count("\n") == 1
        both = run(command, "--insecure", "--tokens", str(weak), broker=broker)
        assert both.status == 2
    alone = run("web", "--cert", str(weak), broker=broker)
    assert alone.status == 2 and "go together" in alone.stderr
