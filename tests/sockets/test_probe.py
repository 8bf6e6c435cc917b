"""Which mechanism the other side has is found out before ours is told."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.conftest import eventually
from zchat.address import parse
from zchat.sockets import curve, options
from zchat.sockets.probe import MechanismProbe, mechanism_of


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_it_is_what_a_listener_says(tmp_path: Path, scheme: str) -> None:
    context = options.new_context()
    for keys, said in ((None, "NULL"), (curve.new_pair(), "CURVE")):
        router = options.broker_router(context, keys)
        where = parse("127.0.0.1:9")._replace(port=0) if scheme == "tcp" else parse(f"ipc://{tmp_path}/{said}")
        assert mechanism_of(options.bind(router, where)) == said
        router.close()
    context.term()


@pytest.mark.parametrize("said", [b"", b"\xff", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_who_says_nothing_of_it_has_none(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(64)
                peer.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        address = parse(f"127.0.0.1:{server.getsockname()[1]}")
        assert mechanism_of(address) == ""
        thread.join()


def test_who_asked_is_woken() -> None:
    woken = threading.Event()
    probe = MechanismProbe(parse("127.0.0.1:1"), woken.set)
    assert eventually(woken.is_set, "it is woken") and probe.answer == ""
