"""What one connection to a door sends: `lines` to `zchat tcp`, `http` and `websocket` to `zchat web`. Pure.

Rule of this file: the first port of a place is that of the door for lines, the second that of the door for the web.
"""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

from attacks import peers

from fuzzing.courses import Course, Piece

COMMANDS = ("/nick", "/join", "/part", "/who", "/msg", "/last", "/help", "/quit", "/", "//", "/x", "/\u202e", "hello")
WORDS = (
    "",
    "fuzz",
    "fuzz-0",
    "fuzz.1",
    "@fuzz-0",
    "9999999999999999999",
    "-1",
    "\u202eevil",
    "\x1b[2J",
    "é" * 40,
    "ＡＢ",
)
TELNET = (
    b"\xff\xfd\x01",
    b"\xff\xfb\x03",
    b"\xff\xfa\x18\x00vt\xff\xf0",
    b"\xff\xff",
    b"\xff\xf6",
    b"\xff",
    b"\xff\xf9",
)
METHODS = ("GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "X", "")
PATHS = (
    "/",
    "/fuzz.0",
    "/fuzz.0/json",
    "/fuzz.0/json?poll=1",
    "/fuzz.0/sse",
    "/fuzz.0/who",
    "/fuzz.0/1",
    "/@fuzz-0/json",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/ws",
    "/static/../serving.py",
    "/%2e%2e/%00",
    "/fuzz.0/ws",
    "/socket.io/?EIO=4&transport=polling",
    "/socket.io/?EIO=3&transport=polling&sid=x",
    "*",
    "http://x/",
    "",
)
QUERIES = (
    "",
    "?user=fuzz-0",
    "?since=2h",
    "?after=1",
    "?last=5",
    "?after=x&last=-1",
    "?user=%ff",
    "?poll=1&since=9e99h",
)
HEADERS = (
    "Host: localhost",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "X-User: fuzz-0",
    "X-Event: move",
    "X-Filename: a%00b",
    "Idempotency-Key: k",
    "Connection: close",
    "Connection: upgrade",
    "Upgrade: h2c",
    "Cookie: a=b; c",
    "Origin: http://evil",
    "Range: bytes=0-",
    "Accept-Encoding: gzip",
    "X: \x00",
    "X : y",
    "\u00e9: \u00e9",
)
WEBSOCKETS = ("/fuzz.0/ws?user=fuzz-1", "/fuzz.0/ws", "/ws", "/socket.io/?EIO=4&transport=websocket", "/nothing")
PACKETS = (
    "0",
    "1",
    "2",
    "2probe",
    "3",
    "40",
    '40{"user":"fuzz-1","room":"fuzz.0"}',
    '42["message","hi"]',
    "5",
    "6",
    "9",
    '420["join","fuzz.1"]',
    '421["history",{"room":"fuzz.0","last":5}]',
    '451-["message",{"_placeholder":true,"num":0}]',
    '42["message",{"text":"x","id":"k"}]',
    '42["who"]',
    "41",
    "43[]",
    '44{"message":"x"}',
    '42["',
    "45-1-[]",
)
DONE = ("hello", "join", "leave", "who", "send", "history", "search", "rooms", "x", "", None, 1)
OPCODES = (1, 1, 1, 2, 0, 8, 9, 10, 3, 15)


def lines(draw: Random) -> Course:
    """What is typed, or what telnet says."""
    made = []
    for _ in range(draw.randrange(1, 15)):
        how = draw.random()
        if how < 0.15:
            made.append(draw.choice(TELNET) * draw.choice((1, 1, 50)))
        elif how < 0.25:
            made.append(draw.randbytes(draw.choice((1, 50, 3_000))))
        elif how < 0.28:
            made.append(b"x" * draw.choice((65_535, 65_537, 200_000)))
        else:
            words = " ".join((draw.choice(COMMANDS), *(draw.choice(WORDS) for _ in range(draw.randrange(3)))))
            made.append(words.encode() + draw.choice((b"\n", b"\n", b"\r\n", b"\r\0", b"")))
    return _course(draw, False, [Piece(data, 1 if draw.random() < 0.1 else 0) for data in made])


def http(draw: Random) -> Course:
    """Some requests on one connection."""
    made = [Piece(request(draw), 1) for _ in range(draw.choice((1, 1, 2, 5)))]
    return _course(draw, True, made)


def websocket(draw: Random) -> Course:
    """Upgraded; then frames, with packets of Socket.IO or lines of JSON."""
    path = draw.choice(WEBSOCKETS)
    key = base64.b64encode(draw.randbytes(16)).decode()
    upgrade = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
    made = [Piece(f"GET {path} HTTP/1.1\r\n{upgrade}\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode(), 1)]
    for _ in range(draw.randrange(1, 12)):
        said = draw.choice(PACKETS) if "socket.io" in path else json_line(draw)
        body = draw.randbytes(draw.choice((0, 3, 200))) if draw.random() < 0.1 else said.encode()
        made.append(Piece(websocket_frame(draw, body), 1 if draw.random() < 0.3 else 0))
    return _course(draw, True, made)


LEVELS = {"lines": lines, "http": http, "websocket": websocket}


def request(draw: Random) -> bytes:
    """One, with a body that may be another than it says."""
    body = draw.choice((b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nx", draw.randbytes(2_000)))
    version = draw.choice(("HTTP/1.1", "HTTP/1.0", "X"))
    head = [f"{draw.choice(METHODS)} {draw.choice(PATHS)}{draw.choice(QUERIES)} {version}"]
    head += [draw.choice(HEADERS) for _ in range(draw.randrange(6))]
    if draw.random() < 0.5:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1", "replace") + body


def json_line(draw: Random) -> str:
    """As the page talks."""
    said: dict[str, Any] = {"do": draw.choice(DONE), "n": draw.choice((0, 1, -1, "x", None, 1 << 70))}
    for name in ("user", "room", "text", "id", "after", "limit", "have", "before"):
        if draw.random() < 0.4:
            said[name] = draw.choice((*WORDS, 0, 1, -1, 1 << 60, None, [], {"a": 1}, True, 0.5))
    text = json.dumps(said)
    return draw.choice((text, text, text, text[:-1], "[" * 2_000, "null", text + text))


def websocket_frame(draw: Random, body: bytes) -> bytes:
    """RFC 6455: masked as a client's; now and then with other flags, or a length that lies."""
    first = (0x80 if draw.random() < 0.9 else draw.randrange(16) << 4) | draw.choice(
        OPCODES if draw.random() < 0.3 else (1,)
    )
    size = (
        len(body) if draw.random() < 0.93 else draw.choice((0, 125, 126, 65_535, 1 << 32, (1 << 63) - 1, (1 << 64) - 1))
    )
    mask = draw.randbytes(4) if draw.random() < 0.95 else b""
    flag = 0x80 if mask else 0
    if size < 126:
        head = bytes([first, flag | size])
    elif size < 1 << 16:
        head = bytes([first, flag | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, flag | 127]) + size.to_bytes(8, "big")
    said = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)) if mask else body
    return head + mask + said


def _course(draw: Random, publisher: bool, pieces: list[Piece]) -> Course:
    if draw.random() < 0.1:
        at = draw.randrange(len(pieces))
        pieces[at:] = [Piece(pieces[at].data[: draw.randrange(len(pieces[at].data) + 1)])]
    return Course(publisher, pieces, draw.choice([*peers.ENDS, "fin", "reset", "fin"]))
