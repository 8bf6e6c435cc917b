"""Who is cut off, and whom the operator is told of."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from zchat.sockets.cutoffs import CutOffs
from zchat.sockets.kernel import name_of_peer


class Told(list[str]):
    """What the operator was told."""

    def __init__(self) -> None:
        super().__init__()
        self.cutoffs = CutOffs(self.append)


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.cutoffs.close()


def test_a_peer_is_cut_off_and_told_of_with_its_address(told: Told) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as peer:
        ours, _ = server.accept()
        with ours:
            assert told.cutoffs.cut_off(ours.fileno(), name_of_peer(ours.fileno()), "shouts")
        assert peer.recv(1) == b""
    assert told == ["127.0.0.1 is cut off: it shouts"]


def test_a_reason_is_told_once_a_minute(told: Told) -> None:
    for reason in ("shouts", "shouts", "shouts", "sings"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            assert told.cutoffs.cut_off(ours.fileno(), "", reason)
    assert told == ["a peer is cut off: it shouts", "a peer is cut off: it sings"]


def test_a_descriptor_that_is_another_peers_by_now_is_left_alone(told: Told) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(server.getsockname())) for _ in range(2)]
        first, second = [stack.enter_context(server.accept()[0]) for _ in range(2)]
        name = name_of_peer(first.fileno())
        assert not told.cutoffs.cut_off(second.fileno(), name, "shouts")
        assert not told.cutoffs.cut_off(server.fileno(), name, "shouts"), "nor is the listener"
        assert not told.cutoffs.cut_off(server.fileno(), name_of_peer(server.fileno()), "shouts")
        second.sendall(b"I am here")
        assert peers[1].recv(9) == b"I am here"
        stack.enter_context(socket.create_connection(server.getsockname()))
        stack.enter_context(server.accept()[0])
    assert told == []


def test_a_descriptor_that_is_closed_already_is_nobodys(told: Told) -> None:
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    ours.close()
    theirs.close()
    read, write = os.pipe()
    for descriptor in (number, read):  # the one is nothing any more, the other no socket
        assert not told.cutoffs.cut_off(descriptor, "", "shouts")
    os.close(read)
    os.close(write)
    assert told == []


def test_nobody_needs_a_free_descriptor_to_be_cut_off(told: Told) -> None:
    ours, theirs = socket.socketpair()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    with ours, theirs:
        resource.setrlimit(resource.RLIMIT_NOFILE, (theirs.fileno() + 64, hard))
        try:
            with pytest.raises(OSError):
                while True:
                    taken.append(os.dup(0))
            assert told.cutoffs.cut_off(ours.fileno(), "", "shouts")
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert theirs.recv(1) == b""
    assert told == ["a peer is cut off: it shouts"]
