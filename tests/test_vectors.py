"""The test vectors for clients in other languages are what the code makes, and what a broker does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from msgspec.msgpack import decode

from tests.conftest import BrokerProcess
from tests.vectors import make
from tests.vectors.make import FOR
from zchat import wire

DECODERS = {
    "client": wire.decode_client,
    "broker": wire.decode_broker,
    "broker, on the SUB": wire.decode_broadcast,
}


def rows(name: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((make.FOLDER / name).read_text())
    return read


def test_the_files_are_what_the_code_makes() -> None:
    assert {path.name: path.read_text() for path in make.FOLDER.glob("*.json")} == make.files()


@pytest.mark.parametrize("row", rows("messages.json"), ids=lambda row: f"{row['name']} {row['frame'][:24]}")
def test_a_message_means_what_is_said(row: dict[str, Any]) -> None:
    decoder: Any = DECODERS[row["from"]]
    assert make.shown(decoder(bytes.fromhex(row["frame"]))) == row["means"]


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(tmp_path_factory.mktemp("broker"), ("--memory",)).start()
    yield broker
    broker.stop()


@pytest.mark.parametrize("row", rows("refusals.json"), ids=lambda row: row["what"])
def test_a_broker_refuses_as_is_said(answering: BrokerProcess, row: dict[str, Any]) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    with context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(answering.address)
        for frame in [*row["before"], row["frame"]]:
            dealer.send(bytes.fromhex(frame))
            assert dealer.poll(10_000), f"no answer to {frame}"
            answer = decode(dealer.recv())
    told = [*answer[:2], answer[2][:4]] if answer[0] == FOR else answer[:4]
    assert told == row["answer"]
