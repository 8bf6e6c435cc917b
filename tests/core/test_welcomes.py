"""What WELCOME tells: all of the broker to a connection, and to a channel what is the session's own."""

from __future__ import annotations

from tests.core.cycle import PORT, PUBLISH_PORT, Cycle
from zchat import wire
from zchat.address import Published
from zchat.core.channels import Channel
from zchat.core.log import facts_of
from zchat.core.rights import Rules
from zchat.core.session import Session
from zchat.core.welcomes import Welcomes


def welcomes(cycle: Cycle) -> Welcomes:
    facts = facts_of(cycle.log, cycle.settings.users_seen_max)
    published = Published(PUBLISH_PORT, "there", PORT)
    return Welcomes(cycle.settings, cycle.core.registry, facts, published, cycle.core.rights)


def test_a_connection_is_told_limits_starts_and_where_the_broker_publishes() -> None:
    cycle = Cycle()
    session = Session("s", "alice", 0, 0, connection=b"c", hello=4)
    made = welcomes(cycle)
    welcome = made.of(session, 7, 1_000, cycle.now, resumed=True)
    assert welcome.limits == cycle.settings.told() and (welcome.head, welcome.time) == (7, 1_000)
    assert welcome.starts and welcome.starts[-1][0] == made.start
    assert (welcome.publish_port, welcome.publish_host, welcome.port) == (PUBLISH_PORT, "there", PORT)
    assert (welcome.session, welcome.hello, welcome.resumed) == ("s", 4, True)
    assert cycle.core.registry.token_fits("s", "alice", welcome.token)


def test_a_channel_is_told_what_differs_for_its_session() -> None:
    cycle = Cycle()
    session = Session("s", "alice", 0, 0, connection=Channel(b"c", 1))
    welcome = welcomes(cycle).of(session, 7, 1_000, cycle.now, resumed=False)
    assert welcome.starts == [] and welcome.limits == {"session_kept_seconds": wire.SESSION_KEPT_SECONDS}
    session.last_seq = 1
    assert welcomes(cycle).of(session, 7, 1_000, cycle.now, resumed=False).limits == {}


def test_where_rules_may_come_it_is_told_that_rooms_may_be_direct() -> None:
    session = Session("s", "alice", 0, 0, connection=b"c")
    for rules, told in ((None, None), (Rules(), 1)):
        cycle = Cycle(rules=rules)
        assert welcomes(cycle).of(session, 7, 1_000, cycle.now, resumed=False).limits.get("direct_rooms") == told
