"""How the path of a file or folder is read from the command line.

Tests: tests/cli/test_options.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from zchat.cli import completion


def path(text: str | Path) -> Path:
    """A file or folder. What is empty, as a script's variable that is not set, would be the current folder."""
    if not str(text):
        raise typer.BadParameter("it is empty, and names no file or folder")
    return Path(text)


def option(name: str, **more: Any) -> Any:
    """An option whose value is a path. `more`: as `typer.Option` takes it."""
    return typer.Option(name, parser=path, autocompletion=completion.path, **more)


def argument(**more: Any) -> Any:
    """An argument that is a path. `more`: as `typer.Argument` takes it."""
    return typer.Argument(parser=path, autocompletion=completion.path, **more)
