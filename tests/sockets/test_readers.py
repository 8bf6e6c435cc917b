"""The readers of a real broker: they serve everybody in turns, and whatever happens to a read is an answer."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, eventually
from tests.log.contract import Scribe
from tests.sockets.raw import Speaker, publish
from zchat import wire
from zchat.log.sqlite.log import SqliteLog
from zchat.settings import Settings

pytestmark = pytest.mark.slow

FAILING = """
from zchat.cli import main
from zchat.log.memory import MemoryLog

def fails(*args):
    raise {error}

MemoryLog.read = MemoryLog.seek = MemoryLog.find = fails
main()
"""


@pytest.mark.parametrize("error", ["RecursionError('too deep')", "MemoryError()", "LogError('log-damaged', 'a page')"])
def test_whatever_a_reader_raises_is_an_answer_and_told_to_the_operator_once(
    start_broker: Callable[..., BrokerProcess], speak: Callable[[str], Speaker], error: str
) -> None:
    program = "from zchat.errors import LogError\n" + FAILING.format(error=error)
    broker = start_broker("--memory", run=(sys.executable, "-c", program))
    alice = speak(broker.address)
    alice.hello("alice")
    code = "log-damaged" if "damaged" in error else "log-failed"
    for number in range(1, 5):  # more than there are threads
        alice.say(wire.Fetch(number, ["a"], 0, 0), wire.Seek(10 + number, ["a"], 1))
        for expected in (number, 10 + number):
            told = alice.hear(wire.Error)
            assert (told.about, told.number, told.code) == ("request", expected, code) and told.text
    alice.say(publish(5, "a", b"x"), publish(3, "a", b"x"))
    told = alice.hear(wire.Error)
    assert (told.about, told.number, told.code) == ("publish", 3, "log-failed") and told.text
    assert broker.stderr().count("the log cannot be read: ") == 1


# --- floods -----------------------------------------------------------------------------------------


CONNECTIONS, EACH = 10, 31
ROOMS, BATCHES = 4, 20_000
ALL_BUT_ONE = 2 * BATCHES - 1  # of two records each: a walk looks at every batch, and reads its frame


@pytest.fixture
def long_log(tmp_path: Path) -> Path:
    """In which a search for almost all takes a quarter of a second."""
    log = SqliteLog(tmp_path / "long", sync="normal")
    scribe = Scribe(log)
    scribe.keep(*[scribe.batch(f"r.{number % ROOMS}", b"x", b"y") for number in range(BATCHES)])
    log.close()
    return tmp_path / "long"


def heard(attackers: list[Speaker]) -> list[wire.BrokerMessage]:
    """What has come since the last look."""
    found = []
    for attacker in attackers:
        while attacker.dealer.poll(0):
            found.append(wire.decode_broker(attacker.dealer.recv()))
    return found


def test_searches_of_some_connections_do_not_keep_history_from_others_and_end_when_they_go(
    start_broker: Callable[..., BrokerProcess], speak: Callable[[str], Speaker], long_log: Path
) -> None:
    broker = start_broker("--data", str(long_log))
    honest = speak(broker.address)
    honest.hello("honest")
    attackers = [speak(broker.address) for _ in range(CONNECTIONS)]
    for number, attacker in enumerate(attackers):
        attacker.hello(f"attacker-{number}")
        attacker.say(*[wire.Seek(each, ["**"], ALL_BUT_ONE) for each in range(1, EACH + 1)])
    answered = 0
    for number in range(10):
        honest.say(wire.Seek(2 * number + 1, ["r.1"], 10))
        position = honest.hear(wire.Position)
        honest.say(wire.Fetch(2 * number + 2, ["r.1"], position.after, position.head))
        page = honest.hear(wire.Page)
        assert len(page.batches) == 5 and not page.more
        answered += len(heard(attackers))
    assert answered < CONNECTIONS * EACH / 4, "it waited for theirs"
    eventually(lambda: heard(attackers), "theirs are answered too", within=60)
    for attacker in attackers:
        attacker.close()
    idle = Idle(broker)
    eventually(lambda: idle.is_so, "nothing is read for who has gone")


class Idle:
    """Whether a broker does nothing: it has used hardly any processor for half a second."""

    def __init__(self, broker: BrokerProcess) -> None:
        assert broker.process is not None
        self._path = Path(f"/proc/{broker.process.pid}/stat")
        self._begin()

    @property
    def is_so(self) -> bool:
        """Looked at again and again."""
        if self._used() - self._before > 0.1:
            self._begin()
        return time.monotonic() - self._began > 0.5

    def _begin(self) -> None:
        self._began, self._before = time.monotonic(), self._used()

    def _used(self) -> float:
        fields = self._path.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_above_the_bound_of_all_who_asks_most_is_refused(
    start_broker: Callable[..., BrokerProcess], speak: Callable[[str], Speaker], long_log: Path
) -> None:
    broker = start_broker("--data", str(long_log))
    reads_max = Settings().reads_max
    attackers = [speak(broker.address) for _ in range(reads_max // EACH + 2)]
    for number, attacker in enumerate(attackers):
        attacker.hello(f"attacker-{number}")
        attacker.say(*[wire.Seek(each, ["**"], ALL_BUT_ONE) for each in range(1, EACH + 1)])
    honest = speak(broker.address)
    honest.hello("honest")
    honest.say(wire.Seek(1, ["r.1"], 10))
    assert honest.hear(wire.Position).after
    refused: list[wire.BrokerMessage] = []

    def is_refused() -> bool:
        refused.extend(each for each in heard(attackers) if isinstance(each, wire.Error))
        return len(refused) > 0

    eventually(is_refused, "those that are too many are refused")
    assert {(each.about, each.code) for each in refused if isinstance(each, wire.Error)} == {("request", "busy")}
