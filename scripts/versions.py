#!/usr/bin/env python3
"""Runs the tests with the lowest and the highest version of each dependency that pyproject.toml allows.

For each Python that the machine has (3.11 and later, in PATH and from pyenv) it makes two virtual environments:
"lowest" has of each dependency, those of the tests too, the version that its lower bound names; "highest" has
the newest that the bounds allow. In each it runs ruff and the tests, in the highest also mypy (what it says follows the
types of the dependencies), and at the end it prints a table.

    scripts/versions.py                       the whole suite in all of them: an hour or more
    scripts/versions.py --list                the Pythons and the lowest versions; nothing is run
    scripts/versions.py --quick               some seconds of tests in each: does it start, decode and talk at all?
    scripts/versions.py --python 3.13 --set lowest -- tests/core -x
                                              what follows `--` goes to pytest in place of the whole suite

Status 0: all passed. Environments are kept in the folder `.versions` of the checkout and made again when pyproject.toml
has changed. Needs no package itself.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".versions"
PYTHON_MIN = (3, 11)
MINORS = range(11, 20)
QUICK = [
    "-x",
    "tests/test_wire.py",
    "tests/test_checking.py",
    "tests/core/test_broker.py",
    "tests/cli/test_start.py",
    "tests/cli/test_options.py",
    "tests/cli/test_send.py",
]
REQUIREMENT = re.compile(
    r"""(?P<name>[\w.-]+)>=(?P<lowest>[\w.]+)(,[^;]*)?(; *python_version *>= *["'](?P<python>3\.\d+)["'])?$"""
)


class Python(NamedTuple):
    """An interpreter."""

    version: str  # 3.12.1
    path: str

    @property
    def minor(self) -> tuple[int, int]:
        """Such as (3, 12)."""
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)


class Outcome(NamedTuple):
    """What came of one environment."""

    python: str
    versions: str  # "lowest" or "highest"
    failed: list[str]  # the checks that failed
    said: str  # the last line of pytest, or why there was none
    seconds: float


# --- what there is ------------------------------------------------------------------------------


def pythons() -> list[Python]:
    """One of each minor version that is here."""
    names = [f"python3.{minor}" for minor in MINORS]
    found = [path for name in names if (path := shutil.which(name))]
    found += [str(path) for path in sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python"))]
    of_minor: dict[tuple[int, int], Python] = {}
    for path in [sys.executable, *found]:
        code = "import platform, venv, ensurepip; print(platform.python_version())"
        done = subprocess.run([path, "-c", code], capture_output=True, text=True)
        python = Python(done.stdout.strip(), path)
        if not done.returncode and python.minor >= PYTHON_MIN:
            of_minor.setdefault(python.minor, python)
    return [of_minor[minor] for minor in sorted(of_minor)]


def requirements() -> list[str]:
    """Those of the program and of the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"]]


def lowest(python: Python) -> list[str]:
    """The version of each dependency that is the lowest allowed on that Python."""
    versions: dict[str, str] = {}
    for requirement in requirements():
        match = REQUIREMENT.match(requirement)
        if match is None:
            sys.exit(f"versions: {requirement}: no lower bound that this script understands")
        since = match["python"]
        if since is None or python.minor >= tuple(map(int, since.split("."))):
            versions[match["name"]] = match["lowest"]
    return [f"{name}=={version}" for name, version in versions.items()]


# --- one environment ----------------------------------------------------------------------------


def environment(python: Python, versions: str) -> Path:
    """The interpreter of an environment with those versions. Raises CalledProcessError."""
    place = FOLDER / f"{python.version}-{versions}"
    stamp, made_from = place / "made-from", f"{python.path}\n{(ROOT / 'pyproject.toml').read_text()}"
    executable = place / "bin" / "python"
    if stamp.exists() and stamp.read_text() == made_from:
        return executable
    shutil.rmtree(place, ignore_errors=True)
    run([python.path, "-m", "venv", str(place)])
    pip = [str(executable), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run([*pip, "-e", f"{ROOT}[dev]", *(lowest(python) if versions == "lowest" else ["--upgrade"])])
    stamp.write_text(made_from)
    return executable


def run(command: list[str]) -> None:
    """Raises CalledProcessError, with what it said."""
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def check(python: Python, versions: str, arguments: list[str], *, tools: bool) -> Outcome:
    """Everything in one environment; it goes on after a failure."""
    began = time.monotonic()
    print(f"\n--- Python {python.version}, {versions}", flush=True)
    try:
        executable = environment(python, versions)
    except subprocess.CalledProcessError as error:
        print(error.stdout)
        return Outcome(python.version, versions, ["install"], "cannot be installed", time.monotonic() - began)
    print(installed(executable), flush=True)
    failed = []
    of_highest = ["mypy"] if versions == "highest" else []
    for tool in ["ruff check", "ruff format --check", *of_highest] if tools else []:
        if subprocess.run([str(executable), "-m", *tool.split()], cwd=ROOT).returncode:
            failed.append(tool)
    said = ""
    command = [str(executable), "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            said = line.strip() or said
    if process.returncode:
        failed.append("pytest")
    return Outcome(python.version, versions, failed, said.strip("= "), time.monotonic() - began)


def installed(executable: Path) -> str:
    """The versions of what pyproject.toml names."""
    names = [re.split(r"[<>=;]", requirement)[0] for requirement in requirements()]
    code = "import sys, importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
    done = subprocess.run([str(executable), "-c", code, *dict.fromkeys(names)], capture_output=True, text=True)
    return done.stdout.strip()


# --- all of them --------------------------------------------------------------------------------


def table(outcomes: list[Outcome]) -> str:
    """For people."""
    lines = ["| Python | versions | | seconds | pytest says |", "| --- | --- | --- | --- | --- |"]
    for each in outcomes:
        result = f"failed: {', '.join(each.failed)}" if each.failed else "passed"
        lines.append(f"| {each.python} | {each.versions} | {result} | {each.seconds:.0f} | {each.said} |")
    return "\n".join(lines)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], metavar="3.X", help="only this one; may be repeated")
    parser.add_argument("--set", choices=["lowest", "highest"], help="only these versions")
    parser.add_argument("--list", action="store_true", help="only tell which Pythons and lowest versions there are")
    parser.add_argument("--quick", action="store_true", help="a handful of tests, without ruff and mypy")
    parser.add_argument("arguments", nargs="*", metavar="-- ARGS", help="for pytest")
    options = parser.parse_args()
    wanted = {tuple(map(int, text.split("."))) for text in options.python}
    chosen = [python for python in pythons() if not wanted or python.minor in wanted]
    if not chosen:
        print("versions: no such Python here", file=sys.stderr)
        return 2
    if options.list:
        for python in chosen:
            print(python.version, python.path, *lowest(python))
        return 0
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the tests start the program many times
    arguments = options.arguments or (QUICK if options.quick else [])
    outcomes = [
        check(python, versions, arguments, tools=not options.quick)
        for python in chosen
        for versions in ([options.set] if options.set else ["lowest", "highest"])
    ]
    print(f"\n{table(outcomes)}")
    return any(outcome.failed for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
