"""How a subscriber says which session it is of, so that who is cut off for its subscriptions can be told why.

    introduction   00, session, NUL, the beginning of a hash of the session's token

Rules of this file
1. It is a topic like any other: a client subscribes to it before all others, and gives it back once they are live.
   Nothing is ever broadcast on it, so nobody else gets it.
2. It is good for being told, and for nothing else. One that does not fit is of nobody.

Spec: docs/protocol.md, "Topics". Tests: tests/core/test_introductions.py.
"""

from __future__ import annotations

from zchat import wire

PROOF_BYTES = 16
SESSION_CHARACTERS_MAX = 100  # so that it is no longer than a topic may be


def introduction(session: str, token: bytes) -> bytes:
    """The topic of a session's subscriber; empty where its name is too long for one."""
    if not 0 < len(session) <= SESSION_CHARACTERS_MAX or not session.isascii():
        return b""
    import hashlib  # here, as in `is_of`: who only sends needs none, and waits 3 ms less to start

    return wire.INTRODUCTION_TOPIC + session.encode() + b"\0" + hashlib.sha256(token).digest()[:PROOF_BYTES]


def session_of(topic: bytes) -> str:
    """Whose it says it is; empty where it is none."""
    session, _, _ = topic.removeprefix(wire.INTRODUCTION_TOPIC).partition(b"\0")
    return session.decode(errors="replace") if topic.startswith(wire.INTRODUCTION_TOPIC) else ""


def is_of(topic: bytes, session: str, token: bytes) -> bool:
    """Whether who knows the token said it."""
    import hmac

    return bool(topic) and hmac.compare_digest(topic, introduction(session, token))
