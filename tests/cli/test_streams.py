"""Standard input and output of every command: pipes that do not block, full disks, other encodings."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zchat as api
from tests.conftest import COMMAND, BrokerProcess, environment, eventually, zchat

pytestmark = pytest.mark.slow  # each starts processes

Store = tuple[BrokerProcess, Path]

FULL = Path("/dev/full")
ROOMS = 300
PIPE_BYTES = 4096
LINES = "".join(f"{number}\n" for number in range(2_000))

COMMANDS = [
    "rooms",
    "rooms --json",
    "who",
    "who --json",
    "cursors",
    "cursors --json",
    "history many.** --raw",
    "history many.** --json",
    "listen many.** -e",
    "log export",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A broker with something of everything, and a copy of its folder that no broker has."""
    folder = tmp_path_factory.mktemp("streams")
    broker = BrokerProcess(folder).start()
    with api.connect(broker.address, "tester") as client:
        for number in range(ROOMS):
            client.publish(f"many.{number}", f"message {number} " + "x" * 40)
            client.set_cursor(f"cursor-{number}", number)
        client.flush(10)
        for number in range(80):
            with api.connect(broker.address, f"guest-{number}") as guest:
                guest.send("many.0", "hello")
        copy = folder / "copy"
        copy.mkdir()
        assert zchat("log", "backup", str(copy / "log.db"), "--data", str(folder / "data")).status == 0
        yield broker, copy
    broker.stop()


def started(args: str, store: Store, **how: Any) -> subprocess.Popen[bytes]:
    broker, folder = store
    env = {"ZCHAT_BROKER": broker.address, "ZCHAT_USER": "tester", "ZCHAT_DATA": str(folder)}
    return subprocess.Popen([*COMMAND, *args.split()], stderr=subprocess.PIPE, env=environment(env), **how)


def whole(args: str, store: Store) -> bytes:
    """What a command prints where nothing is in its way, but for the lines on itself, which differ each time."""
    out, _ = started(args, store, stdout=subprocess.PIPE).communicate(timeout=30)
    return steady(out)


def steady(out: bytes) -> bytes:
    return b"\n".join(line for line in out.split(b"\n") if not line.startswith((b"tester", b'{"user":"tester"')))


@pytest.mark.parametrize("args", COMMANDS)
def test_a_pipe_that_does_not_block_gets_all_of_it(store: Store, args: str) -> None:
    shown, told, status = into_a_small_pipe(args, store)
    assert (status, told) == (0, "")
    assert len(shown) > PIPE_BYTES, "no pipe takes it at once"
    assert steady(shown) == whole(args, store)


def into_a_small_pipe(args: str, store: Store, **how: Any) -> tuple[bytes, str, int]:
    """Run a command whose stdout does not block and holds little; what came out, what it said, its status."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(write_end, False)
    process = started(args, store, stdout=write_end, **how)
    os.close(write_end)
    if process.stdin is not None:
        process.stdin.write(LINES.encode())
        process.stdin.close()
    with open(read_end, "rb") as reader:
        shown = reader.read()
    assert process.stderr is not None
    with process.stderr:
        return shown, process.stderr.read().decode(), process.wait(30)


def test_acks_are_printed_into_a_pipe_that_does_not_block(store: Store) -> None:
    acks, told, status = into_a_small_pipe("send acked --json", store, stdin=subprocess.PIPE)
    assert (len(acks.splitlines()), told, status) == (LINES.count("\n"), "", 0)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("args", [*COMMANDS, "send full hello --json", "--help", "--version"])
def test_a_full_disk_is_one_line_and_status_1(store: Store, args: str) -> None:
    with FULL.open("w") as full:
        process = started(args, store, stdout=full)
    told = process.communicate(timeout=30)[1].decode()
    assert (told, process.returncode) == ("zchat: standard output: No space left on device\n", 1)


@pytest.mark.parametrize("args", COMMANDS)
def test_a_disk_that_takes_a_part_is_a_failure_too(store: Store, args: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        process = started(args, store, stdout=file, preexec_fn=limit_files)
    told = process.communicate(timeout=30)[1].decode()
    assert (told, process.returncode) == ("zchat: standard output: File too large\n", 1)
    assert (tmp_path / "out").stat().st_size == 1_000


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))


def test_an_import_from_a_pipe_that_does_not_block_takes_all_of_it(store: Store, tmp_path: Path) -> None:
    exported = whole("log export", store)
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    process = started(f"log import --data {tmp_path / 'new'}", store, stdin=read_end)
    os.close(read_end)
    with open(write_end, "wb", buffering=0) as writer:
        eventually((tmp_path / "new").exists, "it has begun, and has nothing to read yet")
        for at in range(0, len(exported), 1_000):
            writer.write(exported[at : at + 1_000])
    told = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 0, told
    assert whole(f"log export --data {tmp_path / 'new'}", store) == exported


def test_what_nobody_reads_on_stderr_holds_up_nothing(store: Store) -> None:
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.write(write_end, b"." * PIPE_BYTES)
    os.set_blocking(write_end, False)
    broker, _ = store
    done = subprocess.run([*COMMAND, "who", "-b", broker.address, "-u", "a b"], stderr=write_end, env=environment())
    os.close(write_end)
    os.close(read_end)
    assert done.returncode == 2


def with_closed(descriptor: int, args: str, store: Store) -> tuple[str, int]:
    """What a command says, and its status, where one of the standard streams is closed."""
    process = started(args, store, stdout=None, preexec_fn=lambda: os.close(descriptor))
    return process.communicate(timeout=30)[1].decode(), process.returncode


@pytest.mark.parametrize(
    "args", ["history many.1", "rooms", "tokens new al", "listen many.1 --since all --resume unseen -n 1", "--version"]
)
def test_what_cannot_be_printed_as_stdout_is_closed_is_no_success(store: Store, args: str, tmp_path: Path) -> None:
    more = f" --tokens {tmp_path / 'tokens'}" if args.startswith("tokens") else ""
    told, status = with_closed(1, args + more, store)
    assert told.endswith("zchat: standard output: it is closed\n") and status == 1
    with api.connect(store[0].address, "tester") as client:
        kept = {cursor.name: cursor.offset for cursor in client.cursors()}
    assert kept.get("unseen", 0) == 0, "what was not printed was not read"


@pytest.mark.parametrize(
    "args", ["send many.1 -", "send many.1", "replay - --to many.1", "request many.1", "seal accept"]
)
def test_what_cannot_be_read_as_stdin_is_closed_is_no_success(store: Store, args: str) -> None:
    assert with_closed(0, args, store) == ("zchat: standard input: it is closed\n", 1)


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_what_needs_no_stream_that_is_closed_does_its_work(store: Store, descriptor: int) -> None:
    assert with_closed(descriptor, "send sent hello", store) == ("", 0)


LOCALES = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {
        "LC_ALL": "POSIX",
        "LANG": "",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "latin-1:strict",
    },
]


@pytest.mark.parametrize("more", LOCALES, ids=len)
def test_text_is_utf_8_whatever_the_locale_says(broker: BrokerProcess, more: dict[str, str]) -> None:
    def run(*args: str) -> tuple[str, str, int]:
        done = zchat(*args, broker=broker, env=more)
        return done.stdout, done.stderr, done.status

    assert run("send", "会议", "übung 你好", "-u", "李明", "-H", "ключ=да", "--event", "été") == ("", "", 0)
    assert run("history", "会议", "--format", "¿{room} {user} {event} {body} {headers}") == (
        '¿会议 李明 été übung 你好 {"ключ": "да"}\n',
        "",
        0,
    )
    assert run("rooms") == ("ROOM  MEMBERS  LAST\n会议  0        1\n", "", 0)
    assert "李明" in run("who")[0] and "李明" in run("who", "--json")[0]
    assert run("cursors", "schlüssel", "--set", "1", "--json")[0].startswith('{"name":"schlüssel"')
    assert "schlüssel" in run("cursors")[0]
    shown = run("send", "zu viel ✗", "x")
    assert shown == ("", 'zchat: room "zu viel ✗": U+0020 SPACE is not allowed\n', 2)
