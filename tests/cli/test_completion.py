"""What Tab offers: as the shells ask for it, and in a bash on a terminal."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.test_terminal import Terminal
from tests.conftest import COMMAND, BrokerProcess, environment, zchat
from zchat.cli import COMMANDS
from zchat.cli.completion import ANSWER_SECONDS
from zchat.cli.log import LogAction

NOBODY = "tcp://127.0.0.1:9"


def offered(words: str, broker: BrokerProcess | None = None) -> list[str]:
    """What is offered to bash for the last of the words."""
    asked = {"_ZCHAT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    shown = zchat(env={"ZCHAT_BROKER": broker.address if broker else NOBODY, "ZCHAT_USER": "tester", **asked})
    assert (shown.stderr, shown.status) == ("", 0)
    return shown.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_completion_script(shell: str) -> None:
    script = zchat("--show-completion", shell, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert (script.stderr, script.status) == ("", 0)
    assert "_ZCHAT_COMPLETE" in script.stdout


def test_completion_offers_commands_and_options() -> None:
    assert offered("zchat ") == list(COMMANDS)
    assert offered("zchat listen --la") == ["--last", "--last-per-room"]
    assert offered("zchat log ") == list(LogAction)
    assert offered("zchat log re") == ["repair", "remove"]
    assert offered("zchat help li") == ["listen"]
    assert offered("zchat broker --sync ") == ["full", "normal"]


@pytest.mark.slow
def test_names_are_those_that_the_broker_knows(broker: BrokerProcess) -> None:
    for room in ("general", "ops.web", "ops.db"):
        zchat("send", room, "x", broker=broker)
    zchat("cursors", "billing", "--set", "0", broker=broker)
    for command in ("send", "listen", "history", "history general", "who"):
        assert offered(f"zchat {command} ", broker) == ["general", "ops.db", "ops.web"]
    assert offered("zchat send op", broker) == ["ops.db", "ops.web"]
    assert offered(f"zchat send -b {broker.address} gen") == ["general"], "the broker that the line names"
    assert offered("zchat cursors ", broker) == offered("zchat listen a --resume b", broker) == ["billing"]
    assert offered("zchat cursors -u other ", broker) == [], "of the user that the line names"
    assert offered("zchat send @ gen", broker) == [], "bash makes two words of @gen"
    assert offered("zchat send @ te", broker) == offered("zchat send @", broker) == ["@tester"]
    assert offered("zchat history general --from te", broker) == ["tester"]


@pytest.mark.slow
@pytest.mark.parametrize("address", [NOBODY, "nowhere.invalid", "no:port"])
def test_without_a_broker_no_name_is_offered_and_nobody_waits(address: str) -> None:
    began = time.monotonic()
    assert offered(f"zchat listen -b {address} ge") == []
    assert time.monotonic() - began < ANSWER_SECONDS + 4, "not the 5 s of --wait"


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_offers_files_only_where_a_path_is_wanted(shell: str) -> None:
    def asked(words: str) -> subprocess.CompletedProcess[str]:
        more = {
            "_ZCHAT_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            "_TYPER_COMPLETE_ARGS": words,
            "_TYPER_COMPLETE_FISH_ACTION": "is-args",
            "ZCHAT_BROKER": NOBODY,
        }
        return subprocess.run(COMMAND, env=environment(more), capture_output=True, text=True, timeout=30)

    said, status = {"bash": ("/\n", 0), "zsh": ("_files\n", 0), "fish": ("", 1)}[shell]
    for words in (
        "zchat broker --data ",
        "zchat broker --config ",
        "zchat keys list --keys ",
        "zchat log check --data /va",
        "zchat log backup mon",
    ):
        shown = asked(words)
        assert (shown.stdout, shown.stderr, shown.returncode) == (said, "", status), words
    for words in ("zchat listen ", "zchat send general ", "zchat listen a --last ", "zchat cursors x"):
        shown = asked(words)
        assert (shown.stdout.strip(), shown.stderr, shown.returncode) == ("", "", 0), words


@pytest.mark.slow
def test_tab_in_a_bash_on_a_terminal(broker: BrokerProcess, tmp_path: Path) -> None:
    zchat("send", "general", "x", broker=broker)
    (tmp_path / "some-file").touch()
    command = tmp_path / "bin" / "zchat"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    script = zchat("--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}).stdout
    (tmp_path / "rc").write_text(f"PATH={command.parent}:$PATH\ncd {tmp_path}\n{script}\nPS1='ready '\n")
    shell = Terminal(["bash", "--rcfile", str(tmp_path / "rc"), "-i"], ZCHAT_BROKER=broker.address)
    try:
        shell.shows("ready ")
        for typed, becomes in {
            "zchat lis": "zchat listen .",
            "zchat listen gen": "zchat listen general .",
            "zchat send @te": "zchat send @tester .",
            "shopt -u hostcomplete; zchat send @te": "shopt -u hostcomplete; zchat send @tester .",
            "zchat send @t": "zchat send @tester .",
            "zchat listen so": "zchat listen so.",
            "zchat log backup so": "zchat log backup some-file .",
            "zchat log check --data=so": "zchat log check --data=some-file .",
        }.items():
            shell.type(f"{typed}\t\x01echo '\x05'.\n")  # Ctrl-A, Ctrl-E: what the line has become is printed
            shell.shows(f"{becomes}\n")
    finally:
        shell.process.kill()
        shell.process.wait()
