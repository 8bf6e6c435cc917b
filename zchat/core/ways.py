"""Which way what is said in a room goes: to everybody, on the XPUB, or on the ROUTER to each session that may have it.

    a batch or WATERMARK  ── may everybody have it? yes ──►  the XPUB: whoever subscribes
                             no ──►  DIRECT, to each session that has said SUBSCRIBE, and may (recipients.py)

This is the one place that says so. What not everybody may read never touches the XPUB, where nobody is asked who he is.
Inboxes are always direct, and clients know that. Which rooms are follows from the rules, and changes with them: where
there may be some, clients subscribe both ways, and what comes has the same form and the same links on both.

Spec: docs/protocol.md, "Direct topics". Tests: tests/core/test_ways.py.
"""

from __future__ import annotations

from typing import Protocol

from zchat import wire
from zchat.core.rights import PRESENCE, READ, Rights
from zchat.names import room_of

_DIRECT = (b"@", wire.PRESENCE_TOPIC + b"@")


def is_direct(topic: bytes) -> bool:
    """Whether what comes on a topic is said to sessions one by one at every broker: that of an inbox."""
    return topic.startswith(_DIRECT)


def verb_of(topic: bytes) -> tuple[str, str]:
    """The right that is needed to have what comes on a topic of a room, and the room. Raises WireError."""
    if topic.startswith(wire.PRESENCE_TOPIC):
        return PRESENCE, room_of(topic[len(wire.PRESENCE_TOPIC) :])
    return READ, room_of(topic)


class Sent(Protocol):
    """What is sent on a topic."""

    topic: bytes
    is_direct: bool
    rules: int  # by which version of the rules it is; less than 0: by none


class Ways:
    """Of one broker."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights

    def is_direct(self, feed: Sent) -> bool:
        """Whether what is said there is for some alone. A look at a number, but once after each change of the rules."""
        if feed.rules != self._rights.version:
            feed.rules = self._rights.version
            feed.is_direct = not self._rights.is_public(*verb_of(feed.topic))
        return feed.is_direct
