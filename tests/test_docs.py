"""docs/cli.md says what the command line says. ZCHAT_UPDATE_DOCS=1 writes the help texts anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import typer

from tests.conftest import zchat
from zchat.cli import ALIASES, COMMANDS, app, listen
from zchat.errors import EXIT_STATUSES

REFERENCE = Path(__file__).parent.parent / "docs" / "cli.md"

HELP = re.compile(r"<!-- help: (\w+) -->\n(?:\n```text\n(.*?)```\n)?", re.S)


def text() -> str:
    return REFERENCE.read_text()


@pytest.fixture(scope="module", autouse=True)
def written_anew() -> None:
    if os.environ.get("ZCHAT_UPDATE_DOCS"):
        REFERENCE.write_text(HELP.sub(lambda found: _block(found[1]), text()))


def _block(command: str) -> str:
    return f"<!-- help: {command} -->\n\n```text\n{zchat(command, '--help').stdout}```\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_is_in_the_reference(command: str) -> None:
    shown = {found[1]: found[2] for found in HELP.finditer(text())}
    assert shown[command] == zchat(command, "--help").stdout, "ZCHAT_UPDATE_DOCS=1 pytest tests/test_docs.py"


def test_the_table_of_commands_is_whole() -> None:
    for name, row in COMMANDS.items():
        line = next(line for line in text().splitlines() if line.startswith(f"| [`zchat {name}`](#zchat-{name})"))
        assert row.sentence in line
        assert {alias for alias, meant in ALIASES.items() if meant == name} == set(re.findall(r" `(\w+)`", line))


def test_every_option_of_zchat_itself_is_named() -> None:
    for parameter in typer.main.get_command(app).params:
        assert f"`zchat {max(parameter.opts, key=len)}`" in text()


def test_every_option_alias_is_named() -> None:
    for alias in listen.OPTION_ALIASES:
        assert f"`-{alias}`" in text() or len(alias) > 1


def test_the_table_of_exit_statuses_is_that_of_the_errors() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", text(), re.M))
    assert {int(status): sentence for status, sentence in rows.items()} == EXIT_STATUSES


def test_every_variable_is_named() -> None:
    sources = "".join(path.read_text() for path in Path(listen.__file__).parent.glob("*.py"))
    for variable in set(re.findall(r'"(ZCHAT_[A-Z]+)"', sources)) | {"NO_COLOR"}:
        assert f"| `{variable}` |" in text()
