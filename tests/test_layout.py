"""The rules of the code base that a machine can check: layers, edges, sizes, names, and no sleeping tests.

A rule takes one parsed file and gives its complaints. The last tests feed each rule something bad: a rule
that catches nothing is no rule.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
LINES_MAX = 399
LINES_WITHOUT_A_REASON_MAX = 300  # a longer file says in its docstring why it has more than "300 lines"
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 16  # of `listen`, which is told each by its name
BANNED = re.compile(r"utils?$|manager|helper|_v\d+$", re.IGNORECASE)


class Layer(NamedTuple):
    """What the files under `path` may import of zchat, and of what touches the world. One that may nothing, is pure."""

    path: str  # a file, or a folder with a slash at its end; the first row that fits counts
    zchat: tuple[str, ...]  # modules; with a dot at its end, all that is under one, too
    others: tuple[str, ...]


LEVEL_0 = (
    "bucket",
    "errors",
    "expiry",
    "names",
    "address",
    "settings",
    "printable",
    "message",
    "times",
    "keys",
    "lookalikes",
)
WORDS = (*(f"zchat.{name}" for name in LEVEL_0), "zchat.wire.")
WORLD = ("asyncio", "concurrent", "os", "random", "secrets", "select", "socket", "subprocess", "threading", "time")
WEB = ("engineio", "joserfc", "socketio", "starlette", "uvicorn")  # of the extra `web`
SCREEN = ("rich", "textual")  # of the extra `chat`
LOG = (
    "zchat.core.log",
    "zchat.core.read_pause",
    "zchat.log.retention",
    "zchat.log.slices",
)  # what every log is made of
FACES = tuple(  # what all faces are made of
    f"zchat.{name}"
    for name in (
        "arguments",
        "work",
        "files",
        "handlers",
        "publisher",
        "sealing",
        *(
            f"sockets.{name}"
            for name in ("channel", "clock", "incoming", "intake", "job_intake", "link", "outbox", "publication")
        ),
    )
)
LOOP = tuple(
    f"zchat.sockets.{name}" for name in ("commands", "context", "driver", "exits", "held", "port")
)  # drives an engine
LAYERS = [
    *(Layer(f"zchat/{name}.py", WORDS, ()) for name in LEVEL_0),
    Layer("zchat/wire/", WORDS, ()),
    Layer("zchat/core/", (*WORDS, "zchat.core."), ()),
    Layer("zchat/log/sqlite/", (*WORDS, *LOG, "zchat.log.sqlite."), ("sqlite3", *WORLD)),
    Layer("zchat/log/offline/", (*WORDS, *LOG, "zchat.log.sqlite.", "zchat.log.offline."), ("sqlite3", *WORLD)),
    Layer(
        "zchat/log/search/",
        (*WORDS, *LOG, "zchat.core.words", "zchat.log.sqlite.", "zchat.log.search."),
        ("sqlite3", *WORLD),
    ),
    Layer("zchat/log/", (*WORDS, *LOG), WORLD),
    Layer("zchat/sockets/", (*WORDS, "zchat.core.", "zchat.sockets."), ("zmq", *WORLD)),
    Layer("zchat/subscription.py", (*WORDS, "zchat.core.", *FACES, "zchat.sockets.client"), WORLD),
    Layer("zchat/sending.py", (*WORDS, "zchat.core.", *FACES, "zchat.sockets.client"), WORLD),
    Layer(
        "zchat/asking.py",
        (*WORDS, "zchat.core.", *FACES, "zchat.sending", "zchat.service", "zchat.sockets.client"),
        WORLD,
    ),
    Layer("zchat/files.py", WORDS, WORLD),
    Layer("zchat/handlers.py", (*WORDS, "zchat.core."), ()),
    Layer("zchat/spool_files.py", (), WORLD),
    Layer("zchat/spool.py", (*WORDS, *FACES, "zchat.spool_files", "zchat.client", "zchat.sockets.client"), WORLD),
    Layer("zchat/receiving.py", (*WORDS, "zchat.files"), WORLD),
    Layer("zchat/service.py", (*WORDS, "zchat.core.", *FACES, "zchat.sockets.client"), WORLD),
    Layer("zchat/publisher.py", (*WORDS, "zchat.core.", *FACES), WORLD),
    Layer("zchat/key_files.py", (*WORDS, "zchat.private_files"), WORLD),
    Layer("zchat/key_folder.py", (*WORDS, "zchat.core.identity", "zchat.key_files", "zchat.private_files"), WORLD),
    Layer("zchat/profile.py", (*WORDS, "zchat.key_files"), WORLD),
    Layer("zchat/config.py", (*WORDS, "zchat.core.rights"), ("tomllib", *WORLD)),
    Layer("zchat/private_files.py", WORDS, WORLD),
    Layer("zchat/tokens.py", (*WORDS, "zchat.private_files"), WORLD),
    Layer("zchat/ring.py", (*WORDS, "zchat.core.sealed", "zchat.private_files"), WORLD),
    # It alone has the cipher.
    Layer("zchat/sealing.py", (*WORDS, "zchat.core.sealed", "zchat.profile", "zchat.ring"), ("nacl", *WORLD)),
    Layer("zchat/arguments.py", (*WORDS, "zchat.core.", "zchat.profile"), WORLD),
    Layer(
        "zchat/joining.py",
        (
            *(*WORDS, "zchat.arguments", "zchat.key_files", "zchat.private_files", "zchat.profile"),
            *(f"zchat.sockets.{name}" for name in ("client", "clock", "curve", "enrolling")),
        ),
        WORLD,
    ),
    Layer("zchat/work.py", (*WORDS, "zchat.core.", "zchat.arguments"), WORLD),
    Layer(
        "zchat/client.py",
        (
            *(*WORDS, "zchat.core.", *FACES, "zchat.asking", "zchat.service", "zchat.subscription"),
            *("zchat.sockets.client", "zchat.sockets.session"),
        ),
        WORLD,
    ),
    Layer("zchat/aio/", (*WORDS, "zchat.core.", *FACES, *LOOP, "zchat.aio."), WORLD),
    *(Layer(f"zchat/tcp/{name}.py", (*WORDS, "zchat.tcp."), ()) for name in ("shown", "spoken", "telnet", "typed")),
    Layer("zchat/tcp/", (*WORDS, "zchat.aio.", "zchat.core.gaps", "zchat.tcp.", "zchat.tokens"), WORLD),
    Layer("zchat/__init__.py", ("zchat.",), ("importlib",)),
    Layer("zchat/testing.py", ("zchat.errors",), ("os", "pathlib", "subprocess", "sys", "tempfile", "time")),
    Layer("zchat/web/core/", (*WORDS, "zchat.web.core."), ()),
    Layer(
        "zchat/web/",
        (*WORDS, "zchat", "zchat.aio.", "zchat.private_files", "zchat.profile", "zchat.tokens", "zchat.web."),
        (*WORLD, *WEB),
    ),
    Layer(
        "zchat/cli/web.py",
        (*WORDS, "zchat.cli.", "zchat.web.", "zchat.profile", "zchat.sockets.kernel"),
        ("typer", *WORLD),
    ),
    Layer("zchat/chat/core/", (*WORDS, "zchat.chat.core."), ()),
    *(Layer(f"zchat/chat/plain/{name}.py", (*WORDS, "zchat.chat.core."), ()) for name in ("editing", "lines")),
    Layer(
        "zchat/chat/screen/",
        (*WORDS, "zchat.aio.", "zchat.core.gaps", "zchat.profile", "zchat.chat."),
        (*WORLD, *SCREEN),
    ),
    Layer("zchat/chat/", (*WORDS, "zchat.aio.", "zchat.core.gaps", "zchat.receiving", "zchat.chat."), WORLD),
    Layer("zchat/cli/chat.py", (*WORDS, "zchat.aio", "zchat.cli.", "zchat.chat.", "zchat.profile"), ("typer", *WORLD)),
    Layer("zchat/__main__.py", ("zchat.cli.",), ("signal",)),
    Layer("zchat/cli/serving.py", ("zchat.",), WORLD),  # joins the sockets and a log
    Layer(
        "zchat/cli/tcp.py", (*WORDS, "zchat.aio", "zchat.cli.", "zchat.sockets.kernel", "zchat.tcp."), ("typer", *WORLD)
    ),
    Layer("zchat/cli/log_actions.py", (*WORDS, "zchat.cli.", "zchat.core.log", "zchat.log."), WORLD),  # of no broker
    Layer("zchat/cli/broker.py", (*WORDS, "zchat.cli.", "zchat.config"), ("typer", *WORLD)),
    Layer(
        "zchat/cli/key_actions.py",
        (
            *(*WORDS, "zchat.cli.", "zchat.joining", "zchat.key_files", "zchat.key_folder", "zchat.profile"),
            "zchat.sockets.curve",
        ),
        WORLD,
    ),
    Layer("zchat/cli/join.py", (*WORDS, "zchat.arguments", "zchat.cli.", "zchat.joining"), ("typer", *WORLD)),
    Layer(
        "zchat/cli/",
        (
            *(*WORDS, "zchat", "zchat.cli.", "zchat.files", "zchat.profile", "zchat.receiving", "zchat.spool"),
            *("zchat.ring", "zchat.sealing", "zchat.tokens"),
        ),
        ("typer", *WORLD),
    ),
]
# All of Python's own modules that touch neither files nor clocks, nor anything else outside of the program.
PURE = {
    *(
        "__future__",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "contextvars",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
    ),
    *("ipaddress", "itertools", "math", "operator", "re", "struct", "types", "typing", "unicodedata"),
}
GUARDED = {*WORLD, *WEB, *SCREEN, "nacl", "nats", "redis", "sqlite3", "typer", "zmq"}
WORLDLY = sys.stdlib_module_names - PURE
FOREIGN_ERRORS = {
    "zmq": ("zchat/sockets/",),
    "sqlite3": ("zchat/log/sqlite/", "zchat/log/offline/", "zchat/log/search/"),
}


class Source(NamedTuple):
    """One file, parsed."""

    path: str  # from the root, with slashes
    text: str
    tree: ast.Module


class Import(NamedTuple):
    """One imported module."""

    module: str
    line: int


Rule = Callable[[Source], list[str]]


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(source(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths)


def source(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, path))


@cache
def modules() -> frozenset[str]:
    return frozenset(module_of(each.path) for each in sources("zchat"))


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(node: ast.AST, *, for_types: bool) -> Iterator[Import]:
    """Every import; those that only a type checker sees, when asked for."""
    if isinstance(node, ast.Import):
        yield from (Import(each.name, node.lineno) for each in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0 and node.module is not None, f"line {node.lineno}: imports are absolute"
        for each in node.names:
            whole = f"{node.module}.{each.name}"
            yield Import(whole if whole in modules() else node.module, node.lineno)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING" and not for_types:
            continue
        yield from imports(child, for_types=for_types)


# --- the rules ----------------------------------------------------------------------------------


def layers(of: Source) -> list[str]:
    """Imports go one way, and only some folders touch the world."""
    layer = layer_of(of.path)
    if layer is None:
        return [f"{of.path} has no row in LAYERS"]
    complaints = []
    for module, line in imports(of.tree, for_types=False):
        top = module.partition(".")[0]
        if top == "zchat":
            if module not in layer.zchat and not f"{module}.".startswith(tuple(n for n in layer.zchat if n[-1] == ".")):
                complaints.append(f"{of.path}:{line} imports {module}; it may import {', '.join(layer.zchat)}")
        elif top not in layer.others and (top in GUARDED or (not layer.others and top in WORLDLY)):
            may = ", ".join(layer.others) or "none of these"
            complaints.append(f"{of.path}:{line} imports {module}; of the world it may import {may}")
    return complaints


def layer_of(path: str) -> Layer | None:
    return next((row for row in LAYERS if path.startswith(row.path)), None)


def edges(of: Source) -> list[str]:
    """Foreign exceptions are translated where they come in."""
    complaints = []
    for handler in ast.walk(of.tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.type is None:
            continue
        for name in ast.walk(handler.type):
            if isinstance(name, ast.Name) and not of.path.startswith(FOREIGN_ERRORS.get(name.id, ("",))):
                complaints.append(f"{of.path}:{handler.lineno} catches an error of {name.id}")
    return complaints


def decoders(of: Source) -> list[str]:
    """Msgpack is decoded where every error of the decoder becomes a WireError."""
    return [
        f"{of.path}:{node.lineno} decodes msgpack"
        for node in ast.walk(of.tree)
        if isinstance(node, ast.Attribute) and re.search(r"msgpack\.(Decoder|decode)$", ast.unparse(node))
        if not of.path.startswith("zchat/wire/")
    ]


def lengths(of: Source) -> list[str]:
    """Modules and functions stay short enough to be read."""
    complaints = []
    lines = of.text.count("\n")
    if lines > LINES_MAX:
        complaints.append(f"{of.path} has {lines} lines, limit {LINES_MAX}")
    elif lines > LINES_WITHOUT_A_REASON_MAX and "300 lines" not in (ast.get_docstring(of.tree) or ""):
        complaints.append(f"{of.path} has {lines} lines, and its docstring does not say why it has more than 300 lines")
    for function, lines, parameters in functions(of):
        if lines > FUNCTION_LINES_MAX:
            complaints.append(f"{of.path}:{function.lineno} {function.name} has {lines} lines")
        if parameters > PARAMETERS_MAX:
            complaints.append(f"{of.path}:{function.lineno} {function.name} has {parameters} parameters")
    return complaints


def functions(of: Source) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int, int]]:
    """Every function with its lines, but for the help of a command, and its parameters."""
    for function in ast.walk(of.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (function.end_lineno or 0) - function.lineno + 1
            lines -= (ast.get_docstring(function, clean=False) or "").count("\n")
            told = function.args
            yield function, lines, len(told.posonlyargs + told.args + told.kwonlyargs) + bool(told.vararg or told.kwarg)


def names(of: Source) -> list[str]:
    """No file, class or function is called by a word that says nothing."""
    defined = [
        node
        for node in ast.walk(of.tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and BANNED.search(node.name)
    ]
    complaints = [f"{of.path}:{node.lineno} {node.name} is a banned name" for node in defined]
    if any(BANNED.search(part) for part in of.path.removesuffix(".py").split("/")):
        complaints.append(f"{of.path} is a banned name")
    return complaints


def pointers(of: Source) -> list[str]:
    """The tests and documents that a module's docstring names are there."""
    named = re.findall(r"\b(?:tests|docs)/[\w/]+\.(?:py|md)\b", ast.get_docstring(of.tree) or "")
    return [f"{of.path} names {path}, which is not there" for path in named if not (ROOT / path).exists()]


def sleeps(of: Source) -> list[str]:
    """Tests wait for a condition with `eventually`, never for a time."""
    may = "eventually" if of.path == "tests/conftest.py" else ""
    searched = [node for node in of.tree.body if getattr(node, "name", None) != may]
    called = [call for node in searched for call in ast.walk(node) if isinstance(call, ast.Call)]
    return [
        f"{of.path}:{call.lineno} sleeps"
        for call in called
        if ast.unparse(call.func) in ("time.sleep", "asyncio.sleep", "sleep")
    ]


def none(complaints: Iterable[str]) -> None:
    found = sorted(complaints)
    assert not found, "\n".join(["", *found])


# --- over all files -----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [layers, edges, decoders, lengths, names, pointers], ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Rule) -> None:
    none(complaint for each in sources("zchat") for complaint in rule(each))


def test_the_longest_of_all_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    every = [(each, *found) for each in sources("zchat") for found in functions(each)]
    longest = max(sources("zchat"), key=lambda each: each.text.count("\n"))
    lines, parameters = max(every, key=lambda row: row[2]), max(every, key=lambda row: row[3])
    with capsys.disabled():
        print(f"\nlongest module: {longest.text.count(chr(10))} lines, {longest.path}")
        print(f"longest function: {lines[2]} lines, {lines[0].path}: {lines[1].name}")
        print(f"most parameters: {parameters[3]}, {parameters[0].path}: {parameters[1].name}")
    assert longest.text.count("\n") <= LINES_MAX < 400, "smaller than it was"
    assert lines[2] <= FUNCTION_LINES_MAX < 69 and parameters[3] <= PARAMETERS_MAX < 17


@pytest.mark.parametrize("rule", [names, sleeps], ids=lambda rule: rule.__name__)
def test_every_test_file_keeps_the_rule(rule: Rule) -> None:
    none(complaint for each in sources("tests") for complaint in rule(each))


def test_what_is_pure_reaches_nothing_that_is_not() -> None:
    reached = {module_of(each.path): {m for m, _ in imports(each.tree, for_types=False)} for each in sources("zchat")}
    pure = {module_of(each.path) for each in sources("zchat") if (row := layer_of(each.path)) and not row.others}
    assert {"zchat.core.broker", "zchat.names", "zchat.wire.decoding"} <= pure
    for begin in pure:
        found, waiting = set[str](), [begin]
        while waiting:
            module = waiting.pop()
            found.add(module)
            waiting += [each for each in reached[module] & reached.keys() if each not in found]
        none(f"{begin} reaches {module}" for module in found - pure)


def test_every_module_is_imported_by_another() -> None:
    used = {"zchat", "zchat.__main__", "zchat.aio", "zchat.testing", "zchat.web"}  # the last three are for programs
    for each in sources("zchat"):
        for module, _line in imports(each.tree, for_types=True):
            if module != module_of(each.path):
                parts = module.split(".")
                used.update(".".join(parts[:end]) for end in range(1, len(parts) + 1))
        for node in ast.walk(each.tree):  # by name: the lazy tables of zchat and of its commands
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                used.add(node.value)
    none(f"{module} is imported by none" for module in modules() - used)


def test_no_two_classes_and_types_have_one_name() -> None:
    found: dict[str, list[str]] = {}
    for each in sources("zchat"):
        for node in each.tree.body:
            name = node.name if isinstance(node, ast.ClassDef) else ""
            is_option = each.path.startswith("zchat/cli/")  # which is called as the command line calls it
            if isinstance(node, ast.Assign | ast.AnnAssign) and not is_option:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                name = target.id if isinstance(target, ast.Name) else ""
            if each.path.startswith("zchat/aio/") and name in ("Client", "Publication", "Subscription"):
                continue  # a face has the names of the other
            if re.match(r"_?[A-Z][A-Za-z]*[a-z]", name):
                found.setdefault(name.removeprefix("_"), []).append(f"{each.path}:{node.lineno}")
    none(f"{name} is {' and '.join(places)}" for name, places in found.items() if len(places) > 1)


def test_every_pure_module_and_log_has_the_test_file_that_mirrors_it() -> None:
    mirrored = [each.path for each in sources("zchat") if each.path.startswith(("zchat/core/", "zchat/log/"))]
    mirrored += [f"zchat/{name}.py" for name in LEVEL_0]
    wanted = {re.sub(r"^zchat/(.*?)([^/]+)$", r"tests/\1test_\2", path) for path in mirrored if "__init__" not in path}
    none(f"{path} is missing" for path in wanted - {each.path for each in sources("tests")})


# --- each rule catches something ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (layers, "zchat/core/broker.py", "import zmq"),
        (layers, "zchat/core/broker.py", "def f():\n    from time import monotonic"),
        (layers, "zchat/core/broker.py", "from zchat.sockets import options"),
        (layers, "zchat/core/broker.py", "from zchat.log.sqlite.log import SqliteLog"),
        (layers, "zchat/core/broker.py", "from zchat.log import sqlite"),
        (layers, "zchat/core/log.py", "from zchat.log import retention"),
        (layers, "zchat/log/memory.py", "from zchat.core.broker import BrokerCore"),
        (layers, "zchat/log/sqlite/log.py", "from zchat.log.offline import repairing"),
        (layers, "zchat/log/memory.py", "import sqlite3"),
        (layers, "zchat/core/broker.py", "import urllib.request"),
        (layers, "zchat/names.py", "import pathlib"),
        (layers, "zchat/core/broker.py", "from zchat import client"),
        (layers, "zchat/names.py", "import zchat.core"),
        (layers, "zchat/client.py", "import zmq"),
        (layers, "zchat/client.py", "from zchat.sockets import broker"),
        (layers, "zchat/cli/send.py", "from zchat import client"),
        (layers, "zchat/cli/send.py", "import sqlite3"),
        (layers, "zchat/web/core/events.py", "import socketio"),
        (layers, "zchat/cli/send.py", "import starlette.routing"),
        (layers, "zchat/of_tomorrow.py", ""),
        (edges, "zchat/client.py", "try: pass\nexcept zmq.Again: pass"),
        (edges, "zchat/sockets/broker.py", "try: pass\nexcept (OSError, sqlite3.Error): pass"),
        (decoders, "zchat/log/sqlite/gap_detection.py", "decode = msgspec.msgpack.Decoder(int).decode"),
        (decoders, "zchat/core/ordering.py", "msgspec.msgpack.decode(frame)"),
        (lengths, "zchat/names.py", "pass\n" * 301),
        (lengths, "zchat/names.py", '"""More than 300 lines, as it has."""\n' + "pass\n" * 400),
        (lengths, "zchat/names.py", "def f():\n" + "    pass\n" * 60),
        (lengths, "zchat/names.py", f"def f({', '.join(f'p{number}' for number in range(16))}, *rest): pass"),
        (pointers, "zchat/names.py", '"""Tests: tests/test_none.py."""'),
        (names, "zchat/utils.py", ""),
        (names, "zchat/names.py", "class RoomManager: pass"),
        (names, "zchat/names.py", "def room_v2(): pass"),
        (sleeps, "tests/test_names.py", "time.sleep(1)"),
        (sleeps, "tests/conftest.py", "def eventually(): time.sleep(1)\ndef broker(): time.sleep(1)"),
    ],
)
def test_a_rule_catches_what_breaks_it(rule: Rule, path: str, text: str) -> None:
    assert len(rule(source(path, text))) == 1


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (layers, "zchat/core/broker.py", "if TYPE_CHECKING:\n    import zmq"),
        (layers, "zchat/sockets/broker.py", "import zmq, time"),
        (layers, "zchat/cli/send.py", "import zchat\nfrom zchat import Message"),
        (layers, "zchat/cli/serving.py", "from zchat.log.sqlite.log import SqliteLog"),
        (edges, "zchat/sockets/broker.py", "try: pass\nexcept (OSError, zmq.ZMQError): pass"),
        (decoders, "zchat/wire/decoding.py", "msgspec.msgpack.decode(frame)"),
        (decoders, "zchat/log/sqlite/schema.py", "msgspec.msgpack.Encoder()"),
        (lengths, "zchat/names.py", '"""More than 300 lines, as it has."""\n' + "pass\n" * 300),
        (pointers, "zchat/names.py", '"""Tests: tests/test_names.py."""'),
        (sleeps, "tests/conftest.py", "def eventually(): time.sleep(1)"),
    ],
)
def test_a_rule_lets_pass_what_keeps_it(rule: Rule, path: str, text: str) -> None:
    assert rule(source(path, text)) == []
