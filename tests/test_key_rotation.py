"""A broker's own key is changed while it runs and messages flow: who is there goes on, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, eventually
from tests.keyed import KeyedBroker, start_keyed
from zchat.address import parse
from zchat.client import Client
from zchat.errors import Refused
from zchat.key_folder import KeyFolder
from zchat.keys import Credentials
from zchat.sockets.client import Connection

pytestmark = pytest.mark.slow  # processes
SECONDS = 30.0


def connected(keyed: KeyedBroker, user: str, credentials: Credentials) -> Client:
    connection = Connection(parse(keyed.address), user, {}, None, None, credentials)
    connection.start(SECONDS)
    return Client(connection)


@pytest.fixture
def keyed(start_broker: Callable[..., BrokerProcess], tmp_path: Path) -> Iterator[KeyedBroker]:
    folder = tmp_path / "keys"
    yield KeyedBroker(start_broker("--keys", str(folder), watched=True), KeyFolder(folder), tmp_path / "homes")


def server(keyed: KeyedBroker, what: str) -> str:
    """`zchat keys server WHAT`; returns the key."""
    done = keyed.run("operator", "keys", "server", what)
    assert done.status == 0, done
    return done.stdout.strip()


def test_messages_flow_while_the_brokers_key_becomes_another_and_nothing_is_lost(keyed: KeyedBroker) -> None:
    alice, bob = keyed.let_in("alice"), keyed.let_in("bob")
    absent = Credentials(bob.pair, [keyed.server])  # another program of his, which is not there meanwhile
    stop, sent = threading.Event(), 0
    with (
        connected(keyed, "alice", alice) as writer,
        connected(keyed, "bob", bob) as reader,
        reader.listen("den") as came,
    ):

        def write() -> None:
            nonlocal sent
            while not stop.wait(0.001):
                writer.send("den", str(sent))
                sent += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(2):
                following = server(keyed, "next")
                eventually(lambda key=following: key in alice.servers and key in bob.servers, "they are told of it")  # type: ignore[misc]
                assert server(keyed, "switch") == following
                eventually(lambda key=following: f"its own is {key}" in keyed.broker.stderr(), "it has it")  # type: ignore[misc]
                before = sent
                eventually(lambda before=before: sent > before + 100, "messages flow")  # type: ignore[misc]
                eventually(lambda key=following: alice.servers == bob.servers == [key], "the one before counts no more")  # type: ignore[misc]
        finally:
            stop.set()
            thread.join()
        writer.flush(SECONDS)
        assert [came.get(SECONDS).text for _ in range(sent)] == [str(number) for number in range(sent)]
    with pytest.raises(Refused) as error:
        connected(keyed, "bob", absent).close(0)
    assert error.value.code == "wrong-server-key"
    with connected(keyed, "bob", bob) as again:
        again.send("den", "he was told, and comes back")
    assert keyed.broker.stderr().count("has another key of its own; it is started again with it") == 2


def test_a_log_that_would_be_lost_is_kept_and_the_key_waits(
    start_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    keyed = start_keyed(start_broker, tmp_path)  # in memory, and in one process
    alice = keyed.let_in("alice")
    server(keyed, "next")
    eventually(lambda: "keys-changed" in keyed.told_of_late(), "the broker has seen it")
    server(keyed, "switch")
    eventually(lambda: "that counts from its next start on" in keyed.broker.stderr(), "the broker says so")
    (keyed.keys.folder / "server.key").unlink()
    eventually(lambda: "the file of its own key is gone" in keyed.broker.stderr(), "the broker says so")
    with connected(keyed, "alice", alice) as client:
        client.send("den", "it lives")
