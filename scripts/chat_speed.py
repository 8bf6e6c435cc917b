#!/usr/bin/env python3
"""chat_speed.py: how fast `zchat chat` is: to open, to scroll, to be typed in while much comes, and how large.

    .venv/bin/python scripts/chat_speed.py [--messages 100000] [--rate 5000] [--seconds 8]

It runs the chat as people do, in a terminal (a pty), and reads its screen. A broker is started for it.
Exit status: 0; 1 where it computed for longer than a second to open.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyte

import zchat
import zchat.aio
from zchat.chat.screen.app import ChatApp
from zchat.profile import ChatProfile
from zchat.testing import broker

WIDTH, HEIGHT = 120, 40
WAIT_SECONDS = 60.0
PUBLISHER = """
import sys, time, zchat
address, room, rate, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
with zchat.connect(address, "busy") as client:
    begun, sent = time.monotonic(), 0
    while (now := time.monotonic() - begun) < seconds:
        while sent < now * rate:
            client.publish(room, f"message {sent} of many, as long as people write")
            sent += 1
        time.sleep(0.005)
    client.flush()
print(sent / (time.monotonic() - begun))
"""


class Terminal:
    """The chat in a terminal, whose screen is read."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self.screen = pyte.Screen(WIDTH, HEIGHT)
        self._stream = pyte.ByteStream(self.screen)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zchat", "chat", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        """As at a keyboard."""
        os.write(self._ours, text.encode())

    def until(self, condition: Callable[[], bool]) -> float:
        """Read until it is so; how long that took."""
        began = time.perf_counter()
        while not condition():
            if time.perf_counter() - began > WAIT_SECONDS:
                raise SystemExit("chat_speed: nothing came; the screen:\n" + "\n".join(self.screen.display))
            if select.select([self._ours], [], [], 1.0)[0]:
                self._stream.feed(os.read(self._ours, 1 << 20))
        return time.perf_counter() - began

    def shows(self, text: str) -> bool:
        """Whether it is on the screen."""
        return any(text in line for line in self.screen.display)

    @property
    def megabytes(self) -> float:
        """Of memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def cpu_seconds(self) -> float:
        """That it has taken so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Quit."""
        self.type("\x11")
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            self.until(lambda: self.process.poll() is not None)
        self.process.wait()


def milliseconds(seconds: list[float]) -> str:
    """Of many: the middle one, the 99th of a hundred, the largest."""
    ordered = sorted(seconds)
    return (
        f"median {statistics.median(ordered) * 1e3:.1f} ms, 99 % {ordered[int(len(ordered) * 0.99)] * 1e3:.1f} ms, "
        f"max {ordered[-1] * 1e3:.1f} ms"
    )


async def frames(address: str, pages: int) -> tuple[list[float], list[float], int]:
    """What a frame takes while one scrolls back: to move, and to paint all rows; and how many records are held."""
    async with zchat.aio.connect(address, "scroller") as client:
        app = ChatApp(client, ["long"], ChatProfile(), Path())
        async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
            while app._current is None or not app._current.window.records:
                await pilot.pause(0.02)
            taken, computed = [], []
            for _ in range(pages):
                began, computed_before = time.perf_counter(), time.thread_time()
                app.action_scroll_pages(-1)
                app.screen._compositor.render_strips()
                taken.append(time.perf_counter() - began)
                computed.append(time.thread_time() - computed_before)
                await pilot.pause(0)
            return taken, computed, len(app._current.window.records)


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast zchat chat is.")
    parser.add_argument("--messages", type=int, default=100_000, metavar="N", help="in the room")
    parser.add_argument("--rate", type=int, default=5_000, metavar="N", help="messages that come in a second")
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S", help="for so long")
    parser.add_argument("--pages", type=int, default=400, metavar="N", help="that are scrolled back")
    asked = parser.parse_args()
    with broker() as address:
        with zchat.connect(address, "ben") as ben:
            for number in range(asked.messages):
                ben.publish("long", f"message {number} of many, as long as people write")
            ben.flush()
            ben.send("empty", "nothing else")
        opened: list[float] = []
        computed: list[float] = []
        last = f"message {asked.messages - 1} of"
        for room, text in (("empty", "nothing else"), ("long", last), ("long", last)):
            terminal = Terminal(room, "-b", address, "-u", f"ann-{len(opened)}")
            opened.append(terminal.until(partial(terminal.shows, text)))
            computed.append(terminal.cpu_seconds)
            at_first = terminal.megabytes
            if len(opened) < 3:
                terminal.end()
        print(f"opens from the shell, Python's start too, {WIDTH}x{HEIGHT}:")
        for messages, wall, cpu in zip((1, asked.messages, asked.messages), opened, computed, strict=True):
            print(f"  with {messages:>7,} messages in the room: {wall:.2f} s, {cpu:.2f} s of them computing")
        for _ in range(60):
            terminal.type("\x1b[5~")
            terminal.until(lambda: True)
        taken, frames_computed, held = asyncio.run(frames(address, asked.pages))
        print(f"a frame while scrolling back {asked.pages} pages: {milliseconds(taken)}")
        print(f"  of which it computes: {milliseconds(frames_computed)}")
        print(f"memory: {at_first:.0f} MB when open; {held:,} records are held after {asked.pages} pages")
        publishing = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, address, "long", str(asked.rate), str(asked.seconds)],
            stdout=subprocess.PIPE,
            text=True,
        )
        terminal.type("\x1b[1;5F")  # Ctrl+End
        terminal.until(lambda: not terminal.shows("Esc goes"))
        latencies, typed, ends, computed_before = [], "", time.monotonic() + asked.seconds, terminal.cpu_seconds
        while time.monotonic() < ends:
            typed += "abcdefghij"[len(typed) % 10]
            terminal.type(typed[-1])
            latencies.append(terminal.until(partial(terminal.shows, typed[-40:])))
            if len(typed) >= 40:
                terminal.type("\x15")
                typed = ""
                terminal.until(lambda: not terminal.shows("abcdefghij"))
            select.select([], [], [], 0.05)
        rate = float(publishing.communicate()[0])
        print(f"key to screen while {rate:,.0f} messages come in a second: {milliseconds(latencies)}")
        share = (terminal.cpu_seconds - computed_before) / asked.seconds
        print(f"it computes for {share:.0%} of that time, and has {terminal.megabytes:.0f} MB then")
        terminal.end()
    return 0 if min(computed[1:]) < 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
