"""What a typed line means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zchat.chat.core.commands import COMMANDS, ChatCommand, help_lines, understood
from zchat.errors import BadName, UsageError

DOCS = Path(__file__).parent.parent.parent.parent / "docs" / "chat.md"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("hello", ChatCommand("say", text="hello")),
        (" two\nlines ", ChatCommand("say", text=" two\nlines ")),
        ("//etc", ChatCommand("say", text="/etc")),
        ("/me waves", ChatCommand("me", text="waves")),
        ("/JOIN #Ops", ChatCommand("join", "ops")),
        ("/j ops", ChatCommand("join", "ops")),
        ("/part", ChatCommand("part")),
        ("/msg @Bob hi  there", ChatCommand("msg", "@bob", "hi  there")),
        ("/query bob", ChatCommand("msg", "@bob")),
        ("/topic", ChatCommand("topic")),
        ("/save 3", ChatCommand("save", number=3)),
        ("/file ~/a b.txt", ChatCommand("file", text="~/a b.txt")),
        ("/me\nwaves", ChatCommand("me", text="waves")),
    ],
)
def test_what_is_typed(line: str, command: ChatCommand) -> None:
    assert understood(line) == command


def test_nothing_is_nothing() -> None:
    assert understood("") is understood(" \n ") is None


@pytest.mark.parametrize(
    "line", ["/dance", "/join", "/msg", "/me", "/save x", "/save 0", "/search", "/join a b", "/msg *"]
)
def test_what_is_wrong_is_an_error(line: str) -> None:
    with pytest.raises((UsageError, BadName)):
        understood(line)


def test_the_help_and_the_docs_have_each_command() -> None:
    assert len(help_lines()) == len(COMMANDS)
    rows = re.findall(r"^\| `(/[^`]+)` \| (.+) \|$", DOCS.read_text(), re.M)
    assert rows == [(row.usage, row.sentence) for row in COMMANDS.values()]
