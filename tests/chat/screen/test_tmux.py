"""A real run in tmux: a second user by `zchat send`, and a broker that is started anew meanwhile."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import COMMAND, BrokerProcess, environment, eventually, zchat

pytestmark = [
    pytest.mark.slow,  # each starts processes
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]


class Tmux:
    """A terminal in a tmux of its own."""

    def __init__(self, *command: str, size: tuple[int, int] = (80, 24)) -> None:
        self._name = f"zchat-{secrets.token_hex(4)}"
        variables = {**environment({"COLORTERM": "truecolor"}), "PATH": os.environ["PATH"]}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):  # a size that is said goes before that of the terminal
            variables.pop(name, None)
        line = shlex.join(command) + "; echo ended with $?; cat"
        subprocess.run(
            [*self._tmux("new-session"), "-d", "-x", str(size[0]), "-y", str(size[1]), line], env=variables, check=True
        )

    def keys(self, *keys: str) -> None:
        """Press them, as tmux calls them."""
        subprocess.run([*self._tmux("send-keys"), *keys], check=True)

    def type(self, text: str) -> None:
        """Type a text."""
        subprocess.run([*self._tmux("send-keys"), "-l", text], check=True)

    def screen(self, *options: str) -> str:
        """What is shown."""
        return subprocess.run(
            [*self._tmux("capture-pane"), "-p", *options], capture_output=True, text=True, check=True
        ).stdout

    def shows(self, *texts: str) -> None:
        """Wait for them."""

        def shown() -> bool:
            self.last = self.screen()
            return all(text in self.last for text in texts)

        try:
            eventually(shown, f"it shows {texts}")
        except BaseException:
            print(self.last)
            raise

    def resize(self, width: int, height: int) -> None:
        """Another size."""
        subprocess.run([*self._tmux("resize-window"), "-x", str(width), "-y", str(height)], check=True)

    def end(self) -> None:
        """All of it."""
        subprocess.run(self._tmux("kill-server"), check=False, capture_output=True)

    def _tmux(self, command: str) -> list[str]:
        return ["tmux", "-L", self._name, "-f", "/dev/null", command]


@pytest.fixture
def start_tmux() -> Iterator[Callable[..., Tmux]]:
    """Starts them; they end with the test."""
    started: list[Tmux] = []

    def start(*command: str, size: tuple[int, int] = (80, 24)) -> Tmux:
        started.append(Tmux(*command, size=size))
        return started[-1]

    yield start
    for each in started:
        each.end()


def test_a_chat_through_a_restart_of_the_broker(broker: BrokerProcess, start_tmux: Callable[..., Tmux]) -> None:
    tmux = start_tmux(*COMMAND, "chat", "general", "-b", broker.address, "-u", "ann")
    tmux.shows("#general", "ann joined", "Quit")
    assert zchat("send", "general", "hello ann", "--user", "ben", broker=broker).status == 0
    tmux.shows("ben │ hello ann")
    tmux.type("first line")
    tmux.keys("M-Enter")
    tmux.type("second line")
    tmux.keys("Enter")
    tmux.shows("ann │ first line", "│ second line")
    broker.stop()
    tmux.shows("not connected")
    tmux.type("typed while it is away")
    tmux.keys("Enter")
    tmux.type("half a line")
    tmux.shows("◌", "typed while it is away", "half a line")
    broker.start()
    tmux.shows("│ typed while it is away", "half a line")
    eventually(lambda: "◌" not in tmux.screen() and "not connected" not in tmux.screen(), "all is as it was")
    assert zchat("send", "@ann", "psst", "--user", "ben", broker=broker).status == 0
    tmux.shows("@ben", "1 for you elsewhere, Alt+A")
    assert "\x1b[38;2;" in tmux.screen("-e"), "in colours"
    tmux.keys("M-a")
    tmux.shows("@ben", "│ psst")
    tmux.resize(40, 20)
    tmux.shows("@ben", "\n  psst\n")
    tmux.keys("C-q")
    tmux.shows("ended with 0")
    assert "psst" not in tmux.screen(), "the terminal is as it was"


def test_forty_columns_and_no_colour(shared_broker: BrokerProcess, start_tmux: Callable[..., Tmux]) -> None:
    arguments = ["chat", "plain-colours", "-b", shared_broker.address, "-u", "ann"]
    tmux = start_tmux("env", "NO_COLOR=1", *COMMAND, *arguments, size=(40, 20))
    tmux.shows("ann joined")
    assert zchat("send", "plain-colours", "hello ann", "--user", "ben", broker=shared_broker).status == 0
    tmux.shows("ben ", "\n  hello ann\n")
    tmux.keys("F2")
    tmux.keys("F2")
    reds = {tuple(part.split("m")[0].split(";")) for part in tmux.screen("-e").split("\x1b[38;2;")[1:]}
    assert all(red == green == blue for red, green, blue in reds), "shades of grey"
    tmux.type("/quit")
    tmux.keys("Enter")
    tmux.shows("ended with 0")
