"""The table of commands, help, and usage errors: each whole, as a user sees it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import environment, zchat
from zchat.cli import ALIASES, COMMANDS


def test_help_lists_every_command_with_its_first_line() -> None:
    listed = zchat("--help")
    assert (listed.stderr, listed.status) == ("", 0)
    width = max(map(len, COMMANDS)) + 2
    for name, row in COMMANDS.items():
        assert f"{name:{width}}{row.sentence}\n" in listed.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says(name: str) -> None:
    function = getattr(importlib.import_module(COMMANDS[name].module), name)
    assert function.__doc__.splitlines()[0] == COMMANDS[name].sentence


@pytest.mark.parametrize("name", COMMANDS)
def test_the_file_of_a_command_can_be_read_at_once(name: str) -> None:
    source = importlib.import_module(COMMANDS[name].module).__file__
    assert source is not None and Path(source).read_text().count("\n") < 200


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_keeps_the_lines_of_its_examples(name: str) -> None:
    shown = zchat(name, "--help")
    assert (shown.stderr, shown.status) == ("", 0)
    assert shown.stdout.startswith(f"Usage: zchat {name} ")
    examples = shown.stdout.partition("\nExamples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples and all(f"zchat {name}" in line for line in examples)


@pytest.mark.parametrize("alias", ALIASES)
def test_names_of_other_tools_work_and_are_not_listed(alias: str) -> None:
    assert zchat(alias, "--help").stdout.startswith(f"Usage: zchat {ALIASES[alias]} ")
    assert f"\n  {alias} " not in zchat("--help").stdout


def test_the_short_option_for_help_works() -> None:
    assert zchat("-h").stdout == zchat("--help").stdout
    assert zchat("send", "-h").stdout == zchat("send", "--help").stdout


def test_no_command_shows_the_help_and_is_a_usage_error() -> None:
    shown = zchat()
    assert (shown.stdout, shown.status) == ("", 2)
    assert shown.stderr == zchat("--help").stdout


def test_version_is_one_line() -> None:
    shown = zchat("--version")
    assert (shown.stderr, shown.status) == ("", 0)
    assert shown.stdout.startswith("zchat ") and shown.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "stderr"),
    [
        (["sned", "x"], 'zchat: no command "sned", did you mean "send"?\nhint: zchat --help\n'),
        (["frobnicate"], 'zchat: no command "frobnicate"\nhint: zchat --help\n'),
        (["send"], "zchat: missing argument 'ROOM'\nhint: zchat send --help\n"),
        (["listen"], "zchat: missing argument 'PATTERN...'\nhint: zchat listen --help\n"),
        (
            ["send", "temperature", "-5"],
            "zchat: no such option: -5\nhint: a text that begins with a dash goes after two: zchat send ROOM -- -5\n",
        ),
        (
            ["listen", "a", "-n", "0"],
            "zchat: invalid value for '--count' / '-n': 0 is not in the range x>=1\nhint: zchat listen --help\n",
        ),
        (
            ["history", "a", "--last", "ten"],
            "zchat: invalid value for '--last': 'ten' is not a whole number\nhint: zchat history --help\n",
        ),
        (
            ["listen", "a", "--since", "later"],
            "zchat: invalid value for '--since': \"later\" is no time, such as 2h, 1d, 2026-09-20 or "
            "2026-09-20T12:00:00Z\nhint: zchat listen --help\n",
        ),
        (
            ["send", "a", "-H", "=high", "x"],
            'zchat: header "=high": no name and value, such as priority=high\n',
        ),
        (["listen", "a", "--last", "1", "--after", "0"], "zchat: --last and --after cannot go together\n"),
        (["history", "a", "--json", "--raw"], "zchat: --json and --raw cannot go together\n"),
        (
            ["listen", "a", "--raw", "--presence"],
            "zchat: --raw prints bodies, and joins and leaves have none: use --json or --format with --presence\n",
        ),
        (["broker", "--memory", "--data", "x"], "zchat: --memory and --data cannot go together\n"),
    ],
)
def test_a_usage_error_is_one_line_and_status_2(args: list[str], stderr: str) -> None:
    shown = zchat(*args)
    assert (shown.stdout, shown.stderr, shown.status) == ("", stderr, 2)


def test_an_argument_with_control_characters_is_quoted_harmlessly() -> None:
    shown = zchat("\x1b[2Jsned\u202e")
    assert shown.status == 2
    assert "\x1b" not in shown.stderr and "\u202e" not in shown.stderr


@pytest.mark.parametrize("args", [["--help"], ["send", "--help"], ["listen", "--help"], ["broker", "--help"]])
def test_help_imports_neither_sockets_nor_rich(args: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "zchat", *args],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"zmq", "msgspec", "rich", "asyncio", "sqlite3", "zchat.client"})
