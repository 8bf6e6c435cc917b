"""Options that belong together are one parameter of a command, and options of its own to who calls it."""

from __future__ import annotations

from inspect import signature
from typing import Annotated, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from zchat.cli.groups import ungrouped


class Output(NamedTuple):
    """What is printed."""

    json: Annotated[bool, typer.Option("--json")] = False
    width: Annotated[int, typer.Option("--width")] = 80


def shown(word: str, output: Output, loud: Annotated[bool, typer.Option("--loud")] = False) -> None:
    """Say what was given."""
    typer.echo(f"{word} {output.json} {output.width} {loud}")


@pytest.mark.parametrize(
    ("args", "printed"),
    [("a", "a False 80 False\n"), ("a --json --loud", "a True 80 True\n"), ("--width 9 a", "a False 9 False\n")],
)
def test_a_group_has_the_options_of_its_fields(args: str, printed: str) -> None:
    app = typer.Typer()
    app.command()(ungrouped(shown))
    result = CliRunner().invoke(app, args.split())
    assert (result.exit_code, result.output) == (0, printed)


def test_the_options_stand_where_the_group_stands() -> None:
    assert list(signature(ungrouped(shown)).parameters) == ["word", "json", "width", "loud"]
    assert ungrouped(shown).__doc__ == shown.__doc__


def test_a_command_without_groups_is_left_as_it_is() -> None:
    def plain(word: str) -> None:
        """Nothing."""

    assert ungrouped(plain) is plain
