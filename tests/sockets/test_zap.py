"""Who is let in is asked before anything else, and whatever is asked, the handler goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import eventually
from zchat.core.identity import Identities
from zchat.errors import StartError
from zchat.keys import Grant, KeyList
from zchat.sockets import curve, options
from zchat.sockets.clock import instant
from zchat.sockets.zap import ZapHandler

ALICE, EVE, INVITE = "ab" * 32, "cd" * 32, "12" * 32
LISTED = KeyList({ALICE: Grant("alice"), EVE: Grant("eve", is_revoked=True)}, {INVITE: Grant("dan", expires=1 << 40)})


class ZapBench:
    """A handler, and a socket that asks as libzmq does."""

    def __init__(self, identities: Identities) -> None:
        self.context = options.new_context()
        self.keys = curve.new_pair()
        self.handler = ZapHandler(self.context, self.keys, identities)
        self.asker = self.context.socket(zmq.DEALER)
        self.asker.connect("inproc://zeromq.zap.01")

    def ask(self, *frames: bytes) -> list[bytes]:
        """Returns the answer; empty: none."""
        self.asker.send_multipart(frames)
        eventually(lambda: self.handler.socket.poll(0), "it is asked")
        self.handler.answer(instant())
        return self.asker.recv_multipart() if self.asker.poll(50) else []

    def close(self) -> None:
        """All of it."""
        self.asker.close()
        self.handler.close()
        self.context.term()


@pytest.fixture(scope="module")
def bench() -> Iterator[ZapBench]:
    bench = ZapBench(Identities(LISTED))
    yield bench
    bench.close()


def question(key: bytes, mechanism: bytes = b"CURVE", version: bytes = b"1.0") -> list[bytes]:
    return [b"", version, b"7", b"zchat", b"10.0.0.7", b"", mechanism, key]


@pytest.mark.parametrize(
    ("key", "status", "user"),
    [(ALICE, b"200", ALICE.encode()), (EVE, b"500", b""), ("ef" * 32, b"400", b""), ("ab" * 31, b"400", b"")],
)
def test_a_key_is_let_in_or_not_and_named(bench: ZapBench, key: str, status: bytes, user: bytes) -> None:
    empty, version, request, code, _text, name, metadata = bench.ask(*question(bytes.fromhex(key)))
    assert (empty, version, request, code, name, metadata) == (b"", b"1.0", b"7", status, user, b"")


def test_an_invite_opens_the_socket_of_clients_alone(bench: ZapBench) -> None:
    invite = question(bytes.fromhex(INVITE))
    assert bench.ask(*invite)[3] == b"200"
    invite[3] = curve.SUBSCRIBERS
    assert bench.ask(*invite)[3] == b"400"


@pytest.mark.parametrize(
    "frames",
    [
        question(bytes.fromhex(ALICE), mechanism=b"PLAIN"),
        question(bytes.fromhex(ALICE), version=b"2.0"),
        [b"", b"1.0", b"7", b"zchat", b"10.0.0.7", b"", b"NULL"],
        [b"", b"1.0", b"7", b"zchat", b"10.0.0.7", b"", b"PLAIN", b"alice", b"secret"],
    ],
)
def test_whatever_else_is_asked_is_answered_with_no(bench: ZapBench, frames: list[bytes]) -> None:
    assert bench.ask(*frames)[3] == b"400"


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=9))
def test_nothing_that_is_asked_ends_it(frames: list[bytes]) -> None:
    identities = Identities(LISTED)
    handler = ZapHandler.__new__(ZapHandler)
    handler._identities, handler._audit = identities, identities.audit
    reply = handler._reply(frames, instant())
    assert reply == [] or reply[-4] in (b"200", b"400", b"500")


def test_who_is_refused_is_told_to_the_operator_without_a_secret(bench: ZapBench) -> None:
    bench.handler._audit.take()
    bench.ask(*question(bytes.fromhex(EVE)))
    assert bench.handler._audit.take() == [f"audit event=refused key={EVE[:16]} address=10.0.0.7 code=revoked-key"]


def test_it_shows_that_a_strangers_key_is_kept_out(bench: ZapBench) -> None:
    bench.handler.show(instant)
    assert bench.handler._audit.take() == [], "the stranger was its own"


def test_a_handler_that_lets_everybody_in_is_found_out() -> None:
    bench = ZapBench(Identities())
    with pytest.raises(StartError, match="does not keep a stranger's key out"):
        bench.handler.show(instant)
    bench.close()
