from __future__ import annotations

from tests.simulation.pair import Pair
from zchat import wire
from zchat.core.client import READY
from zchat.core.ordering import Start
from zchat.errors import LogError, Refused


def test_a_message_reaches_a_listener_and_its_ack_the_sender() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    heard = bob.listen("general")
    pair.run()
    chunk = alice.publish("general", b"hi", b"again")
    pair.run()
    assert bob.bodies(heard) == [b"hi", b"again"]
    assert chunk.first == pair.log.head() - 1


def test_what_pub_lost_is_fetched() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    heard = bob.listen("general")
    pair.run()
    pair.drops = lambda end, topic, frame: end is bob
    alice.publish("general", b"one")
    pair.run()
    pair.drops = lambda end, topic, frame: False
    alice.publish("general", b"two")
    pair.run()
    assert bob.bodies(heard) == [b"one", b"two"]
    assert bob.notices(heard) == ["live", "recovered"]


def test_a_publish_whose_ack_was_cut_off_is_stored_once() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.holds_commits = True
    chunk = alice.publish("general", b"once")
    pair.run()
    pair.cut(alice)
    pair.commit()
    pair.reconnect(alice)
    pair.run()
    assert alice.core.state == READY and chunk.first == 1 and pair.log.head() == 1


def test_a_publish_goes_on_after_the_broker_died_before_its_commit() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    heard = bob.listen("general", start=Start(after=0), joins=False)
    pair.run()
    pair.holds_commits = True
    chunk = alice.publish("general", b"kept")
    pair.run()
    pair.holds_commits = False
    pair.restart()
    pair.run()
    assert chunk.first == 1 and bob.bodies(heard) == [b"kept"]


def test_a_commit_that_fails_refuses_the_publish() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.holds_commits = True
    chunk = alice.publish("general", b"no room")
    pair.run()
    pair.commit(LogError("log-full", "no space"))
    pair.run()
    assert isinstance(chunk.error, Refused) and chunk.error.code == "log-full" and pair.log.head() == 0


def test_a_client_that_goes_leaves_after_the_grace_time() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    heard = bob.listen("general", start=Start(after=0), presence=True)
    pair.run()
    alice.core.join({"general"}, pair.now)
    pair.run()
    pair.end(alice)
    pair.wait(pair.settings.grace_seconds + 1.0)
    events = [(event, body) for _, _, event, body in bob.heard(heard)]
    assert events == [("join", b""), ("join", b""), ("leave", b"lost")]
    present = bob.ask(wire.Who(0, "general"))
    assert isinstance(present, wire.Present) and [member.user for member in present.members] == ["bob"]
