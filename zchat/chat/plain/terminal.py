"""The plain chat: what comes is written above the line that is typed; without a terminal lines go in and come out.

Rules of this file
1. The only escape sequences are those that draw the row that is typed, and bracketed paste. Where standard input or
   output is no terminal, or a dumb one, there are none.
2. A key at the end of the line writes that character and nothing else: a slow line and a screen reader need no more.
3. The terminal is as it was when this ends, however it ends.

Docs: docs/chat.md, "Plain". Tests: tests/chat/plain/test_chat.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from zchat.chat.plain.keys import KeyReader

PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
READ_BYTES = 65_536
LINES_AHEAD = 100  # that are read before the first of them is taken
WIDTH = 80  # where a terminal does not say


def is_terminal() -> bool:
    """Whether a line can be edited here."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def width() -> int:
    """Of the terminal."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or WIDTH
    except OSError:
        return WIDTH


def write(text: str) -> None:
    """On standard output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def keys(took: Callable[[str, str], None], ended: Callable[[], None]) -> Iterator[None]:
    """Have each key told, by its name and text, until the block ends; `ended` where there is no more input."""
    loop, reader, descriptor = asyncio.get_running_loop(), KeyReader(), sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def readable() -> None:
        try:
            data = os.read(descriptor, READ_BYTES)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(descriptor)
            ended()
            return
        for name, text in reader.read(data):
            if name == "ctrl+z":
                _suspend(descriptor, before)
            took(name, text)

    try:
        _begin(descriptor, before)
        loop.add_reader(descriptor, readable)
        yield
    finally:
        loop.remove_reader(descriptor)
        _end(descriptor, before)


@contextmanager
def lines(took: Callable[[str], None], ended: Callable[[], None], failed: Callable[[OSError], None]) -> Iterator[None]:
    """Have each line of standard input told until the block ends. A thread reads, as it may be a file, or nothing.

    It reads through a file of its own: Python cannot end while a thread waits inside of `sys.stdin`.
    """
    loop, room = asyncio.get_running_loop(), threading.Semaphore(LINES_AHEAD)
    stdin = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115  # the thread has it as long as it reads

    def take(line: bytes) -> None:
        room.release()
        if not is_over:
            took(line.decode(errors="replace").rstrip("\r\n"))

    def read() -> None:
        try:
            try:
                while room.acquire() and (line := stdin.readline()):
                    loop.call_soon_threadsafe(take, line)
                loop.call_soon_threadsafe(ended)
            except OSError as error:
                error.filename = "standard input"
                loop.call_soon_threadsafe(failed, error)
        except RuntimeError:
            pass  # the loop was closed

    is_over = False
    threading.Thread(target=read, daemon=True).start()
    try:
        yield
    finally:
        is_over = True


def _begin(descriptor: int, before: list[Any]) -> None:
    mode = [*before]
    mode[0] &= ~(termios.ICRNL | termios.IXON)
    mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
    write(PASTE_ON)


def _end(descriptor: int, before: list[Any]) -> None:
    try:
        write(f"\r\x1b[K{PASTE_OFF}")
    finally:
        with suppress(termios.error):  # it has gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _suspend(descriptor: int, before: list[Any]) -> None:
    _end(descriptor, before)
    os.kill(os.getpid(), signal.SIGSTOP)
    _begin(descriptor, before)
