"""Plain HTTP by curl, over real connections; and JSON lines over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websockets

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.web.conftest import WebProcess
from zchat.web.application import WebApplication

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("curl") is None, reason="curl is needed")]
EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "web"
StartWeb = Callable[..., WebProcess]


def curl(*args: str, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(["curl", "-sS", *args], input=stdin, capture_output=True, timeout=60)
    assert not done.stderr, done.stderr
    return done.stdout


def answers(*args: str) -> list[Any]:
    return [json.loads(line) for line in curl(*args).splitlines() if line]


def status(*args: str) -> tuple[int, str]:
    body, _, code = curl("-w", "\n%{http_code}", *args).decode().rpartition("\n")
    return int(code), json.loads(body)["error"] if body.startswith("{") else body


def test_a_room_is_written_and_read_by_requests(shared_web: WebProcess, room: str) -> None:
    place = f"{shared_web.url}/{room}"
    assert answers("-d", "hi", place)[0] | {"offset": 0} == {
        "room": room,
        "offset": 0,
        "user": "web",
        "event": "message",
    }
    curl("-d", "v2", "-H", "X-Event: deploy", f"{place}?user=ci")
    first, again, other = (
        answers("-d", "once", "-H", f"Idempotency-Key: {key}", place)[0]["offset"] for key in ("k", "k", "k2")
    )
    assert first == again < other
    told = answers(f"{place}/json?poll=1&since=2h")
    assert [(each["user"], each["event"], each["text"]) for each in told[:3]] == [
        ("web", "message", "hi"),
        ("ci", "deploy", "v2"),
        ("web", "message", "once"),
    ]
    assert [each["offset"] for each in answers(f"{place}/json?poll=1&after={first}")] == [other]
    assert [each["text"] for each in answers(f"{place}/json?poll=1&last=3")] == ["v2", "once", "once"]
    with zchat.connect(shared_web.broker.address, "terry") as terry, terry.listen(room):
        assert [each["user"] for each in answers(f"{place}/who")[0]] == ["terry"]


def test_files_come_back_as_they_were_and_nothing_of_them_runs(
    shared_web: WebProcess, room: str, tmp_path: Path
) -> None:
    place, files = f"{shared_web.url}/{room}", {"a.png": "image/png", "a.svg": "image/svg+xml", "a.html": "text/html"}
    for name, kind in files.items():
        (tmp_path / name).write_bytes(b"\x89<script>" + name.encode())
        named = ["-H", f"Content-Type: {kind}", "-H", f"X-Filename: {name}"]
        offset = answers("-T", str(tmp_path / name), *named, place)[0]["offset"]
        head, _, body = curl("-i", f"{place}/{offset}").partition(b"\r\n\r\n")
        assert body == (tmp_path / name).read_bytes()
        is_shown = kind == "image/png"
        assert (b"inline" in head) == is_shown and (b"content-type: image/png" in head) == is_shown
        assert b"attachment" in head or is_shown
        assert b"sandbox" in head and b"nosniff" in head
    curl("-T", str(tmp_path / "a.png"), "-H", "X-Filename: %C3%A4 b.png", place)
    assert answers(f"{place}/json?poll=1&last=1")[0]["headers"]["filename"] == "ä b.png"
    assert status(f"{place}/999999") == (404, "not-there")


def test_what_cannot_be_is_answered_with_a_status(shared_web: WebProcess, room: str) -> None:
    place = f"{shared_web.url}/{room}"
    assert status("-d", "x", f"{shared_web.url}/a%20b") == (400, "bad-room")
    assert status("-d", "x", f"{place}?user=no%20name") == (400, "bad-user")
    assert status("-d", "x", "-H", "X-Event: disconnect", place) == (400, "usage")
    assert status(f"{place}/json?last=x") == (400, "usage")
    assert "no time" in curl(f"{place}/json?since=whenever").decode()
    assert status(f"{shared_web.url}/@bob/json") == (403, "denied")
    assert status("-d", "x", "-H", "Origin: https://evil.example", place)[0] == 403
    assert status("-d", "@-", place, "-H", "Content-Length: 1000001")[0] == 413
    large = curl("-w", "%{http_code}", "-H", "Transfer-Encoding: chunked", "-T", "-", place, stdin=b"x" * 1_000_001)
    assert large.endswith(b"413")
    assert status("-X", "DELETE", place)[0] == 405
    curl("-d", "psst", f"{shared_web.url}/@bob?user=anna")
    assert answers(f"{shared_web.url}/@bob/json?poll=1&user=bob")[0]["text"] == "psst"


def test_an_event_source_that_comes_back_gets_what_it_missed(shared_web: WebProcess, room: str, tmp_path: Path) -> None:
    place = f"{shared_web.url}/{room}"
    offsets = [answers("-d", text, place)[0]["offset"] for text in ("one", "two", "three")]
    with (tmp_path / "sse").open("wb") as file:
        back = ["-H", f"Last-Event-ID: {offsets[0]}"]
        reading = subprocess.Popen(["curl", "-sN", *back, f"{place}/sse"], stdout=file)
    try:
        text = (tmp_path / "sse").read_text
        eventually(lambda: "three" in text(), "what is stored has come")
        offsets.append(answers("-d", "four", place)[0]["offset"])
        eventually(lambda: "four" in text(), "what is new has come")
        assert [int(number) for number in re.findall(r"^id: (\d+)$", text(), re.M)] == offsets[1:]
    finally:
        reading.kill()
        reading.wait()


def test_the_example_of_curl_does_what_it_says(shared_web: WebProcess) -> None:
    host = shared_web.url.removeprefix("http://")
    done = subprocess.run(["sh", str(EXAMPLES / "curl.sh"), host], capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and done.returncode == 0
    assert '"text":"hello"' in done.stdout and done.stdout.count("\n") == 3


def test_lines_over_a_web_socket(shared_web: WebProcess, room: str) -> None:
    address = f"ws{shared_web.url.removeprefix('http')}"

    async def talk() -> None:
        async with websockets.connect(f"{address}/{room}/ws?user=anna&last=0") as anna:
            await anna.send("hi")
            seen = ""
            while '"text":"hi"' not in seen:
                seen += str(await anna.recv())
            async with websockets.connect(f"{address}/{room}/ws?last=1") as nobody:
                assert '"text":"hi"' in str(await nobody.recv())
                await nobody.send("who am I?")
                assert "who are you?" in str(await nobody.recv())
        for wrong in (f"/{room}/ws?last=x", "/a%20b/ws", "/@bob/ws"):
            async with websockets.connect(address + wrong) as refused:
                assert '"event":"error"' in str(await refused.recv())
                with pytest.raises(websockets.ConnectionClosed):
                    await refused.recv()
        async with websockets.connect(f"{address}/ws") as page:

            async def ask(**what: Any) -> Any:
                await page.send(json.dumps(what))
                while True:
                    for line in str(await page.recv()).splitlines():
                        if line and json.loads(line).get("re") == what.get("n", 0):
                            return json.loads(line)

            assert (await ask(do="join", room=room, n=1))["error"] == "usage", "it has not said who it is"
            assert (await ask(do="hello", user="no name", n=2))["error"] == "bad-user"
            assert (await ask(do="hello", user="ben", n=3))["inbox"] == "@ben"
            assert (await ask(do="join", room=room, n=4))["members"] == ["ben"]
            offsets = [(await ask(do="send", room=room, text=f"{n}", id=f"{n}", n=n))["offset"] for n in range(5, 15)]
            assert (await ask(do="send", room=room, text="again", id="14", n=15))["offset"] == offsets[-1]
            newest = await ask(do="history", room=room, limit=4, n=16)
            assert [each["offset"] for each in newest["messages"]] == offsets[-4:]
            older = await ask(do="history", room=room, limit=4, have=4, before=offsets[-4], n=17)
            assert [each["offset"] for each in older["messages"]] == offsets[2:6] and not older["is_all"]
            rest = await ask(do="history", room=room, limit=100, have=8, before=offsets[2], n=18)
            assert rest["is_all"] and rest["messages"][0]["text"] == "hi"
            assert [each["text"] for each in (await ask(do="search", room=room, text="HI", n=19))["messages"]] == ["hi"]
            assert room in {each["room"] for each in (await ask(do="rooms", n=20))["rooms"]}
            for bad in ("{", "[]", '{"do":"none"}', "[" * 100_000, '{"do":"send","room":5}'):
                await page.send(bad)
                assert "error" in str(await page.recv())
            assert (await ask(do="leave", room=room, n=21)) == {"re": 21, "room": room}

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_page_that_asks_at_once_gets_all_in_its_order(shared_web: WebProcess, room: str) -> None:
    async def talk() -> None:
        async with websockets.connect(f"ws{shared_web.url.removeprefix('http')}/ws") as page:

            async def ask(*what: dict[str, Any]) -> list[Any]:
                for n, each in enumerate(what, 1):
                    await page.send(json.dumps(each | {"n": n}))
                found: dict[int, Any] = {}
                while len(found) < len(what):
                    answers = [json.loads(line) for line in str(await page.recv()).splitlines() if line]
                    found |= {each["re"]: each for each in answers if "re" in each}
                return [found[n] for n in range(1, len(what) + 1)]

            await ask({"do": "hello", "user": "ben"})
            join, leave, who = ({"do": do, "room": room} for do in ("join", "leave", "who"))
            for _ in range(5):
                joined, _left, empty, again, there, _gone, over = await ask(join, leave, who, join, who, leave, who)
                assert (joined["room"], again["members"], there["members"]) == (room, ["ben"], ["ben"])
                assert (empty["members"], over["members"]) == ([], [])

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_health_figures_and_the_description(start_broker: Callable[..., BrokerProcess], start_web: StartWeb) -> None:
    broker = start_broker()
    web = start_web(broker)
    assert answers(f"{web.url}/healthz") == [{"status": "ok"}]
    curl("-d", "x", f"{web.url}/general")
    assert "\nzchat_web_published_total 1\n" in curl(f"{web.url}/metrics").decode()
    described = json.loads(curl(f"{web.url}/openapi.json"))["paths"]
    routes = {re.sub(r":\w+}", "}", route.path) for route in WebApplication()._routes.routes if hasattr(route, "path")}
    assert {path for path in routes if not path.startswith(("/static", "/socket.io")) and path != "/"} == set(described)
    assert b"content-security-policy: default-src 'none'" in curl("-i", f"{web.url}/docs")
    broker.kill()
    eventually(lambda: curl("-w", "%{http_code}", f"{web.url}/healthz").endswith(b"503"), "it tells that it is away")
    broker.start()
    eventually(lambda: curl("-w", "%{http_code}", f"{web.url}/healthz").endswith(b"200"), "it is back")
