"""How the path of a file or folder is read from the command line.

Tests: tests/cli/test_options.py.
"""

from __future__ import annotations

from pathlib import Path

import typer


def path(text: str | Path) -> Path:
    """A file or folder. What is empty, as a script's variable that is not set, would be the current folder."""
    if not str(text):
        raise typer.BadParameter("it is empty, and names no file or folder")
    return Path(text)
