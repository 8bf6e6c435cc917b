"""Shared work over a real broker: Python's two faces, the commands, and workers and brokers that are killed."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess, Running, eventually
from tests.conftest import zchat as run
from tests.scripts import run as run_script

pytestmark = pytest.mark.slow  # a broker is a process


def texts(client: zchat.Client, room: str) -> list[str]:
    return [message.text for message in client.history(room)]


def test_each_message_goes_to_one_member_and_is_done_when_the_next_is_taken(shared_broker: BrokerProcess) -> None:
    with zchat.connect(shared_broker.address, "boss") as boss, zchat.connect(shared_broker.address, "ann") as ann:
        first, second = (ann.listen("a.jobs", group="Workers", max_in_flight=4) for _ in range(2))
        assert repr(first) == "<zchat.Subscription of ann to a.jobs, group workers: open>"
        for number in range(8):
            boss.send("a.jobs", str(number))
        got = [[subscription.get(10) for _ in range(4)] for subscription in (first, second)]
        assert sorted(job.text for jobs in got for job in jobs) == list("01234567")
        assert {member.user for member in boss.who("a.jobs")} == {"ann"}
        (group,) = boss.groups("a.jobs", "workers")
        assert (group.members, group.upto - group.low) == (2, group.upto - group.low)
        for subscription in (first, second):
            subscription.close()
        (group,) = boss.groups("a.jobs")
        assert (group.low, group.upto, group.members, group.out) == (group.last, group.last, 0, 0)
        assert group.pending == [] and boss.groups("nowhere") == []


def test_all_before_the_job_in_hand_is_done_soon_also_where_it_is_the_last_that_came(
    shared_broker: BrokerProcess,
) -> None:
    with zchat.connect(shared_broker.address, "boss") as boss, zchat.connect(shared_broker.address, "ann") as ann:
        jobs = ann.listen("d.jobs", group="w", max_in_flight=20)
        for number in range(20):
            boss.publish("d.jobs", str(number))
        boss.flush()
        assert [jobs.get(10).text for _ in range(20)] == list(map(str, range(20)))
        eventually(lambda: boss.groups("d.jobs", "w")[0].out == 1, "only the one in hand is not done")
        assert not jobs.pending()
        boss.send("d.jobs", "another")
        eventually(jobs.pending, "another one is there")
        assert boss.groups("d.jobs", "w")[0].out == 2, "the one in hand is that still"
        jobs.close()


def test_what_is_nacked_or_left_by_an_error_comes_again_and_dies_of_it_in_the_end(shared_broker: BrokerProcess) -> None:
    with zchat.connect(shared_broker.address, "boss") as boss, zchat.connect(shared_broker.address, "ann") as ann:
        boss.set_group("b.jobs", "w", 0)
        boss.send("b.jobs", "poison", event="job", headers={"by": "boss"})
        with pytest.raises(ZeroDivisionError), ann.listen("b.jobs", group="w", max_deliveries=3) as jobs:
            for job in jobs:
                raise ZeroDivisionError(job.text)
        with ann.listen("b.jobs", group="w", max_deliveries=3) as jobs:
            job = jobs.get(10)
            assert isinstance(job, zchat.Job) and job.deliveries == 2
            assert repr(job).endswith("deliveries=2)")
            job.nack(delay=0.2)
            again = jobs.get(10)
            assert isinstance(again, zchat.Job) and again.deliveries == 3 and again.offset == job.offset
            again.nack()
            eventually(lambda: texts(boss, "b.jobs.dead") == ["poison"], "it is a dead letter")
        (letter,) = boss.history("b.jobs.dead")
        assert (letter.user, letter.event) == ("boss", "job")
        assert dict(letter.headers) == {
            "by": "boss",
            "dead-room": "b.jobs",
            "dead-group": "w",
            "dead-offset": str(job.offset),
            "dead-deliveries": "3",
            "dead-reason": "nack",
        }
        (group,) = boss.groups("b.jobs", "w")
        assert group.low == job.offset and group.dead == 1


def test_without_auto_commit_what_is_acked_alone_is_done(shared_broker: BrokerProcess) -> None:
    with zchat.connect(shared_broker.address, "boss") as boss, zchat.connect(shared_broker.address, "ann") as ann:
        for number in range(6):
            boss.send("c.jobs", str(number))
        with ann.listen("c.jobs", group="w", last=6, auto_commit=False) as jobs:
            got = [jobs.get(10) for _ in range(6)]
            got[4].ack()
            got[4].ack()
            got[1].ack()
        with pytest.raises(zchat.Closed):
            got[0].ack()
        with ann.listen("c.jobs", group="w", auto_commit=False) as jobs:
            assert [jobs.get(10).text for _ in range(3)] == ["0", "2", "3"]
            jobs.commit()
            assert jobs.get(10).text == "5"
        with ann.listen("c.jobs", group="w") as jobs:
            assert jobs.get(10).text == "5"
            with pytest.raises(zchat.UsageError):
                jobs.commit()


def counts(client: zchat.Client) -> tuple[int, int]:
    """What of the group is out, and what waits."""
    (group,) = client.groups("jobs", "w")
    return group.out, group.waiting


def test_after_a_kill_of_the_broker_what_was_done_is_done_and_who_has_the_rest_goes_on(broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, "boss") as boss, zchat.connect(broker.address, "ann") as ann:
        boss.set_group("jobs", "w", 0)
        for number in range(6):
            boss.send("jobs", str(number))
        with ann.listen("jobs", group="w", auto_commit=False) as jobs:
            got = [jobs.get(10) for _ in range(6)]
            for job in got[:3]:
                job.ack()
            eventually(lambda: boss.groups("jobs", "w")[0].low == got[2].offset, "three are done")
            boss.send("jobs", "stored with it")
            broker.kill()
            got[3].ack()
            broker.start()
            eventually(lambda: boss.groups("jobs", "w")[0].low == got[3].offset, "what was acked meanwhile is done")
            assert jobs.get(10).text == "stored with it"
            eventually(lambda: counts(boss) == (3, 0), "it goes on with what it has")
            for job in got[4:]:
                job.ack()
        with ann.listen("jobs", group="w") as jobs:
            assert jobs.get(10).text == "stored with it"


def test_a_group_of_another_log_begins_anew(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker("--memory")
    with zchat.connect(broker.address, "boss") as boss, zchat.connect(broker.address, "ann") as ann:
        notices: list[zchat.Notice] = []
        with ann.listen("jobs", group="w", on_notice=notices.append) as jobs:
            boss.send("jobs", "old")
            old = jobs.get(10)
            broker.restart()
            boss.send("jobs", "new")
            assert jobs.get(20).text == "new" and [notice.reason for notice in notices] == ["log"]
            old.ack()
            boss.send("jobs", "newer")
            assert jobs.get(10).text == "newer"
            (group,) = boss.groups("jobs", "w")
            assert group.low < group.upto


@pytest.mark.parametrize(
    ("patterns", "options"),
    [
        (("a", "b"), {}),
        (("a.*",), {}),
        (("@ann",), {}),
        (("a",), {"group": "no name"}),
        (("a",), {"max_in_flight": 0}),
        (("a",), {"max_in_flight": 70_000}),
        (("a",), {"ack_wait": 0.01}),
        (("a",), {"ack_wait": "long"}),
        (("a",), {"max_deliveries": -1}),
        (("a",), {"presence": True}),
        (("a",), {"resume": "x"}),
        (("a",), {"echo": False}),
        (("a",), {"last_per_room": 1}),
        (("a",), {"later": 1}),
        (("a",), {"group": None, "max_in_flight": 3}),
    ],
)
def test_what_can_be_no_group_is_an_error_of_its_own(
    shared_broker: BrokerProcess, patterns: tuple[str, ...], options: dict[str, object]
) -> None:
    with zchat.connect(shared_broker.address, "ann") as ann:
        with pytest.raises(zchat.UsageError):
            ann.listen(*patterns, **{"group": "g", **options})  # type: ignore[arg-type]
        with ann.listen("general") as messages:
            ann.send("general", "hi")
            message = messages.get(10)
            for settle in (message.ack, message.nack):
                with pytest.raises(zchat.UsageError):
                    settle()
        with pytest.raises(zchat.UsageError):
            ann.groups(group="alone")


def test_asyncio_shares_work_as_threads_do(shared_broker: BrokerProcess) -> None:
    async def work() -> None:
        async with zchat.aio.connect(shared_broker.address, "ann") as ann:
            await ann.set_group("d.jobs", "w", 0)
            for number in range(4):
                await ann.send("d.jobs", str(number))
            async with ann.listen("d.jobs", group="w", max_in_flight=2) as jobs:
                assert repr(jobs) == "<zchat.aio.Subscription of ann to d.jobs, group w: open>"
                async for job in jobs:
                    if job.text == "1":
                        job.nack()
                    if isinstance(job, zchat.Job) and job.deliveries == 2:
                        break
            with pytest.raises(ZeroDivisionError):
                async with ann.listen("d.jobs", group="w") as jobs:
                    async for _ in jobs:
                        raise ZeroDivisionError
            (group,) = await ann.groups("d.jobs", "w")
            assert (group.members, group.out) == (0, 0) and group.waiting + group.last - group.upto >= 1
            async with (await ann.session("bob")).listen("d.jobs", group="w", auto_commit=False) as jobs:
                (await jobs.get(10)).ack()
            await ann.drop_group("d.jobs", "w")
            assert await ann.groups("d.jobs") == []

    asyncio.run(work())


def test_commands_share_work_and_show_who_has_what(broker: BrokerProcess, start_zchat: Callable[..., Running]) -> None:
    assert len(run("groups", broker=broker).stdout.splitlines()) == 1
    workers = [start_zchat("listen", "jobs", "--group", "w", "--raw", broker=broker) for _ in range(2)]
    with zchat.connect(broker.address, "boss") as boss:
        eventually(lambda: [group.members for group in boss.groups("jobs")] == [2], "both take part")
        run("send", "jobs", stdin="1\n2\n3\n4\n", broker=broker)
        eventually(
            lambda: sorted(line for worker in workers for line in worker.lines) == list("1234"), "all are printed"
        )
        assert all(worker.end(signal.SIGINT).status == -signal.SIGINT for worker in workers)
        (group,) = boss.groups("jobs", "w")
        assert group.low == group.upto == group.last and group.members == 0
    head, row = run("groups", "jobs", broker=broker).stdout.splitlines()
    assert head.split()[:3] == ["ROOM", "GROUP", "MEMBERS"] and row.split()[:3] == ["jobs", "w", "0"]
    facts = json.loads(run("groups", "jobs", "w", "--set", "0", "--json", broker=broker).stdout)
    assert (facts["low"], facts["upto"], facts["pending"]) == (0, 0, [])
    again = run("listen", "jobs", "--group", "w", "--raw", "-n", "4", broker=broker)
    assert (again.stdout, again.status) == ("1\n2\n3\n4\n", 0)
    assert run("groups", "jobs", "w", "--remove", broker=broker).status == 0
    assert len(run("groups", broker=broker).stdout.splitlines()) == 1


def test_a_command_that_fails_is_tried_by_the_group_again(
    broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    with zchat.connect(broker.address, "boss") as boss:
        boss.set_group("jobs", "w", 0)
        run("send", "jobs", stdin="good\nbad\n", broker=broker)
        command = 'read -r job; echo "$job"; test "$job" = good'
        worker = start_zchat(
            *("listen", "jobs", "--group", "w", "--exec", command, "--max-deliveries", "2"), broker=broker
        )
        eventually(lambda: texts(boss, "jobs.dead") == ["bad"], "what failed twice is a dead letter")
        shown = run("groups", "jobs", "w", "--pending", broker=broker)
        assert shown.stdout.split() == ["FIRST", "LAST", "DELIVERIES", "USER"]
        ended = worker.end(signal.SIGINT)
        assert ended.stdout == "good\nbad\nbad\n" and ended.stderr.count("failed with status 1") == 2
        (group,) = boss.groups("jobs", "w")
        assert (group.out, group.waiting, group.dead) == (0, 0, 1)


@pytest.mark.parametrize(
    "options",
    [
        ("--group", "w", "--resume", "x"),
        ("--group", "w", "--presence"),
        ("--group", "w", "--event", "job"),
        ("--max-in-flight", "3"),
        ("--ack-wait", "3s"),
        ("--max-deliveries", "3"),
    ],
)
def test_options_that_cannot_go_together_are_refused(shared_broker: BrokerProcess, options: tuple[str, ...]) -> None:
    refused = run("listen", "jobs", *options, broker=shared_broker)
    assert refused.status == 2 and refused.stderr.startswith("zchat: ") and refused.stdout == ""


def test_workers_that_are_killed_lose_no_job_and_do_none_at_once() -> None:
    done = run_script("workers.py", "--jobs", "8000", "--workers", "3", "--between", "0.4")
    assert done.returncode == 0, done.stdout + done.stderr
