"""What a line means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.errors import UsageError
from zchat.tcp.participant import Participant
from zchat.tcp.spoken import COMMANDS, LAST_DEFAULT, LAST_MAX, Said, SlashCommand, understood

DOORS = Path(__file__).parent.parent.parent / "docs" / "doors.md"


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (b"hello", Said(b"hello")),
        (b" two  words ", Said(b" two  words ")),
        (b"\xff\xfe", Said(b"\xff\xfe")),
        (b"//etc", Said(b"/etc")),
        (b"", None),
        (b"  \t", None),
        (b"/quit", SlashCommand("quit")),
        (b"/QUIT now", SlashCommand("quit")),
        (b"/nick Ann", SlashCommand("nick", "Ann")),
        (b"/join Build.Linux", SlashCommand("join", "build.linux")),
        (b"/part", SlashCommand("part")),
        (b"/who ops", SlashCommand("who", "ops")),
        (b"/msg @bob hi  there", SlashCommand("msg", "bob", "hi  there")),
        (b"/last", SlashCommand("last", number=LAST_DEFAULT)),
        (b"/last 1000", SlashCommand("last", number=LAST_MAX)),
    ],
)
def test_a_line_is_something_said_or_a_command(line: bytes, meant: Said | SlashCommand | None) -> None:
    assert understood(line) == meant


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"/",
            b"/dance",
            b"/nick",
            b"/nick a b",
            b"/join",
            b"/join @bob",
            b"/join a..b",
            b"/join *",
            b"/msg bob",
            b"/msg",
        ),
        *(b"/last 0", b"/last -1", b"/last 1001", "/last ٣".encode(), b"/last " + b"9" * 5_000, b"/nick \x1b[2J"),
    ],
)
def test_what_is_neither_is_an_error_for_the_visitor(line: bytes) -> None:
    with pytest.raises(UsageError):
        understood(line)


@given(st.binary(max_size=80))
def test_any_line_means_something_or_is_such_an_error(line: bytes) -> None:
    try:
        understood(line)
    except UsageError:
        pass


def test_every_command_is_carried_out_and_documented() -> None:
    assert all(hasattr(Participant, f"_{word}") for word in COMMANDS)
    shown = re.findall(r"^\| `(/.*?)` \| (.*) \|$", DOORS.read_text(), re.M)
    assert shown == [(row.usage, row.sentence) for row in COMMANDS.values()]
