"""How long a message lives, said in a header and read from one."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess, Result, eventually
from tests.conftest import zchat as run
from zchat.errors import UsageError
from zchat.expiry import HEADER, has_expired, headers_with

NOON = 1_789_992_000_000_000


@pytest.mark.parametrize(
    ("life", "said"),
    [(600, "600"), (0.5, "0.5"), ("10m", "600"), ("500ms", "0.5"), (timedelta(hours=2), "7200"), (1e8, "100000000")],
)
def test_a_life_is_a_header(life: Any, said: str) -> None:
    assert headers_with(None, life) == {HEADER: said}
    assert headers_with({"host": "web1", HEADER: "1"}, life) == {"host": "web1", HEADER: said}


@pytest.mark.parametrize(
    "life", [0, -1, "0", "soon", "", True, 1e9, float("nan"), float("inf"), timedelta(0), b"1", [1]]
)
def test_what_is_no_life_is_refused(life: Any) -> None:
    with pytest.raises(UsageError):
        headers_with({}, life)


def test_a_message_has_expired_from_that_moment_on() -> None:
    headers = headers_with({}, "1.5s")
    assert [has_expired(headers, NOON, NOON + micros) for micros in (-5, 0, 1_499_999, 1_500_000, 9**15)] == [
        *(False, False, False),
        *(True, True),
    ]


@pytest.mark.parametrize("value", ["", "0", "-1", "soon", "nan", "inf", "-inf", "1_0" * 20, "٣", "10m", " "])
def test_a_header_that_makes_no_sense_says_nothing(value: str) -> None:
    assert not has_expired({HEADER: value}, NOON, NOON + 10**15)
    assert not has_expired({}, NOON, NOON + 10**15)


# --- over a real broker -----------------------------------------------------------------------------


def shown(client: zchat.Client, room: str) -> list[str]:
    return [message.text for message in client.history(room)]


@pytest.mark.slow
def test_what_has_expired_is_neither_listed_nor_found_nor_heard(shared_broker: BrokerProcess) -> None:
    with zchat.connect(shared_broker.address, "alice") as alice:
        alice.send("tea", "stays", expire="1h", headers={"kind": "note"})
        alice.send("tea", "was here", expire=timedelta(milliseconds=1))
        alice.schedule("tea", "was late", delay=0, expire=0.001)
        eventually(lambda: shown(alice, "tea") == ["stays"] and not alice.scheduled(), "the others have expired")
        (kept,) = alice.history("tea")
        assert kept.headers == {"kind": "note", "expire-seconds": "3600"}
        with alice.listen("tea", after=0) as messages:
            assert messages.get(10).text == "stays"
            alice.send("tea", "the last one")
            assert messages.get(10).text == "the last one"
        assert alice.search("here", "tea") == []
        assert [message.text for message in alice.search("stays", "tea")] == ["stays"]
        with pytest.raises(zchat.UsageError):
            alice.publish("tea", "hello", expire="soon")


@pytest.mark.slow
def test_asyncio_passes_over_it_too(shared_broker: BrokerProcess) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "alice") as alice:
            await alice.send("aio.tea", "gone", expire=0.001)
            await alice.send("aio.tea", "stays", expire=3600)
            while [message.text async for message in alice.history("aio.tea")] != ["stays"]:
                pass  # its life is not over yet
            async with alice.listen("aio.tea", after=0) as messages:
                assert (await messages.get(10)).text == "stays"
            assert await alice.search("gone", "aio.tea") == []

    asyncio.run(asyncio.wait_for(talk(), 60))


def is_done(client: zchat.Client, jobs: zchat.Subscription, room: str) -> bool:
    """Whether a group has nothing to hand out; what has expired is done once its consumer has looked."""
    assert not jobs.pending()
    (group,) = client.groups(room, "w")
    return group.low == group.upto == group.last and not group.pending


@pytest.mark.slow
@pytest.mark.parametrize("auto_commit", [True, False])
def test_a_job_that_has_expired_is_done_and_nobody_gets_it(shared_broker: BrokerProcess, auto_commit: bool) -> None:
    room = f"jobs.{auto_commit}".lower()
    with zchat.connect(shared_broker.address, "boss") as boss:
        boss.set_group(room, "w", 0)
        for number in range(6):
            boss.publish(room, str(number), expire=None if number in (1, 3) else 0.001)
        boss.flush()
        eventually(lambda: shown(boss, room) == ["1", "3"], "the others have expired")
        with pytest.raises(ZeroDivisionError), boss.listen(room, group="w", auto_commit=auto_commit) as jobs:
            assert [jobs.get(10).text, jobs.get(10).text] == ["1", "3"]
            raise ZeroDivisionError  # with 3 in hand: it comes again, and what had expired behind it does not
        with boss.listen(room, group="w", auto_commit=False) as jobs:
            left = [jobs.get(10)] + ([] if auto_commit else [jobs.get(10)])
            assert [job.text for job in left] == (["3"] if auto_commit else ["1", "3"])
            for job in left:
                job.ack()
            eventually(lambda: is_done(boss, jobs, room), "nothing is pending")


@pytest.mark.slow
def test_the_command_says_how_long_a_message_lives(shared_broker: BrokerProcess, tmp_path: Any) -> None:
    assert run("send", "cli.tea", "coffee", "--expire", "10m", broker=shared_broker) == Result("", "", 0)
    assert run("send", "cli.tea", "gone", "--expire", "1ms", broker=shared_broker) == Result("", "", 0)
    found = run("history", "cli.tea", "--json", broker=shared_broker).stdout.splitlines()
    assert [json.loads(line)["headers"] for line in found] == [{"expire-seconds": "600"}]
    large = tmp_path / "large"
    large.write_bytes(bytes(2 << 20))
    refused = run("send", "cli.tea", "--file", str(large), "--expire", "1h", broker=shared_broker)
    assert (refused.status, refused.stderr) == (
        2,
        f"zchat: {large} is larger than a message: it is not sent with --expire\n",
    )
