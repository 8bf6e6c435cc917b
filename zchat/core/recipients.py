"""Which sessions have subscribed to what is not broadcast (ways.py), at the broker, and what is to be said to them.

    a batch or WATERMARK ── tell ──► DIRECT, to each session that has subscribed to the beginning of its topic, and may

Rules of this file
1. It is the bytes that would be broadcast, with the same links: who listens orders it, and fetches what was dropped.
2. A session has what it subscribed to for as long as it is reached where it said so. Then it says so again.
3. Whether it may have it is decided when it is said. Who that is, of a topic, is found once: until a subscription or
   the rules change.

Spec: docs/protocol.md, "Direct topics". Tests: tests/core/test_recipients.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from zchat import wire
from zchat.core.allowances import Share
from zchat.core.channels import Endpoint
from zchat.core.rights import Rights
from zchat.core.session import Session
from zchat.core.ways import is_direct, verb_of
from zchat.errors import over_limit
from zchat.settings import Settings

RECIPIENTS_MAX = 1_024  # sessions that have an inbox: whoever writes there makes the broker send to each of them
TOPICS_FOUND_MAX = 100_000  # of which it is known who has them


class Addressed(NamedTuple):
    """One batch or marker, and whom it is said to."""

    frame: bytes  # as it would be broadcast
    direct: bytes  # as it is said
    endpoints: list[Endpoint]


class Recipients:
    """Of all sessions of a broker."""

    def __init__(self, rights: Rights, settings: Settings) -> None:
        self._rights = rights
        self._version = rights.version
        self._sessions: dict[bytes, dict[Session, None]] = {}  # topic, or the beginning of some -> who has it
        self._lengths = Counter[int]()  # of those
        self._topics: dict[Session, dict[bytes, None]] = {}
        self._shares = Share(settings, "subscriptions_max")
        self._addresses: dict[Session, str] = {}  # for which they count
        self._found: dict[bytes, list[Endpoint]] = {}
        self._out: list[Addressed] = []

    def subscribe(self, session: Session, topics: Iterable[bytes]) -> None:
        """It has these from now on, and no others. Raises WireError where one has too many sessions."""
        wanted, before = dict.fromkeys(topics), self._topics.get(session, {})
        for topic in wanted:
            of_topic = self._sessions.get(topic, {})
            if is_direct(topic) and len(of_topic) >= RECIPIENTS_MAX and session not in of_topic:
                raise over_limit("recipients_max", "over-limit", f"{RECIPIENTS_MAX:,} sessions have subscribed to that")
        text = "all sessions, or those of this user or address, have as many topics as they may have"
        self._shares.check(session.address, len(wanted) - len(before), "over-limit", text, session.user)
        for topic in before.keys() - wanted.keys():
            self._remove(session, topic)
        for topic in wanted.keys() - before.keys():
            self._sessions.setdefault(topic, {})[session] = None
            self._lengths[len(topic)] += 1
            self._changed(topic)
        self._count(session, -len(before))
        self._topics[session], self._addresses[session] = wanted, session.address
        self._count(session, len(wanted))

    def forget(self, session: Session) -> None:
        """It is not reached any more where it was."""
        topics = self._topics.get(session, {})
        for topic in topics:
            self._remove(session, topic)
        self._count(session, -len(topics))
        self._topics.pop(session, None)
        self._addresses.pop(session, None)

    def denied(self, session: Session, former: Callable[[str], bool], may_read: Callable[[str], bool]) -> bool:
        """Whether there is a room that it has subscribed to by its name, and could read, and may not any more."""
        for topic in self._topics.get(session, ()):
            if topic.endswith(b"\0"):
                _, room = verb_of(topic)
                if former(room) and not may_read(room):
                    return True
        return False

    def tell(self, topic: bytes, frame: bytes) -> None:
        """What is to be said on a topic, to who has it."""
        if self._version != self._rights.version:
            self._version = self._rights.version
            self._found.clear()
        endpoints = self._found.get(topic)
        if endpoints is None:
            endpoints = self._find(topic)
        if endpoints:
            self._out.append(Addressed(frame, wire.direct(topic, frame), endpoints))

    def take(self) -> list[Addressed]:
        """All of it, in order."""
        out, self._out = self._out, []
        return out

    # --- parts ------------------------------------------------------------------------------

    def _find(self, topic: bytes) -> list[Endpoint]:
        verb, room = verb_of(topic)
        may = self._rights.may
        sessions: dict[Session, None] = {}
        for length in self._lengths:
            if length <= len(topic):
                sessions.update(self._sessions.get(topic[:length], {}))
        if len(self._found) >= TOPICS_FOUND_MAX:
            self._found.clear()
        found = [session.connection for session in sessions if may(session.user, verb, room)]
        self._found[topic] = found
        return found

    def _remove(self, session: Session, topic: bytes) -> None:
        of_topic = self._sessions[topic]
        del of_topic[session]
        if not of_topic:
            del self._sessions[topic]
        self._lengths[len(topic)] -= 1
        if not self._lengths[len(topic)]:
            del self._lengths[len(topic)]
        self._changed(topic)

    def _changed(self, topic: bytes) -> None:
        """Who has it is to be found anew."""
        if topic.endswith(b"\0"):
            self._found.pop(topic, None)
        else:
            self._found.clear()

    def _count(self, session: Session, more: int) -> None:
        if more:
            self._shares.add(self._addresses.get(session, session.address), more, session.user)
