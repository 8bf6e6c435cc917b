"""The standard streams, for every command: UTF-8 whatever the locale says, and one way of reading and writing.

Rules of this file
1. What is written is written whole, or the command fails: where a pipe does not block, because whoever shares it with
   us made it so, it is waited for. `sys.stdout` and `sys.stderr` write through here, so `print` and help do too.
2. Trouble with standard output is one of two: ReaderGone, or one line and status 1 (OutputFailed). Trouble with
   standard error is none: the status still tells. Who does not take it is waited for a moment only.
3. Where a standard stream is closed, /dev/null is opened in its place: else the next socket or file would get
   descriptor 1, and what is printed would go into it. To read standard input or write standard output fails all
   the same, as it does where they are closed: what is not read or not written is no success.

Tests: tests/cli/test_streams.py, tests/cli/test_exit_status.py.
"""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from zchat.cli.interrupts import ReaderGone, interrupts
from zchat.errors import ZchatError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

STDIN, STDOUT, STDERR = 0, 1, 2
_IN_PLACE = {STDIN: os.O_WRONLY, STDOUT: os.O_RDONLY, STDERR: os.O_RDWR}  # of one that is closed
STDERR_SECONDS = 1.0  # what waits longer to be taken from a pipe is left out
BUFFER_BYTES = 65_536  # what a pipe takes at once


class InputFailed(ZchatError):
    """Standard input cannot be read."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard input: {_why(error)}")


class OutputFailed(ZchatError):
    """Standard output cannot be written: a full disk, most often."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {_why(error)}")


def be_utf_8() -> None:
    """Begin the program again where the locale has another encoding: arguments and files' names are UTF-8 too."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def write(data: ReadableBuffer) -> None:
    """Write to standard output, all of it. Raises ReaderGone, OutputFailed; what comes after that is dropped."""
    _output.write(data)


def read(size: int) -> bytes:
    """What is there of standard input, at most so much; it waits for the first of it. Empty at the end."""
    while True:
        try:
            return os.read(STDIN, size)
        except BlockingIOError:
            select.select([STDIN], [], [])
        except OSError as error:
            raise InputFailed(error) from None


def standard_input() -> BinaryIO:
    """Standard input as a file."""
    return io.BufferedReader(_Input(), BUFFER_BYTES)


def is_pipe(descriptor: int) -> bool:
    """Whether somebody else has the other end."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def watch_reader() -> None:
    """End the command when the reader of standard output goes, also while it has nothing to write."""
    if not is_pipe(STDOUT):
        return
    interrupts.install_reader_gone()
    main = threading.main_thread().ident
    when_reader_goes(lambda: signal.pthread_kill(main or 0, signal.SIGPIPE))  # to the thread that may wait


def when_reader_goes(tell: Callable[[], object]) -> None:
    """Call this in a thread of its own when the reader of standard output goes, where somebody has the other end."""
    if not is_pipe(STDOUT):
        return

    def wait() -> None:
        poll = select.poll()
        poll.register(STDOUT, 0)  # nothing but its end
        poll.poll()
        tell()

    threading.Thread(target=wait, name="zchat-reader", daemon=True).start()


def open_all() -> None:
    """Have all three."""
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, _IN_PLACE[descriptor])
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = os.fdopen(STDIN, closefd=False)
    sys.stdout, sys.stderr = _text(_output), _text(_Errors(STDERR))


# --- parts ------------------------------------------------------------------------------------------


def _why(error: OSError) -> str:
    return "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)


def _text(stream: _Stream) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(stream, BUFFER_BYTES)
    return io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=stream.isatty())


def _write(descriptor: int, data: ReadableBuffer, deadline: float | None) -> None:
    """All of it, or what is taken until the deadline."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([], [descriptor], [], seconds)[1]:
                break


class _Stream(io.RawIOBase):
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True


class _Output(_Stream):
    _is_lost = False  # a part of the data is: what comes later must not follow it, and fails no second time

    def write(self, data: ReadableBuffer) -> int:
        size = memoryview(data).nbytes
        if self._is_lost:
            return size
        self._is_lost = True
        try:
            _write(self._descriptor, data, None)
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            raise OutputFailed(error) from None
        self._is_lost = False
        return size


class _Errors(_Stream):
    def write(self, data: ReadableBuffer) -> int:
        try:
            _write(self._descriptor, data, time.monotonic() + STDERR_SECONDS)
        except OSError:
            pass  # nobody reads it any more
        return memoryview(data).nbytes


class _Input(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        into = memoryview(buffer)
        came = read(into.nbytes)
        into[: len(came)] = came
        return len(came)


_output = _Output(STDOUT)
