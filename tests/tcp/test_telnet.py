"""Telnet's commands, wherever they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.tcp.telnet import COMMANDS_MAX, HERE, Telnet

DO, DONT, WILL, WONT = b"\xff\xfd", b"\xff\xfe", b"\xff\xfb", b"\xff\xfc"


def taken(*packets: bytes) -> tuple[bytes, bytes, Telnet]:
    telnet, typed, answers = Telnet(), b"", b""
    for packet in packets:
        text, answer = telnet.take(packet)
        typed, answers = typed + text, answers + answer
    return typed, answers, telnet


@pytest.mark.parametrize(
    ("data", "typed", "answers"),
    [
        ("hello 世界\r\n".encode(), "hello 世界\r\n".encode(), b""),
        (b"a" + DO + b"\x01b", b"ab", WONT + b"\x01"),
        (b"a" + WILL + b"\x18b", b"ab", DONT + b"\x18"),
        (b"a" + DONT + b"\x01" + WONT + b"\x03b", b"ab", b""),
        (b"a\xff\xffb", b"a\xffb", b""),
        (b"a\xff\xfa\x18\x00xterm\xff\xff\xff\xf0b", b"ab", b""),
        (b"a\xff\xf6b", b"ab", HERE),
        (b"a\xff\xf1b", b"ab", b""),
    ],
)
def test_commands_are_taken_out_and_options_refused(data: bytes, typed: bytes, answers: bytes) -> None:
    for at in range(len(data) + 1):
        assert taken(data[:at], data[at:])[:2] == (typed, answers)


def test_ctrl_c_of_telnet_leaves() -> None:
    assert taken(b"ab\xff\xf4" + DO + b"\x06")[2].leaves
    assert not taken(b"ab")[2].leaves


def test_who_negotiates_without_end_is_told_apart() -> None:
    _, answers, telnet = taken(*[(DO + b"\x01") * 1_000] * 20)
    assert telnet.is_abused and len(answers) <= 3 * (COMMANDS_MAX + 1)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_are_taken_the_same_however_they_are_cut(data: bytes, at: int) -> None:
    assert taken(data)[:2] == taken(data[:at], data[at:])[:2]
