"""`zchat purge` and `zchat rooms --delete` over a real broker, and `client.purge` of both faces."""

from __future__ import annotations

import asyncio
import json

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess, Result, eventually
from tests.conftest import zchat as run

pytestmark = pytest.mark.slow  # each starts processes
EACH_LOG = pytest.mark.parametrize("broker", [("--memory",), ()], indirect=True)


def texts(broker: BrokerProcess, room: str = "den") -> list[str]:
    return run("history", room, "--raw", broker=broker).stdout.split()


@EACH_LOG
def test_what_is_purged_is_a_gap_and_what_comes_later_stays(broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, "ann") as ann:
        for number in range(6):
            ann.send("den", str(number))
        ann.send("other", "stays")
        with ann.listen("den") as messages:
            head = ann.send("den", "6")
            assert run("purge", "den", "--before", f"4@{ann.log_id}", broker=broker) == Result("", "", 0)
            eventually(lambda: texts(broker) == ["3", "4", "5", "6"], "it is purged up to there")
            gap = json.loads(run("history", "den", "--json", broker=broker).stdout.splitlines()[0])
            assert (gap["event"], gap["room"], gap["reason"], gap["last"]) == ("gap", "den", "purged", 3)
            assert run("purge", "den", broker=broker) == Result("", "", 0)
            eventually(lambda: texts(broker) == [], "all is purged")
            ann.send("den", "7")
            assert [messages.get(30).text for _ in range(2)] == ["6", "7"], "who has it has it"
        notices: list[zchat.Notice] = []
        assert [message.text for message in ann.history("den", on_notice=notices.append)] == ["7"]
        assert notices[0].reason == "purged" and notices[0].last >= head
    assert texts(broker, "other") == ["stays"]


@EACH_LOG
def test_a_room_that_is_deleted_is_not_listed_until_something_is_stored(broker: BrokerProcess) -> None:
    def rooms() -> list[str]:
        with zchat.connect(broker.address, "ann") as ann:
            return [room.name for room in ann.rooms()]

    async def talk() -> None:
        async with zchat.aio.connect(broker.address, "ann") as ann:
            await ann.send("den", "old")
            await ann.send("lair", "x")
            await ann.purge("lair", before="1h")
            with pytest.raises(zchat.Refused):
                await ann.purge("@ben")
            for wrong in ({"upto": 0}, {"upto": 1, "before": "1h"}):
                with pytest.raises(zchat.UsageError):
                    await ann.purge("den", **wrong)

    asyncio.run(talk())
    assert run("rooms", "--delete", "den", broker=broker) == Result("", "", 0)
    assert rooms() == ["lair"] and texts(broker, "lair") == ["x"]
    eventually(lambda: texts(broker) == [], "it is gone")
    if not broker.args:
        broker.restart()
        assert rooms() == ["lair"]
    run("send", "den", "new", broker=broker)
    assert rooms() == ["den", "lair"] and texts(broker) == ["new"]
    assert run("rooms", "--delete", "b.*", broker=broker).status == 2
    above = run("purge", "den", "--before", "99", broker=broker)
    assert above.status == 4 and "offset 98 is above the head, " in above.stderr
    assert texts(broker) == ["new"]
    assert run("purge", "den", "--before", "1", broker=broker).stderr == "zchat: --before 1: nothing is\n"


def test_a_log_of_which_a_room_was_purged_is_sound(broker: BrokerProcess) -> None:
    for number in range(3):
        run("send", "den", str(number), broker=broker)
    run("purge", "den", broker=broker)
    eventually(lambda: texts(broker) == [], "it is gone")
    broker.stop()
    checked = run("log", "check", "--data", str(broker.folder / "data"))
    assert checked.status == 0, checked
    broker.start()
