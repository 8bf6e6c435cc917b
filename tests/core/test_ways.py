"""Which topics are broadcast, and which are said to sessions one by one."""

from __future__ import annotations

import pytest

from zchat import wire
from zchat.core.rights import PRESENCE, READ, Rights, RoomRule, Rules
from zchat.core.rooms import Feed
from zchat.core.ways import Ways, is_direct, verb_of
from zchat.errors import WireError
from zchat.names import topic, topic_prefix


@pytest.mark.parametrize("name", ["@alice", "@alice.b"])
def test_inboxes_go_to_sessions_one_by_one(name: str) -> None:
    assert is_direct(topic(name)) and is_direct(wire.PRESENCE_TOPIC + topic(name))


@pytest.mark.parametrize("name", ["general", "alice", "build.*", "**"])
def test_all_else_is_broadcast(name: str) -> None:
    assert not is_direct(topic_prefix(name)) and not is_direct(wire.PRESENCE_TOPIC + topic_prefix(name))
    assert not is_direct(wire.PRIVATE_TOPIC + b"@") and not is_direct(wire.INTRODUCTION_TOPIC + b"@")


def test_what_not_everybody_may_have_goes_to_sessions_one_by_one_until_the_rules_change() -> None:
    rights = Rights(Rules(True, (RoomRule("ops.**", {READ: ("ann",)}), RoomRule("quiet", {PRESENCE: ("ann",)}))))
    ways = Ways(rights)
    feeds = {name: Feed(topic(name), 0) for name in ("ops.a", "general", "quiet", "@ann")}
    feeds |= {f"+{name}": Feed(wire.PRESENCE_TOPIC + topic(name), 0) for name in feeds}
    direct = {"ops.a", "+ops.a", "+quiet", "@ann", "+@ann"}
    for _ in range(2):
        assert {name for name, feed in feeds.items() if ways.is_direct(feed)} == direct
    rights.change(Rules())
    assert {name for name, feed in feeds.items() if ways.is_direct(feed)} == {"@ann", "+@ann"}
    rights.change(Rules(is_open=False))
    assert all(ways.is_direct(feed) for feed in feeds.values())


def test_a_topic_says_which_right_it_needs() -> None:
    assert verb_of(topic("a")) == (READ, "a") and verb_of(wire.PRESENCE_TOPIC + topic("@a")) == (PRESENCE, "@a")
    for wrong in (b"", b"#", b"#\0", b"#\xff\0", wire.PRIVATE_TOPIC):
        with pytest.raises(WireError):
            verb_of(wrong)
