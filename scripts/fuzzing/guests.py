"""Honest users of the doors: what one says, comes to it and no other way; how long that took.

Rule of this file: what is wrong is returned as text, and nothing raises because of a door.
"""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import time

ANSWER_SECONDS = 20.0
FROM = ("127.0.0.2", 0)  # another host than the fuzzers': a door bounds what one address does


def at_lines(host: str, port: int) -> str:
    """Connect to `zchat tcp`, say a word, and see it once. Empty: all is well."""
    word, came = secrets.token_hex(8), b""
    try:
        with socket.create_connection((host, port), ANSWER_SECONDS, FROM) as link:
            link.sendall(f"/join honest\n{word}\n".encode())
            deadline = time.monotonic() + ANSWER_SECONDS
            while f": {word}\n".encode() not in came:
                data = link.recv(1 << 16)
                if not data or time.monotonic() > deadline:
                    return f"lines: {word} did not come back; there is {came[-300:]!r}"
                came += data
    except OSError as error:
        return f"lines: {error}; there is {came[-300:]!r}"
    return "" if came.count(word.encode()) == 1 else f"lines: {word} came more than once"


def at_web(host: str, port: int) -> str:
    """Publish by `zchat web`, and read it back. Empty: all is well."""
    word = secrets.token_hex(8)
    link = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS, source_address=FROM)
    try:
        link.request("POST", "/honest", word)
        answer = link.getresponse()
        said = answer.read()
        if answer.status != 200:
            return f"web: {answer.status} {said[:300]!r}"
        offset = json.loads(said)["offset"]
        link.request("GET", f"/honest/{offset}")
        answer = link.getresponse()
        found = answer.read()
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return f"web: {error!r}"
    finally:
        link.close()
    return "" if found == word.encode() else f"web: at {offset} stands {found[:300]!r}, not {word}"
