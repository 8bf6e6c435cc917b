"""Clients that nobody here wrote: netcat, telnet, and Node's net as in examples/net_client.js."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

import zchat
from tests.conftest import BrokerProcess, Running, eventually
from tests.conftest import zchat as command
from tests.tcp.conftest import Starts

pytestmark = pytest.mark.slow  # each starts processes

NODE_CLIENT = Path(__file__).parent.parent.parent / "examples" / "net_client.js"

Run = Callable[..., "Tool"]


class Tool:
    """A program that runs, and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], printed: Path) -> None:
        self.process, self._printed = process, printed

    def type(self, text: str) -> None:
        stdin: IO[bytes] | None = self.process.stdin
        assert stdin is not None
        stdin.write(text.encode())
        stdin.flush()

    def shows(self, text: str) -> str:
        return str(eventually(lambda: text in self.printed and self.printed, f"{text!r} in {self._printed.name}"))

    @property
    def printed(self) -> str:
        return self._printed.read_text(errors="backslashreplace")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    tools: list[Tool] = []

    def start(program: str, *args: str) -> Tool:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        printed = tmp_path / f"{program}-{len(tools)}"
        with printed.open("wb") as file:
            process = subprocess.Popen([program, *args], stdin=subprocess.PIPE, stdout=file, stderr=file)
        tools.append(Tool(process, printed))
        return tools[-1]

    yield start
    for tool in tools:
        tool.process.kill()
        tool.process.wait()
        if tool.process.stdin is not None:
            tool.process.stdin.close()


def test_node_netcat_and_terminals_are_in_one_room(
    broker: BrokerProcess, start_gateway: Starts, start_zchat: Callable[..., Running], run: Run
) -> None:
    gateway = start_gateway(broker, "--raw")
    at = [gateway.host, str(gateway.port)]
    listener = start_zchat("listen", "general", "-v", broker=broker).live()
    first, second = (run("node", str(NODE_CLIENT), *reversed(at)) for _ in range(2))
    netcat = run("nc", *at)
    with zchat.connect(broker.address, "alice") as alice:
        eventually(lambda: len(alice.who("general")) == 4, "all are in the room")
    first.type("hello from node 世界\n")
    for tool in (first, second):
        tool.shows("hello from node 世界\n")
    netcat.shows("hello from node 世界")  # as it was written: without a newline
    netcat.type("from netcat\n")
    for tool in (first, second):
        tool.shows("from netcat\n\n")  # that of netcat, and that of console.log
    command("send", "general", "from a terminal", broker=broker)
    for tool in (first, second, netcat):
        tool.shows("from a terminal\n")
    assert netcat.printed == "hello from node 世界from netcat\nfrom a terminal\n"
    eventually(lambda: len(listener.lines) == 3, "the listener has all")
    shown = [re.sub(r"^\[.*?\] (guest-\w+|tester): ", "", line) for line in listener.lines]
    assert shown == ["hello from node 世界", "from netcat", "from a terminal"]
    first.process.stdin.close()  # type: ignore[union-attr]
    assert first.process.wait(30) == 0
    with zchat.connect(broker.address, "alice") as alice:
        eventually(lambda: len(alice.who("general")) == 3, "it has left")


def test_netcat_reads_what_is_piped_into_it(broker: BrokerProcess, start_gateway: Starts, run: Run) -> None:
    gateway = start_gateway(broker)
    netcat = run("nc", "-N", gateway.host, str(gateway.port))
    netcat.type("one\ntwo")
    netcat.process.stdin.close()  # type: ignore[union-attr]
    assert netcat.process.wait(30) == 0
    shown = netcat.printed
    assert re.search(r"\nguest-\w+: one\n(.*\n)*guest-\w+: two\n(.*\n)*\* goodbye\n$", shown), shown


def test_telnet_talks(broker: BrokerProcess, start_gateway: Starts, run: Run) -> None:
    gateway = start_gateway(broker)
    telnet = run("telnet", gateway.host, str(gateway.port))
    telnet.shows("/help lists what you can do")
    telnet.type("/nick ann\nhello\n")
    telnet.shows("ann: hello")
    telnet.type("/quit\n")
    telnet.shows("* goodbye")
    telnet.process.wait(30)
