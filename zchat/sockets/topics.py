"""What subscribers subscribe to, and who has too much of it.

Rules of this file
1. libzmq keeps topics in a tree, which costs about 48 bytes for each byte of a topic, and is walked whole for each
   subscriber that goes. So topics are counted in bytes: those of each subscriber, and all different ones together.
2. A topic is counted before it is granted; libzmq has it in its tree by then.

Tests: tests/sockets/test_topics.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zchat.settings import Settings
from zchat.sockets.peer import Peer


class TooMuch(NamedTuple):
    """Why a subscriber is to be cut off."""

    limit: str  # the setting that it went over
    why: str  # for people


class Topics:
    """The topics of all subscribers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._subscribers: dict[bytes, int] = {}  # topic -> how many have it
        self.bytes = 0  # of all different topics

    def add(self, peer: Peer, topic: bytes) -> TooMuch | None:
        """A peer has subscribed to that. Returns why it is to be cut off, if it is."""
        if topic in peer.topics:
            return None
        peer.topics.add(topic)
        peer.topic_bytes += len(topic)
        count = self._subscribers[topic] = self._subscribers.get(topic, 0) + 1
        if count == 1:
            self.bytes += len(topic)
        settings = self._settings
        if len(peer.topics) > settings.connection_subscriptions_max:
            why = f"subscribes to more than {settings.connection_subscriptions_max:,} topics"
            return TooMuch("connection_subscriptions_max", why)
        if peer.topic_bytes > settings.connection_topic_bytes_max:
            why = f"subscribes to topics of more than {settings.connection_topic_bytes_max:,} bytes"
            return TooMuch("connection_topic_bytes_max", why)
        return None

    def remove(self, peer: Peer, topic: bytes) -> None:
        """A peer has unsubscribed from that."""
        if topic in peer.topics:
            peer.topics.discard(topic)
            peer.topic_bytes -= len(topic)
            self._forget(topic)

    def forget(self, peer: Peer) -> None:
        """A peer has ended."""
        for topic in peer.topics:
            self._forget(topic)
        peer.topics, peer.topic_bytes = set(), 0

    def largest_of(self, peers: Iterable[Peer]) -> tuple[Peer, TooMuch] | None:
        """Where all together have too much, who has most, and why it is to be cut off."""
        if self.bytes <= self._settings.topic_bytes_max:
            return None
        why = f"has most of the topics, which have more than {self._settings.topic_bytes_max:,} bytes together"
        return max(peers, key=lambda peer: peer.topic_bytes), TooMuch("topic_bytes_max", why)

    def _forget(self, topic: bytes) -> None:
        left = self._subscribers.get(topic, 0) - 1
        if left > 0:
            self._subscribers[topic] = left
        elif self._subscribers.pop(topic, None) is not None:
            self.bytes -= len(topic)
