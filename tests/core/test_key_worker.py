"""The files of keys beside the loop: what is broken changes nothing, what was asked is answered when it is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.cycle import Cycle
from tests.simulation.broker_port import SimulatedPort
from tests.simulation.network import Port, World
from zchat import wire
from zchat.core import Instant
from zchat.core.identity import Enrolment, Identities
from zchat.core.key_worker import LOOK_SECONDS, KeyWorker
from zchat.errors import BadKey
from zchat.keys import Grant, KeyList

ALICE, INVITE, NEW = (str(number) * 32 for number in range(10, 13))
LISTED = KeyList({ALICE: Grant("alice")}, {INVITE: Grant("carol", expires=1 << 40)})


class GivenStore:
    """A `KeyStore` that has what a test gives."""

    def __init__(self) -> None:
        self.listed = LISTED
        self.is_new = False
        self.trouble: Exception | None = None

    def read(self) -> KeyList:
        """What it has."""
        if self.trouble is not None:
            raise self.trouble
        return self.listed

    def has_changed(self) -> bool:
        """Once."""
        is_new, self.is_new = self.is_new, False
        return is_new

    def enrol(self, enrolment: Enrolment) -> KeyList:
        """Keep it."""
        if self.trouble is not None:
            raise self.trouble
        self.listed = KeyList({**self.listed.users, enrolment.key: enrolment.grant}, {})
        return self.listed


class WorkingPort(SimulatedPort):
    """Jobs are done when the test says so."""

    def __init__(self) -> None:
        super().__init__(World(1), Port(), lambda: None, lambda base: None)
        self.jobs: list[Callable[[], None]] = []
        self.admitted: list[Callable[[str, float], str]] = []

    def work(self, job: Callable[[], None]) -> None:
        """Later."""
        self.jobs.append(job)

    def admit(self, admits: Callable[[str, float], str], now: Instant) -> None:
        """Kept."""
        self.admitted.append(admits)


class KeyBench:
    """A worker, and all around it."""

    def __init__(self) -> None:
        self.store, self.port, self.told = GivenStore(), WorkingPort(), list[str]()
        self.cycle = Cycle(identities=Identities(LISTED))
        self.core = self.cycle.core
        self.worker = KeyWorker(
            self.store, self.core.admission, self.port, self.later, self.told.append, self.other_key
        )
        self.seconds = 0.0
        self.turn()
        self.told.clear()
        self.port.admitted.clear()

    def other_key(self) -> None:
        """Noted."""
        self.told.append("another key")

    def later(self, finished: Callable[[Instant], None]) -> None:
        """At once."""
        finished(self.cycle.now)

    def turn(self, seconds: float = 0.0) -> None:
        """A turn of the loop, and what others do for it."""
        self.cycle.wait(seconds)
        self.worker.turn(self.cycle.now)
        while self.port.jobs:
            self.port.jobs.pop(0)()
        self.worker.turn(self.cycle.now)

    def send(self, key: str, *messages: wire.ClientMessage) -> list[tuple[bytes, wire.BrokerMessage]]:
        """What is said to anybody because of it."""
        for message in messages:
            self.core.received(key.encode(), wire.encode(message), self.cycle.now, "10.0.0.7", key)
        return self.cycle.take_replies()


@pytest.fixture
def bench() -> KeyBench:
    return KeyBench()


def test_what_has_changed_is_read_and_counts(bench: KeyBench) -> None:
    bench.send(ALICE, wire.Hello(wire.VERSION, "alice"))
    bench.store.listed, bench.store.is_new = KeyList({}, {}), True
    bench.turn(LOOK_SECONDS)
    assert bench.cycle.take_errors() == [(ALICE.encode(), "connection", 0, "revoked-key")]
    assert bench.told[-3:] == [
        "audit event=keys-changed users=0",
        f"audit event=key-removed user=alice key={ALICE[:16]}",
        f"audit event=revoked user=alice key={ALICE[:16]}",
    ]
    (admits,) = bench.port.admitted
    assert admits(ALICE, 0.0) == "unknown-key"


def test_it_looks_twice_a_second_and_not_in_every_turn(bench: KeyBench) -> None:
    bench.store.is_new = True
    bench.turn(LOOK_SECONDS / 4)
    assert bench.store.is_new
    bench.turn(LOOK_SECONDS)
    assert not bench.store.is_new


@pytest.mark.parametrize(
    ("trouble", "line"),
    [
        (BadKey("authorized_keys, line 3: no"), "authorized_keys, line 3: no: the keys stay as they were"),
        (
            ValueError("year 285200616 is out of range"),
            "the keys: ValueError('year 285200616 is out of range'): the keys",
        ),
        (PermissionError(13, "Permission denied", "/k/invites"), "/k/invites: Permission denied: the keys stay"),
    ],
)
def test_a_file_that_is_broken_changes_nothing_and_is_told(bench: KeyBench, trouble: Exception, line: str) -> None:
    bench.send(ALICE, wire.Hello(wire.VERSION, "alice"))
    bench.store.trouble, bench.store.is_new = trouble, True
    bench.turn(LOOK_SECONDS)
    bench.turn(LOOK_SECONDS)
    assert len([told for told in bench.told if told.startswith(line)]) == 1
    assert bench.cycle.take_replies() == [] and bench.port.admitted == []


def test_a_key_is_answered_when_it_is_written(bench: KeyBench) -> None:
    assert bench.send(INVITE, wire.Enroll(5, bytes.fromhex(NEW))) == []
    bench.turn()
    assert bench.cycle.take_replies() == [(INVITE.encode(), wire.Done(5))]
    ((_, welcome),) = bench.send(NEW, wire.Hello(wire.VERSION, "carol"))
    assert isinstance(welcome, wire.Welcome)


def test_a_key_that_cannot_be_written_is_told_to_both(bench: KeyBench) -> None:
    bench.store.trouble = OSError(28, "No space left on device", "/k/authorized_keys")
    bench.send(INVITE, wire.Enroll(5, bytes.fromhex(NEW)))
    bench.turn()
    assert bench.cycle.take_errors() == [(INVITE.encode(), "request", 5, "keys-failed")]
    assert bench.told[0].startswith("/k/authorized_keys: No space left on device: a key")


def test_the_brokers_own_key_is_told_of_once_when_it_is_another_or_gone(bench: KeyBench) -> None:
    for server in ("aa" * 32, "aa" * 32, "", "aa" * 32):
        bench.store.listed, bench.store.is_new = LISTED._replace(server=server), True
        bench.turn(LOOK_SECONDS)
    told = [line for line in bench.told if not line.startswith("audit")]
    assert (told[0], told[2], len(told)) == ("another key", "another key", 3) and "is gone" in told[1]
