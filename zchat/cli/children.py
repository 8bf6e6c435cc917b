"""Waiting for a command that was started, while signals are handled as they come.

Python calls a handler between two of its own steps. A signal that comes just before a wait in the kernel would be
noticed only when that is over, and a command may run for hours. So here every signal, also the one that the command has
ended, writes into a pipe (signal.set_wakeup_fd), and that pipe is what is waited for.

Tests: tests/cli/test_run.py.
"""

from __future__ import annotations

import os
import signal
import subprocess

BYTES = 64  # each a signal


def ended(process: subprocess.Popen[bytes]) -> int:
    """Its status, once it has ended. For the main thread; raises what a handler raises."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    wakeup = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        while (status := process.poll()) is None:
            os.read(reads, BYTES)
        return status
    finally:
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
        signal.set_wakeup_fd(wakeup)
        os.close(reads)
        os.close(writes)
