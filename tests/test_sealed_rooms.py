"""Sealed rooms over a real broker: all that a client sends and gets, and nothing of it in the broker's folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess, eventually
from zchat.ring import KeyRing
from zchat.sealing import NO_KEY
from zchat.spool import Spool

pytestmark = pytest.mark.slow  # a broker is a process

SECRET = "the launch is on Friday"


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyRing:
    """That of the test's own clients, with a key for the room `team`."""
    monkeypatch.setenv("ZCHAT_CONFIG", str(tmp_path / "profile" / "zchat.toml"))
    ring = KeyRing(tmp_path / "profile" / "rooms")
    ring.new("team")
    return ring


def told(message: zchat.Message) -> tuple[str, str, bool]:
    return message.event, message.text, message.sealed


def kept(broker: BrokerProcess) -> bytes:
    """All that is in the broker's folder."""
    return b"".join(path.read_bytes() for path in broker.folder.rglob("*") if path.is_file())


def test_what_is_sent_to_a_sealed_room_is_opened_by_who_has_the_key(broker: BrokerProcess, ring: KeyRing) -> None:
    with (
        zchat.connect(broker.address, "alice") as alice,
        zchat.connect(broker.address, "bob") as bob,
        zchat.connect(broker.address, "eve", seals=False) as eve,
        bob.listen("team") as to_bob,
        eve.listen("team") as to_eve,
        alice.session("carol") as carol,
    ):
        assert alice.is_sealed("Team") and not alice.is_sealed("general") and not eve.is_sealed("team")
        alice.send("Team", SECRET)
        alice.send("team", b"v2 " + SECRET.encode(), event="deploy", headers={"host": f"host of {SECRET}"})
        alice.send("team", SECRET, volatile=True)
        carol.send("team", SECRET)
        got = [to_bob.get(10) for _ in range(4)]
        assert [message.user for message in got] == ["alice", "alice", "alice", "carol"]
        assert told(got[0]) == told(got[2]) == told(got[3]) == ("message", SECRET, True)
        assert told(got[1]) == ("deploy", f"v2 {SECRET}", True)
        assert got[1].headers == {"host": f"host of {SECRET}"} and got[2].offset == 0
        assert {told(to_eve.get(10)) for _ in range(4)} == {("sealed", "sealed message", False)}

        eve.send("team", "I am not sealed")
        assert told(to_bob.get(10)) == ("message", "I am not sealed", False)
        assert [told(message) for message in bob.history("team", last=1)] == [("message", "I am not sealed", False)]
        assert [told(m) for m in bob.history("team", last=4)][:3:2] == [("message", SECRET, True)] * 2
        state = next(room for room in bob.rooms("team", last=True))
        assert state.message is not None and state.message.text == "I am not sealed"
        with pytest.raises(zchat.UsageError, match="sealed"):
            eve.publish("team", "x", event="sealed")
    broker.stop()
    stored = kept(broker)
    assert b"not sealed" in stored and b"launch" not in stored and b"deploy" not in stored


def test_what_expires_does_so_for_who_has_no_key_too(broker: BrokerProcess, ring: KeyRing) -> None:
    with zchat.connect(broker.address, "alice") as alice, zchat.connect(broker.address, "eve", seals=False) as eve:
        alice.send("team", "for an hour", expire=3600)
        (message,) = alice.history("team")
        assert told(message) == ("message", "for an hour", True) and message.headers == {"expire-seconds": "3600"}
        alice.send("team", SECRET, expire=0.05)
        eventually(lambda: len(list(alice.history("team"))) == len(list(eve.history("team"))) == 1, "it has expired")


def test_all_ways_into_a_sealed_room_are_sealed(broker: BrokerProcess, ring: KeyRing, tmp_path: Path) -> None:
    large, small = tmp_path / "plan.txt", tmp_path / "note.txt"
    large.write_bytes(SECRET.encode() * 60_000)
    small.write_text(SECRET)
    with zchat.connect(broker.address, "alice") as alice, zchat.connect(broker.address, "bob") as bob:
        alice.schedule("team", f"1 {SECRET}", delay=0.1)
        assert SECRET not in repr(alice.scheduled())
        spool = Spool(tmp_path / "spool", broker.address, "alice")
        spool.add("team", [f"2 {SECRET}".encode()])
        spool.flush(10, print)
        alice.send_file("team", small)
        alice.send_file("team", large)
        alice.send("team", "x" * (1 << 19))
        with zchat.FileReceiver(tmp_path / "saved") as files, bob.listen("team", after=0) as messages:
            saved, texts = list[bytes](), set[str]()
            while len(saved) < 2 or not any(text.startswith("1") for text in texts):
                message = messages.get(20)
                assert message.sealed
                texts.add(message.text[:24])
                if found := files.take(message):
                    saved.append(found.path.read_bytes())
        assert saved == [SECRET.encode(), large.read_bytes()]
        assert {f"1 {SECRET}"[:24], f"2 {SECRET}"[:24]} <= texts
        with pytest.raises(zchat.TooLarge):
            alice.publish("team", b"x" * ((1 << 20) - 10))
        assert bob.search("launch", "team") == []
    broker.stop()
    assert b"launch" not in kept(broker)


def test_groups_and_their_dead_letters_are_opened(broker: BrokerProcess, ring: KeyRing) -> None:
    with zchat.connect(broker.address, "alice") as alice:
        with alice.listen("team", group="workers", max_deliveries=1, auto_commit=False) as jobs:
            alice.publish("team", SECRET)
            job = jobs.get(10)
            assert (
                told(job) == ("message", SECRET, True)
                and repr(job).startswith("OpenedJob(")
                and "_log" not in repr(job)
            )
            job.nack()
            with alice.listen("team.dead", after=0) as dead:
                letter = dead.get(20)
        assert told(letter) == ("message", SECRET, True) and letter.headers["dead-room"] == "team"


def test_requests_and_replies_are_sealed_and_errors_tell_nothing(broker: BrokerProcess, ring: KeyRing) -> None:
    def answer(message: zchat.Message) -> str:
        assert message.sealed
        if message.text == "fail":
            raise ValueError(SECRET)
        return message.text[::-1]

    with (
        zchat.connect(broker.address, "alice") as alice,
        zchat.connect(broker.address, "bob") as bob,
        bob.serve("team", answer),
    ):
        reply = alice.request("team", SECRET)
        assert told(reply) == ("message", SECRET[::-1], True)
        with pytest.raises(zchat.Refused) as refused:
            alice.request("team", "fail")
        assert refused.value.code == "server-failed" and SECRET not in str(refused.value)


def test_a_rotation_and_a_late_key_are_taken_up_by_who_runs(broker: BrokerProcess, ring: KeyRing) -> None:
    with (
        zchat.connect(broker.address, "alice") as alice,
        zchat.connect(broker.address, "bob") as bob,
        bob.listen("team", "late") as messages,
    ):
        alice.send("team", "before")
        key = ring.rotate("team").keys[-1]
        eventually(lambda: alice.send("team", "again") and True, "it is sent")
        assert messages.get(10).sealed
        while not (message := messages.get(10)).sealed:
            pytest.fail("went out open")
        KeyRing(ring.folder).accept("late", [key])
        eventually(lambda: alice.is_sealed("late"), "the key is seen")
        alice.send("late", SECRET)
        while message.room != "late":
            message = messages.get(10)
        assert told(message) == ("message", SECRET, True)
        ring.forget("team")
        eventually(lambda: not bob.is_sealed("team"), "it is forgotten")


def test_what_runs_without_a_ring_opens_once_there_is_one(
    broker: BrokerProcess, ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zchat.connect(broker.address, "alice") as alice:
        monkeypatch.setenv("ZCHAT_CONFIG", str(tmp_path / "new" / "zchat.toml"))
        with zchat.connect(broker.address, "bob") as bob, bob.listen("team") as messages:
            alice.send("team", SECRET)
            assert told(messages.get(10)) == ("sealed", NO_KEY, False)
            KeyRing(tmp_path / "new" / "rooms").accept("team", list(ring.read("team").keys))
            assert told(next(bob.history("team"))) == ("message", SECRET, True)


def test_with_a_ring_that_cannot_be_used_nothing_goes_out_open(broker: BrokerProcess, ring: KeyRing) -> None:
    ring.path("team").chmod(0o644)
    with zchat.connect(broker.address, "alice") as alice:
        with pytest.raises(zchat.UsageError, match="chmod 600"):
            alice.publish("team", SECRET)
        with pytest.raises(zchat.UsageError, match="chmod 600"):
            alice.schedule("team", SECRET, delay=0)
        with pytest.raises(zchat.UsageError, match="chmod 600"):
            alice.request("team", SECRET)
        alice.send("general", "hello")
        assert list(alice.history("team")) == []


def test_the_client_of_asyncio_does_the_same(broker: BrokerProcess, ring: KeyRing) -> None:
    async def answer(message: zchat.Message) -> str:
        return message.text[::-1]

    async def talk() -> None:
        async with zchat.aio.connect(broker.address, "alice") as alice, alice.session("bob") as bob:
            async with bob.listen("team") as messages:
                await alice.send("team", SECRET)
                assert told(await messages.get(10)) == ("message", SECRET, True)
            assert [told(message) async for message in bob.history("team")] == [("message", SECRET, True)]
            async with bob.serve("team", answer):
                assert told(await alice.request("team", SECRET)) == ("message", SECRET[::-1], True)
            await alice.schedule("team", SECRET, delay=60)
            assert [message.preview for message in await alice.scheduled()] == ["sealed message"]
            async with zchat.aio.connect(broker.address, "eve", seals=False) as eve:
                assert {message.text async for message in eve.history("team")} == {"sealed message"}

    asyncio.run(asyncio.wait_for(talk(), 60))
