"""How each room is now, over a real broker: `last_per_room`, `rooms(last=True)`, and what the commands print."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess
from tests.conftest import zchat as run

pytestmark = pytest.mark.slow  # a broker is a process
EACH_LOG = pytest.mark.parametrize("broker", [("--memory",), ()], indirect=True)


@EACH_LOG
def test_each_rooms_last_come_with_their_time_then_all_without_gap_or_repeat(broker: BrokerProcess) -> None:
    rooms, writers = 300, 3
    with zchat.connect(broker.address, "anna") as anna, zchat.connect(broker.address, "ben") as ben:
        for number in range(3 * rooms):
            anna.publish(f"r.{number % rooms}", str(number // rooms))
        anna.flush()
        begun = threading.Barrier(writers + 1)

        def write(name: int) -> None:
            begun.wait()
            for number in range(3, 40):
                ben.publish(f"r.{name}", str(number))
            ben.flush()

        threads = [threading.Thread(target=write, args=(name,)) for name in range(writers)]
        for thread in threads:
            thread.start()
        begun.wait()
        notices: list[zchat.Notice] = []
        heard: dict[str, list[int]] = {}
        with anna.listen("r.*", last_per_room=2, on_notice=notices.append) as messages:
            while len(heard) < rooms or any(heard[f"r.{name}"][-1] < 39 for name in range(writers)):
                message = messages.get(30)
                assert message.time > 0
                heard.setdefault(message.room, []).append(int(message.text))
            ben.send("r.0", "40")
            assert messages.get(30).text == "40"
        for thread in threads:
            thread.join()
        for room, numbers in heard.items():
            last = 39 if room in {f"r.{name}" for name in range(writers)} else 2
            assert numbers == list(range(numbers[0], last + 1)) and len(numbers) >= 2, room
        assert [notice.kind for notice in notices] == ["live"]
        lasts = list(anna.history("r.*", last_per_room=1))
        assert [message.offset for message in lasts] == sorted(message.offset for message in lasts)
        assert len({message.room for message in lasts}) == len(lasts) == rooms
        with pytest.raises(zchat.UsageError):
            anna.listen("r.*", last_per_room=1, resume="place")
        for wrong in (0, 101, "1"):
            with pytest.raises(zchat.UsageError):
                anna.history("r.*", last_per_room=wrong)  # type: ignore[arg-type]


@EACH_LOG
def test_rooms_are_listed_by_pattern_with_their_last_message(broker: BrokerProcess) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(broker.address, "anna") as anna:
            for room, text in (("build.linux", "red"), ("build.linux", "green"), ("build.mac", "red"), ("other", "x")):
                await anna.send(room, text)
            await anna.send("@anna", "a note")
            async with anna.listen("quiet"):
                builds = await anna.rooms("build.*", last=True)
                assert [(room.name, room.message and room.message.text) for room in builds] == [
                    ("build.linux", "green"),
                    ("build.mac", "red"),
                ]
                every = await anna.rooms(last=True)
                assert {room.name: room.message and room.message.text for room in every} == {
                    **{"build.linux": "green", "build.mac": "red", "other": "x", "@anna": "a note"},
                    "quiet": None,
                }
            assert [room.name for room in await anna.rooms("build.mac", "other")] == ["build.mac", "other"]
            async with anna.listen("build.*", last_per_room=1) as messages:
                assert [(await messages.get(10)).text for _ in range(2)] == ["green", "red"]
                await anna.send("build.mac", "green")
                assert (await messages.get(10)).text == "green"

    asyncio.run(talk())
    shown = run("rooms", "build.*", "--last", broker=broker).stdout.splitlines()
    assert shown[0].split() == ["ROOM", "MEMBERS", "LAST", "TIME", "USER", "MESSAGE"]
    assert [line.split()[0::6] for line in shown[1:]] == [["build.linux", "green"], ["build.mac", "green"]]
    one = json.loads(run("rooms", "build.linux", "--last", "--json", broker=broker).stdout)
    assert (one["room"], one["message"]["user"], one["message"]["body"]) == ("build.linux", "anna", "green")
    told = run("listen", "build.*", "--last-per-room", "1", "-n", "2", "--raw", broker=broker)
    assert (told.stdout, told.stderr, told.status) == ("green\ngreen\n", "", 0)
    assert run("history", "build.*", "--last-per-room", "1", "--event", "x", "--raw", broker=broker).stdout == ""
    refused = run("listen", "a", "--last-per-room", "1", "--last", "2", broker=broker)
    assert (refused.stderr, refused.status) == ("zchat: --last and --last-per-room cannot go together\n", 2)


def test_a_damaged_last_message_is_a_gap(tmp_path: Path) -> None:
    from tests.log.damage import change

    broker = BrokerProcess(tmp_path).start()
    with zchat.connect(broker.address, "anna") as anna:
        anna.send("a", "one")
        anna.send("b", "two")
    broker.stop()
    change(tmp_path / "data", "UPDATE batches SET frame = zeroblob(9) WHERE base = 1")
    broker.start()
    notices: list[zchat.Notice] = []
    with zchat.connect(broker.address, "anna") as anna:
        lasts = list(anna.history("*", last_per_room=1, on_notice=notices.append))
        assert [message.text for message in lasts] == ["two"]
        assert [(notice.room, notice.offset, notice.reason) for notice in notices] == [("a", 1, "damaged")]
    broker.stop()
