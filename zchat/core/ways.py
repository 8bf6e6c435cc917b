"""Which way what is said in a room goes: to everybody, on the XPUB, or on the ROUTER to each session that may have it.

    a batch or WATERMARK  ── is_direct(topic)? no ──►  the XPUB: whoever subscribes
                             yes ──► Recipients  ──►  DIRECT, to each session that has said SUBSCRIBE

Rules of this file
1. `is_direct` is the one place that says which way a topic goes, for the broker and for its clients. So far these are
   inboxes: what not everybody may read never touches the XPUB, where nobody is asked who he is.
2. It is the same bytes either way, with the same links: who listens orders it, and fetches what was dropped.
3. A session has what it subscribed to for as long as it is reached where it said so. Then it says so again.

Spec: docs/protocol.md, "Direct topics". Tests: tests/core/test_ways.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zchat import wire
from zchat.core.channels import reply_to
from zchat.core.session import Session

_DIRECT = (b"@", wire.PRESENCE_TOPIC + b"@")


def is_direct(topic: bytes) -> bool:
    """Whether what comes on a topic is said to sessions one by one, and is not broadcast."""
    return topic.startswith(_DIRECT)


class Addressed(NamedTuple):
    """One batch or marker, and whom it is said to."""

    frame: bytes  # as it would be broadcast
    replies: list[tuple[bytes, bytes]]  # connection, frame


class Recipients:
    """At the broker: which sessions have subscribed to which direct topics, and what is to be said to them."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, dict[Session, None]] = {}  # topic -> who has it
        self._topics: dict[Session, list[bytes]] = {}
        self._out: list[Addressed] = []

    def subscribe(self, session: Session, topics: Iterable[bytes]) -> None:
        """It has these from now on, and no others."""
        self.forget(session)
        of_session = list(dict.fromkeys(topics))
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
            direct = wire.direct(topic, frame)
            self._out.append(Addressed(frame, [reply_to(session.connection, direct) for session in sessions]))

    def take(self) -> list[Addressed]:
        """All of it, in order."""
        out, self._out = self._out, []
        return out
