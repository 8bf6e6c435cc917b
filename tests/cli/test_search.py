"""`zchat search`, and `client.search` of both faces, over a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import zchat as api
from tests.conftest import BrokerProcess, zchat
from zchat import aio

pytestmark = pytest.mark.slow  # each starts processes

TEXTS = ["Deploy of web-7 FAILED", "deployed web-8", "Café um drei", "我们的会议", "no space left on device"]


def fill(broker: BrokerProcess) -> BrokerProcess:
    with api.connect(broker.address, "Ann") as client:
        for text in TEXTS:
            client.send("ops", text)
        client.send("build.linux", "deploy again", event="note", headers={"k": "v"})
        client.send("@bob", "deploy, said aside")
        client.send("ops", b"deploy \xff\xfe")
    return broker


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """For tests that change nothing."""
    broker = BrokerProcess(tmp_path_factory.mktemp("filled")).start()
    yield fill(broker)
    broker.stop()


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (["deploy"], ["deploy again", TEXTS[0]]),
        (["deploy*", "--last", "2"], ["deploy again", TEXTS[1]]),
        (["deploy", "ops"], [TEXTS[0]]),
        (["deploy", "--from", "ann", "--since", "1h", "build.**"], ["deploy again"]),
        (["deploy", "--from", "carl"], []),
        (["cafe"], [TEXTS[2]]),
        (["会议"], [TEXTS[3]]),
        (['"space left"'], [TEXTS[4]]),
        (['"left space"'], []),
        (["deploy", "@me", "-u", "bob"], ["deploy, said aside"]),
        (["aside", "-u", "bob"], ["deploy, said aside"]),
        (["aside"], []),
    ],
)
def test_messages_are_found_newest_first(filled: BrokerProcess, args: list[str], shown: list[str]) -> None:
    found = zchat("search", *args, "--raw", broker=filled)
    assert (found.stdout.splitlines(), found.stderr, found.status) == (shown, "", 0)


def test_what_is_found_has_its_place(filled: BrokerProcess) -> None:
    (line,) = zchat("search", "drei", "--json", broker=filled).stdout.splitlines()
    assert json.loads(line)["body"] == TEXTS[2]
    after = zchat("history", "ops", "--after", json.loads(line)["place"], "-n", "1", "--raw", broker=filled)
    assert after.stdout == f"{TEXTS[3]}\n"


@pytest.mark.parametrize(("words", "said"), [("!!", "no word"), ("x" * 300, "300 characters")])
def test_nothing_to_search_for_is_said_before_a_broker_is(words: str, said: str) -> None:
    shown = zchat("search", words, "-b", "tcp://127.0.0.1:1", "--wait", "0")
    assert shown.status in (2, 3) and "Traceback" not in shown.stderr


def test_another_users_inbox_is_refused(filled: BrokerProcess) -> None:
    with api.connect(filled.address, "ann") as client:
        with pytest.raises(api.Refused) as caught:
            client.search("deploy", "@bob")
        assert caught.value.code == "denied"
        for wrong in (dict(words=""), dict(words=b"x"), dict(words="x", last=-1), dict(words="x", since="never")):
            with pytest.raises(api.UsageError):
                client.search(**wrong)


async def found_by_asyncio(address: str) -> list[str]:
    async with aio.connect(address, "ann") as client:
        return [message.text for message in await client.search("deploy", last=5)]


def test_asyncio_finds_the_same(filled: BrokerProcess) -> None:
    import asyncio

    with api.connect(filled.address, "ann") as client:
        found = client.search("deploy", last=5)
    assert [message.text for message in found] == asyncio.run(found_by_asyncio(filled.address))
    assert [message.offset for message in found] == sorted((message.offset for message in found), reverse=True)
    assert found[0].event == "note" and found[0].headers == {"k": "v"} and found[0].user == "Ann"


@pytest.mark.parametrize("broker", [("--memory",), ("--no-search",)], indirect=True)
def test_without_an_index_all_is_found(broker: BrokerProcess) -> None:
    assert zchat("search", "会议", "--raw", broker=fill(broker)).stdout == f"{TEXTS[3]}\n"
