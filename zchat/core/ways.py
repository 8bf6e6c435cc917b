"""Which way what is said in a room goes: to everybody, on the XPUB, or on the ROUTER to each session that may have it.

    a batch or WATERMARK  ── is_direct(topic)? no ──►  the XPUB: whoever subscribes
                             yes ──►  DIRECT, to each session that has said SUBSCRIBE (recipients.py)

This is the one place that says so, for the broker and for its clients. So far these are inboxes: what not everybody may
read never touches the XPUB, where nobody is asked who he is.

Spec: docs/protocol.md, "Direct topics". Tests: tests/core/test_ways.py.
"""

from __future__ import annotations

from zchat import wire

_DIRECT = (b"@", wire.PRESENCE_TOPIC + b"@")


def is_direct(topic: bytes) -> bool:
    """Whether what comes on a topic is said to sessions one by one, and is not broadcast."""
    return topic.startswith(_DIRECT)
