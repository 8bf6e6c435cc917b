"""One private topic at a time, given back once its SYNC has come."""

from __future__ import annotations

from tests.core.test_listening import at, nonces, private
from zchat import wire
from zchat.core.handshake import Handshake

INTRODUCTION = b"\0s1\0proof"


def test_a_nonce_is_out_from_when_it_was_taken_until_its_sync() -> None:
    handshake = Handshake(nonces())
    assert handshake.is_synced and not handshake.private and handshake.take() == ([], [])
    handshake.ask(at(0))
    assert (handshake.is_synced, handshake.is_out, bool(handshake.private), handshake.rounds) == (False, False, True, 1)
    assert handshake.take() == ([], [(True, private(1))]) and handshake.is_out
    assert not handshake.answered(wire.Sync(b"n2", 40)) and not handshake.answered(wire.Sync(b"", 40))
    assert handshake.answered(wire.Sync(b"n1", 40))
    assert handshake.take() == ([], [(False, private(1))]) and not handshake.is_out
    assert not handshake.answered(wire.Sync(b"n1", 40))


def test_one_that_was_not_taken_is_never_subscribed_to() -> None:
    handshake = Handshake(nonces())
    handshake.ask(at(0))
    handshake.ask(at(1))
    assert handshake.take() == ([], [(True, private(2))])
    handshake.ask(at(2))
    assert handshake.take() == ([], [(False, private(2)), (True, private(3))])
    assert (handshake.rounds, handshake.asked_at, handshake.unsynced_at) == (3, at(2).seconds, at(0).seconds)


def test_the_introduction_goes_before_all_and_is_given_back_with_the_nonce() -> None:
    handshake = Handshake(nonces())
    handshake.introduction = lambda: INTRODUCTION
    assert handshake.take() == ([], [])  # of somebody who subscribes to nothing
    handshake.ask(at(0))
    assert handshake.take() == ([(True, INTRODUCTION)], [(True, private(1))])
    handshake.ask(at(1))
    assert handshake.take() == (
        [(True, INTRODUCTION)],
        [(False, private(1)), (False, INTRODUCTION), (True, private(2))],
    )
    handshake.answered(wire.Sync(b"n2", 40))
    assert handshake.take() == ([], [(False, private(2)), (False, INTRODUCTION)])
