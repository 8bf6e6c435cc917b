"""Which topics are broadcast, and which are said to sessions one by one."""

from __future__ import annotations

import pytest

from zchat import wire
from zchat.core.ways import is_direct
from zchat.names import topic, topic_prefix


@pytest.mark.parametrize("name", ["@alice", "@alice.b"])
def test_inboxes_go_to_sessions_one_by_one(name: str) -> None:
    assert is_direct(topic(name)) and is_direct(wire.PRESENCE_TOPIC + topic(name))


@pytest.mark.parametrize("name", ["general", "alice", "build.*", "**"])
def test_all_else_is_broadcast(name: str) -> None:
    assert not is_direct(topic_prefix(name)) and not is_direct(wire.PRESENCE_TOPIC + topic_prefix(name))
    assert not is_direct(wire.PRIVATE_TOPIC + b"@") and not is_direct(wire.INTRODUCTION_TOPIC + b"@")
