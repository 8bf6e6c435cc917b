"""The readers of a real broker: whatever happens to a read is an answer."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests.conftest import BrokerProcess
from tests.sockets.raw import Speaker, publish
from zchat import wire

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
