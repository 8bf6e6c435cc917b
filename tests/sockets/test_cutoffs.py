"""Whom the operator is told of, and the watch over a thread that is kept busy."""

from __future__ import annotations

import socket
import threading
import time

from tests.conftest import eventually
from zchat.sockets.cutoffs import CutOffs, FloodWatch


def test_a_peer_is_cut_off_and_told_of_with_its_address() -> None:
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as peer:
        ours, _ = server.accept()
        with ours:
            CutOffs(told.append).cut_off(ours.fileno(), "shouts")
        assert peer.recv(1) == b""
    assert told == ["127.0.0.1 is cut off: it shouts"]


def test_a_reason_is_told_once_a_minute() -> None:
    told: list[str] = []
    cutoffs = CutOffs(told.append)
    for reason in ("shouts", "shouts", "shouts", "sings"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            cutoffs.cut_off(ours.fileno(), reason)
    assert told == ["a peer is cut off: it shouts", "a peer is cut off: it sings"]


def test_a_descriptor_that_is_closed_already_is_nobodys() -> None:
    told: list[str] = []
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    ours.close()
    theirs.close()
    CutOffs(told.append).cut_off(number, "shouts")
    assert told == []


def work(watch: FloodWatch, until: list[float], *, turns: bool) -> None:
    deadline = time.monotonic() + 10
    while not until and time.monotonic() < deadline:
        if turns:
            watch.turns += 1


def test_a_thread_that_works_in_one_turn_for_long_is_noticed_and_one_that_turns_is_not() -> None:
    acted: list[float] = []
    watch = FloodWatch(lambda: acted.append(time.monotonic()))
    try:
        threading.Event().wait(0.2)  # it waits, and does not work
        idle = list(acted)
        work(watch, acted, turns=False)
    finally:
        watch.close()
    assert not idle and acted


def test_a_thread_that_is_behind_is_noticed_while_it_turns() -> None:
    acted: list[float] = []
    watch = FloodWatch(lambda: acted.append(time.monotonic()))
    try:
        watch.is_behind = True
        work(watch, acted, turns=True)
    finally:
        watch.close()
    eventually(lambda: acted, "it acted")
