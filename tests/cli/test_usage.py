"""What a user gets wrong at first, or has on an odd machine: one line says what is wrong, never an internal error."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import COMMAND, BrokerProcess, environment, zchat
from zchat.cli.usage import COMMANDS_MEANT, OPTIONS_MEANT, is_text, suggestion

OPTIONS = ["--until", "--last", "--since", "--after", "--count", "--timeout", "--json", "--user", "--broker", "--help"]
DASHES = "hint: a text that begins with a dash goes after two: zchat send ROOM -- -5\n"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--cuont", "--count"),
        ("--jsno", "--json"),
        ("--tiemout", "--timeout"),
        ("--users", "--user"),
        ("--begin", "--since"),
        ("--tail", "--last"),
        ("--host", "--broker"),
        ("--before", "--until"),
        ("--port", ""),  # of a broker, which this command is not
        ("-x", ""),
    ],
)
def test_only_what_is_near_is_suggested(given: str, meant: str) -> None:
    assert suggestion(given, OPTIONS, OPTIONS_MEANT) == (f', did you mean "{meant}"?' if meant else "")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("sned", "send"), ("list", "rooms"), ("users", "who"), ("check", "log check"), ("frob", "")],
)
def test_a_command_that_there_is_not_may_be_known_by_another_name(given: str, meant: str) -> None:
    commands = ["broker", "send", "listen", "history", "who", "rooms", "cursors", "log"]
    assert suggestion(given, commands, COMMANDS_MEANT) == (f', did you mean "{meant}"?' if meant else "")


def test_a_text_is_what_looks_like_no_option() -> None:
    assert all(map(is_text, ["-5", "- milk", "-", "--->", "-5 degrees", "-1=x", "--- cut ---", "-hello world"]))
    assert not any(map(is_text, ["--verbose", "-x", "--since=2h", "--format={body} {user}", "--no-self"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "stderr"),
    [
        (["send", "a", "-5 degrees"], f"zchat: no such option: -5\n{DASHES}"),
        (["send", "a", "- milk"], f"zchat: no such option: -\n{DASHES}"),
        (["send", "a", "--loud"], "zchat: no such option: --loud\nhint: zchat send --help\n"),
        (["send", "a", "--jsno"], 'zchat: no such option: --jsno, did you mean "--json"?\nhint: zchat send --help\n'),
        (["listen", "a", "--zap", "5"], "zchat: no such option: --zap\nhint: zchat listen --help\n"),
        (["check"], 'zchat: no command "check", did you mean "log check"?\nhint: zchat --help\n'),
    ],
)
def test_what_is_wrong_and_what_was_meant(args: list[str], stderr: str) -> None:
    shown = zchat(*args)
    assert (shown.stdout, shown.stderr, shown.status) == ("", stderr, 2)


# --- bytes that are no UTF-8 ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "args",
    [
        b"send a\xff x",
        b"send a x -H k\xff=v",
        b"send a x -u u\xff",
        b"send a x -b h\xff",
        b"listen a --resume k\xff",
        b"history p\xff",
        b"history a --since t\xff",
        b"history a --after t\xff",
        b"history a --format {b\xff}",
        b"who p\xff",
        b"cursors p\xff",
        b"p\xff",
        b"log p\xff",
        b"log remove --rooms r\xff",
        b"broker --memory --retain a\xff=7d",
        b"broker --memory --bind h\xff:1",
        b"broker --sync \xff",
    ],
)
def test_bytes_that_are_no_utf_8_are_refused_in_one_line(args: bytes) -> None:
    shown = zchat(*args.split(), env={"ZCHAT_BROKER": "tcp://127.0.0.1:9"})
    assert (shown.stdout, shown.status) == ("", 2)
    assert "\\udcff" in shown.stderr or "UTF-8" in shown.stderr
    assert "internal error" not in shown.stderr
    assert shown.stderr.startswith("zchat: ") and len(shown.stderr.splitlines()) <= 2


@pytest.mark.slow
def test_a_template_and_a_text_go_as_they_are(broker: BrokerProcess) -> None:
    assert zchat("send", "a", b"x\xff", broker=broker).status == 0
    more = {"ZCHAT_BROKER": broker.address, "ZCHAT_USER": "tester"}
    shown = zchat("send", "a", "x", "--event", b"e\xff", broker=broker)
    assert (shown.stderr, shown.status) == ("zchat: text that no UTF-8 can hold: surrogates not allowed\n", 2)
    command = [*map(os.fsencode, COMMAND), b"history", b"a", b"--format", b"<\xff {body}>"]
    assert subprocess.run(command, env=environment(more), capture_output=True).stdout == b"<\xff x\\udcff>\n"


@pytest.mark.slow
def test_a_log_may_be_in_a_folder_of_any_name(tmp_path: Path) -> None:
    data = os.fsencode(tmp_path) + b"/d\xff"
    line = '{"room":"a","offset":1,"user":"u","time":"2026-09-20T12:34:56.123456Z","body":"v2"}\n'
    assert zchat("log", "import", "--data", data, stdin=line).status == 0
    for action in ("check", "usage", "repair"):
        shown = zchat("log", action, "--data", data)
        assert (shown.status, "error" in shown.stderr) == (0, False), shown
    assert zchat("log", "backup", os.fsencode(tmp_path) + b"/b\xff.db", "--data", data).status == 0
    assert '"body":"v2"' in zchat("log", "export", "--data", data).stdout
    assert zchat("broker", "--no-watch", "--data", data, "--bind", "tcp://127.0.0.1:x").status == 2


# --- odd machines --------------------------------------------------------------------------------------


def unknown(*args: str, **env: str) -> tuple[str, int]:
    """Run as a user whom the system has no name and no home for; stderr and status."""
    kept = {name: value for name, value in environment(env).items() if name not in ("HOME", "USER", "LOGNAME")}
    done = subprocess.run(
        ["unshare", "--user", "--map-user=54321", *COMMAND, *args],
        capture_output=True,
        text=True,
        env={name: value for name, value in {**kept, **env}.items() if not name.startswith("XDG_")},
        timeout=30,
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    return done.stderr, done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("home", [{}, {"HOME": ""}], ids=["unset", "empty"])
def test_without_a_home_the_folder_of_the_log_must_be_named(home: dict[str, str]) -> None:
    told = "zchat: HOME is not set: name the folder of the log with --data or ZCHAT_DATA\n"
    assert unknown("log", "check", **home) == (told, 2)
    assert unknown("broker", "--bind", "tcp://127.0.0.1:0", **home) == (told, 2)
    assert unknown("--install-completion", "bash", **home)[1] == 2


@pytest.mark.slow
def test_who_has_no_name_is_anonymous(broker: BrokerProcess) -> None:
    assert unknown("send", "a", "x", ZCHAT_BROKER=broker.address) == ("", 0)
    assert '"user":"anonymous"' in zchat("history", "a", "--json", broker=broker).stdout


@pytest.mark.slow
def test_without_home_it_is_that_of_the_user(tmp_path: Path) -> None:
    shown = zchat("log", "check", env={"HOME": "", "XDG_DATA_HOME": str(tmp_path)})
    assert str(tmp_path) in shown.stderr, "a folder that is named is the one"
    shown = zchat("log", "check", env={"HOME": "", "XDG_DATA_HOME": ""})
    assert f"{Path('~').expanduser()}/" in shown.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DOMAIN\\alice", "john doe", "alice@corp.example"])
@pytest.mark.parametrize("args", [["send", "a", "x"], ["rooms"]])
def test_a_login_name_that_can_be_no_user_says_that_it_is_the_login_name(name: str, args: list[str]) -> None:
    env = {"LOGNAME": name, "ZCHAT_BROKER": "tcp://127.0.0.1:9"}
    shown = zchat(*args, env=env)
    error, hint = shown.stderr.splitlines()
    assert (shown.stdout, shown.status) == ("", 2)
    assert error.startswith(f'zchat: login name "{name}": ')
    assert hint == "hint: say who you are with --user or ZCHAT_USER"
    assert zchat(*args, "-u", "alice", "--wait", "0.1", env=env).status == 3
