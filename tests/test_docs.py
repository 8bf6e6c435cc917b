"""What the documentation says is what the program does. ZCHAT_UPDATE_DOCS=1 writes the help texts anew."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import zchat as public
from tests.conftest import COMMAND, BrokerProcess, Running, eventually, zchat
from tests.test_protocol import free_ports, rows, section_of
from zchat import client, errors
from zchat.cli import ALIASES, COMMANDS, app, listen
from zchat.cli.watch import Again, Plan
from zchat.errors import CODES, EXIT_STATUSES
from zchat.settings import Settings

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "cli.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

HELP = re.compile(r"<!-- help: (\w+) -->\n(?:\n```text\n(.*?)```\n)?", re.S)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
SHELL = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text()


def statuses(name: str) -> dict[int, str]:
    return {int(status): sentence for status, sentence in re.findall(r"^\| (\d+) \| (.+) \|$", text(name), re.M)}


# --- the command line ---------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def written_anew() -> None:
    if os.environ.get("ZCHAT_UPDATE_DOCS"):
        REFERENCE.write_text(HELP.sub(lambda found: _block(found[1]), text("docs/cli.md")))
        text.cache_clear()


def _block(command: str) -> str:
    return f"<!-- help: {command} -->\n\n```text\n{zchat(command, '--help').stdout}```\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_is_in_the_reference(command: str) -> None:
    shown = {found[1]: found[2] for found in HELP.finditer(text("docs/cli.md"))}
    assert shown[command] == zchat(command, "--help").stdout, "ZCHAT_UPDATE_DOCS=1 pytest tests/test_docs.py"


def test_the_table_of_commands_is_whole() -> None:
    for name, row in COMMANDS.items():
        lines = text("docs/cli.md").splitlines()
        line = next(line for line in lines if line.startswith(f"| [`zchat {name}`](#zchat-{name})"))
        assert row.sentence in line
        assert {alias for alias, meant in ALIASES.items() if meant == name} == set(re.findall(r" `(\w+)`", line))


def test_every_option_of_zchat_itself_is_named() -> None:
    for parameter in typer.main.get_command(app).params:
        assert f"`zchat {max(parameter.opts, key=len)}`" in text("docs/cli.md")


def test_every_option_alias_is_named() -> None:
    for alias in listen.OPTION_ALIASES:
        assert f"`-{alias}`" in text("docs/cli.md") or len(alias) > 1


def test_the_table_of_exit_statuses_is_that_of_the_errors() -> None:
    assert statuses("docs/cli.md") == EXIT_STATUSES


def test_every_variable_is_named() -> None:
    sources = "".join(path.read_text() for path in Path(listen.__file__).parent.glob("*.py"))
    for variable in set(re.findall(r'"(ZCHAT_[A-Z]+)"', sources)) | {"NO_COLOR"}:
        assert f"| `{variable}` |" in text("docs/cli.md")


# --- settings -----------------------------------------------------------------------------------


def test_the_tables_of_settings_have_each_with_its_default_and_a_code_that_exists() -> None:
    table = {cells[0].strip("`"): cells for cells in rows(text("docs/settings.md")) if cells[0].startswith("`")}
    assert list(table) == [field.name for field in fields(Settings)]
    for name, (_, default, unit, _, what, code) in table.items():
        value = getattr(Settings(), name)
        assert default == (f"{value:,.12g}" if isinstance(value, int | float) else "none"), name
        assert unit and what
        assert code == "–" or code.strip("`") in CODES
        assert what.startswith("Told. ") == (name in Settings().told()), name


def test_the_settings_that_an_option_sets_name_it() -> None:
    options = zchat("broker", "--help").stdout
    for cells in rows(text("docs/settings.md")):
        if cells[0].startswith("`") and cells[3] != "–":
            assert f"  {cells[3].strip('`')} " in options


# --- the Python client --------------------------------------------------------------------------


def programs() -> list[tuple[str, str]]:
    return [(name, found[1]) for name in ("README.md", "docs/client.md") for found in PYTHON.finditer(text(name))]


@pytest.mark.slow
@pytest.mark.parametrize("broker", [("--memory",)], indirect=True)
@pytest.mark.parametrize("program", [program for _, program in programs()])
def test_each_program_prints_what_its_comments_say(broker: BrokerProcess, program: str) -> None:
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", program, re.M)
    assert program.count("print(") == len(expected) and re.search(r"zchat\.(aio\.)?connect\(user=", program)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program.replace("connect(", f"connect({broker.address!r}, "), {})
    assert printed.getvalue().splitlines() == expected


@pytest.mark.parametrize(
    "function", [client.connect, client.Client.publish, client.Client.listen, client.Client.history]
)
def test_the_signatures_are_those_of_the_code(function: Callable[..., Any]) -> None:
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    ]
    named = f"{'zchat' if function is client.connect else 'client'}.{function.__name__}"
    shown = re.search(rf"^    {re.escape(named)}(\(.*?\))(?: -> (\w+))?$", text("docs/client.md"), re.M | re.S)
    assert shown is not None
    assert re.sub(r"\s+", " ", shown[1]).replace('"', "'") == str(inspect.Signature(parameters))
    returned = inspect.signature(function).return_annotation
    assert shown[2] in (None, "Publication" if returned == "P" else returned)  # each face has its own


def test_every_public_method_and_field_is_described() -> None:
    described = text("docs/client.md")
    kinds = (public.Client, public.Publication, public.Subscription, public.Message, public.Job)
    for kind in (*kinds, public.Member, public.Cursor, public.Group, public.PendingRun):
        for name in [*vars(kind), *getattr(kind, "__struct_fields__", ())]:
            if not name.startswith("_") and name not in ("put", "is_live"):
                assert re.search(rf"\b{name}\b", described), f"{kind.__name__}.{name}"
    for name in public.__all__:
        assert f"`{name}`" in described or f"zchat.{name}" in described, name


def test_the_table_of_errors_is_the_tree() -> None:
    table = {cells[0].strip("`"): cells for cells in rows(section_of("docs/client.md", "## Errors"))[1:]}
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ZchatError)]
    assert set(table) == {kind.__name__ for kind in classes}
    for kind in classes:
        _, when, attributes, status = table[kind.__name__]
        assert int(status) == kind.exit_status
        for base in (errors.UsageError, errors.TimedOut):
            assert kind is base or when.startswith(f"a `{base.__name__}`") == issubclass(kind, base)
        taken = inspect.getfullargspec(kind.__init__).args if "__init__" in vars(kind) else []
        for attribute in re.findall(r"`(\w+)`", attributes):
            assert attribute in taken or hasattr(kind, attribute), f"{kind.__name__}.{attribute}"


# --- README -------------------------------------------------------------------------------------


def shell_of(heading: str) -> list[str]:
    """The commands under a heading."""
    return [line for block in SHELL.findall(section_of("README.md", heading)) for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the README's commands are found, and a `deploy` that says two lines."""
    for name, does in (("scripts/zchat", f'exec {" ".join(COMMAND)} "$@"'), ("deploy", "echo one; echo two")):
        script = tmp_path / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\n{does}\n")
        script.chmod(0o755)
    shutil.copy(tmp_path / "scripts" / "zchat", tmp_path / "zchat")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


Start = Callable[..., Running]


@pytest.mark.slow
def test_the_first_minute_of_the_readme_comes_true(start_zchat: Start, folder: Path) -> None:
    address = f"tcp://127.0.0.1:{free_ports()}"
    env = {"ZCHAT_BIND": address, "ZCHAT_BROKER": address, "ZCHAT_DATA": str(folder / "data"), "ZCHAT_USER": "alice"}
    broker_line, chat_line, listen_line, send_line = shell_of("## A chat in a minute")
    broker = start_zchat("-c", f"exec {broker_line}", env=env, run=("bash",))
    eventually(lambda: f"zchat broker ready on {address} " in broker.stderr, "the broker is ready")
    listener = start_zchat("-c", f"exec {listen_line}", env=env, run=("bash",))
    eventually(lambda: "alice" in zchat("who", "general", env=env).stdout, "the listener is there")
    assert start_zchat("-c", f"exec {send_line}", env=env, run=("bash",)).end().status == 0
    shown = re.compile(r"^\[\d\d:\d\d:\d\d\] alice: hello\n$")
    assert eventually(lambda: shown.match(listener.stdout), "it prints what was sent")
    chat = start_zchat("-c", f"exec {chat_line}", env=env, run=("bash",))
    chat.write("hi\n")
    assert chat.end().status == 0 and "alice: hi\n" in eventually(lambda: listener.lines[1:] and listener.stdout, "hi")
    assert re.search(r"^    \[12:34:56\] alice: hello$", section_of("README.md", "## A chat in a minute"), re.M)
    assert "alice: hello" in zchat("listen", "general", "--last", "10", "-n", "1", env=env).stdout
    assert (listener.end(2).status, broker.end(2).status) == (-2, -2)


@pytest.mark.slow
def test_the_broker_for_several_hosts_lets_in_who_was_invited(start_zchat: Start, folder: Path) -> None:
    port = free_ports()
    broker_line, invite_line, join_line, listen_line = shell_of("## Several hosts")
    env = {"ZCHAT_DATA": str(folder / "data"), "ZCHAT_CONFIG": str(folder / "alice" / "zchat.toml")}
    broker = start_zchat("-c", f"exec {broker_line.replace('5555', str(port))}", env=env, run=("bash",))
    eventually(lambda: "broker ready" in broker.stderr, "the broker is ready")
    invite = start_zchat("-c", f"exec {invite_line} -b localhost:{port}", env=env, run=("bash",)).end().stdout.strip()
    shape = invite_of(join_line).replace("chat.example:5555", f"localhost:{port}")
    assert re.fullmatch(re.escape(shape).replace("…", "[0-9a-f]{64}"), invite)
    joining = join_line.replace(invite_of(join_line), invite)
    assert start_zchat("-c", f"exec {joining}", env=env, run=("bash",)).end().status == 0
    assert zchat("send", "ops", "hello", env=env).status == 0
    listener = start_zchat("-c", f"exec {listen_line}", env=env, run=("bash",))
    eventually(
        lambda: listener.stdout.endswith("alice: hello\n"), "the listener reaches it, and a line is written as it comes"
    )
    assert zchat("send", "ops", "hello", "-b", f"localhost:{port}", env={"ZCHAT_USER": "eve"}).status == 4
    assert (listener.end(15).status, broker.end(15).status) == (-15, 0)


def invite_of(line: str) -> str:
    found = re.search(r"'(zchat://.*)'", line)
    assert found is not None, line
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("broker", [("--memory",)], indirect=True)
def test_the_lines_for_scripts_end_with_0(broker: BrokerProcess, start_zchat: Start, folder: Path) -> None:
    lines = shell_of("## In scripts")
    printed = {}
    for line in lines:
        result = start_zchat("-c", line, broker=broker, run=("bash",)).end()
        assert (result.stderr, result.status) == ("", 0), line
        printed[line] = result.stdout
    assert printed["zchat history ops --last 5"].splitlines()[0].endswith("] tester: one")
    assert [line.count("\n") for line in printed.values() if "all done" in line] == [3, 3, 1, 1, 1, 1]
    assert len({line.split()[1] for line in lines if line.startswith("zchat ")} & set(COMMANDS)) >= 5


def test_the_figures_of_the_readme_are_those_of_the_benchmarks() -> None:
    (table,) = re.findall(r"^\| 128-byte messages.*?\n\n", text("README.md"), re.M | re.S)
    figures = re.findall(r"\d{3},\d{3}|\d\d,\d{3}|\d+(?= µs)", table)
    assert len(figures) == 11 and all(figure in text("docs/benchmarks.md") for figure in figures)


# --- running a broker ---------------------------------------------------------------------------


def unit() -> str:
    found = re.search(r"^```ini\n(.*?)^```", text("docs/operating.md"), re.M | re.S)
    assert found is not None
    return found[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is needed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    file = tmp_path / "zchat.service"
    file.write_text(unit().replace("/usr/local/bin/zchat", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.slow
def test_the_command_of_the_unit_runs_one_process_that_ends_in_order(start_zchat: Start, tmp_path: Path) -> None:
    (command,) = re.findall(r"^ExecStart=/usr/local/bin/zchat (.*)$", unit(), re.M)
    port = str(free_ports())
    args = command.replace("5555", port).replace("${STATE_DIRECTORY}", str(tmp_path / "state")).split()
    broker = start_zchat(*args)
    eventually(lambda: f"broker ready on tcp://*:{port} " in broker.stderr, "the broker is ready")
    assert Path(f"/proc/{broker.process.pid}/task/{broker.process.pid}/children").read_text() == ""
    assert (tmp_path / "state" / "log.db").exists()
    assert broker.end(signal.SIGTERM).status == 0


def test_the_lines_that_a_watched_broker_says_are_told() -> None:
    plan = Plan()
    for status in (-signal.SIGABRT, -signal.SIGKILL, 1):
        plan.ready(0.0)
        again = plan.ended(status, 10.0)
        assert isinstance(again, Again)
        line = again.line if status == -signal.SIGABRT else again.line.partition("; ")[0]
        assert f"| `zchat: {line}" in text("docs/operating.md")


# --- all of them --------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as they are made by those who show it."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_has_one_version(path: Path) -> None:
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", path.read_text(), re.M), "of a merge that was not finished"


def test_every_place_that_a_module_refers_to_exists() -> None:
    for path in sorted((ROOT / "zchat").rglob("*.py")):
        docstring = re.sub(r"\s+", " ", ast.get_docstring(ast.parse(path.read_text())) or "")
        for name, headings in re.findall(r'(docs/\w+\.md)((?:(?:,| and) "[^"]+")*)', docstring):
            assert (ROOT / name).exists(), f"{path.name}: {name}"
            for heading in re.findall(r'"([^"]+)"', headings):
                assert re.search(rf"^#+ {re.escape(heading)}$", text(name), re.M), f"{path.name}: {name}, {heading}"


def test_the_design_names_every_module() -> None:
    modules = section_of("docs/design.md", "## Modules")
    for path in sorted((ROOT / "zchat").rglob("*.py")):
        package, name = path.parent.relative_to(ROOT / "zchat").as_posix(), path.name
        named = f"`{package}/`" if name == "__init__.py" or package in ("cli", "wire") else f"`{name}`"
        assert named in modules or path == ROOT / "zchat" / "__init__.py", path


def test_the_changelog_has_every_command_in_whole_sentences() -> None:
    changes = text("CHANGELOG.md")
    assert re.findall(r"^## (.*)$", changes, re.M)[0] == "Unreleased"
    entries = re.split(r"^- ", re.sub(r"^#+ .*$", "", changes, flags=re.M), flags=re.M)[1:]
    assert all(re.sub(r"\s+", " ", entry).rstrip().endswith(".") for entry in entries)
    for command in COMMANDS:
        assert f"`zchat {command}" in changes
