"""scripts/versions.py knows the Pythons of the machine, and the lowest version of all that pyproject.toml needs."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "versions.py"


def versions(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_it_finds_the_python_that_runs_it_and_a_lowest_version_of_each_dependency() -> None:
    done = versions("--list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert platform.python_version() in [line[0] for line in lines]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split("[<>=;]", requirement)[0] for requirement in needed}
    for _, _, *lowest in lines:
        assert {version.partition("==")[0] for version in lowest} == names


def test_what_is_needed_by_an_extra_of_the_program_is_needed_by_the_tests() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras["web"]) <= set(extras["dev"])


@pytest.mark.slow
def test_a_python_that_is_not_here_is_one_line() -> None:
    done = versions("--python", "3.10")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "versions: no such Python here\n")
