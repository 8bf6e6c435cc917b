"""Which sessions have subscribed to which direct topics (ways.py), at the broker, and what is to be said to them.

    a batch or WATERMARK of a direct topic ── tell ──► DIRECT, to each session that has said SUBSCRIBE

Rules of this file
1. It is the bytes that would be broadcast, with the same links: who listens orders it, and fetches what was dropped.
2. A session has what it subscribed to for as long as it is reached where it said so. Then it says so again.

Spec: docs/protocol.md, "Direct topics". Tests: tests/core/test_recipients.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zchat import wire
from zchat.core.channels import Endpoint
from zchat.core.session import Session
from zchat.errors import WireError

RECIPIENTS_MAX = 1_024  # sessions that have a topic: a message is sent to each of them, and takes some microseconds


class Addressed(NamedTuple):
    """One batch or marker, and whom it is said to."""

    frame: bytes  # as it would be broadcast
    direct: bytes  # as it is said
    endpoints: list[Endpoint]


class Recipients:
    """Of all sessions of a broker."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, dict[Session, None]] = {}  # topic -> who has it
        self._topics: dict[Session, list[bytes]] = {}
        self._out: list[Addressed] = []

    def subscribe(self, session: Session, topics: Iterable[bytes]) -> None:
        """It has these from now on, and no others. Raises WireError where one has too many sessions."""
        of_session = list(dict.fromkeys(topics))
        for topic in of_session:
            of_topic = self._sessions.get(topic, {})
            if len(of_topic) >= RECIPIENTS_MAX and session not in of_topic:
                raise WireError("over-limit", f"{RECIPIENTS_MAX:,} sessions have subscribed to that")
        self.forget(session)
        for topic in of_session:
            self._sessions.setdefault(topic, {})[session] = None
        if of_session:
            self._topics[session] = of_session

    def forget(self, session: Session) -> None:
        """It is not reached any more where it was."""
        for topic in self._topics.pop(session, ()):
            of_topic = self._sessions[topic]
            del of_topic[session]
            if not of_topic:
                del self._sessions[topic]

    def tell(self, topic: bytes, frame: bytes) -> None:
        """What is to be said on a topic, to who has it."""
        if sessions := self._sessions.get(topic):
            endpoints = [session.connection for session in sessions]
            self._out.append(Addressed(frame, wire.direct(topic, frame), endpoints))

    def take(self) -> list[Addressed]:
        """All of it, in order."""
        out, self._out = self._out, []
        return out
