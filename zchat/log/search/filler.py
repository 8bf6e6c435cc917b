"""Has the index filled whenever it is far enough behind the log: a thread that waits, and a process that works.

Rules of this file
1. A small log has no index, and costs nothing: it is looked through faster than a process starts.
2. What fails is told once, and tried again after a pause.

Tests: tests/log/search/test_filler.py.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from zchat.core.log import Log
from zchat.log.search.index import SearchIndex

BEHIND_MAX = 10_000  # offsets: to look through them takes some milliseconds
LOOK_SECONDS = 1.0
PAUSE_SECONDS = 60.0  # after it failed


class Filler:
    """Of one log, until `close`."""

    def __init__(self, log: Log, folder: Path, tell: Callable[[str], object]) -> None:
        self._log = log
        self.index = SearchIndex(folder, log.log_id, log.starts())
        self._folder = folder
        self._tell = tell
        self._is_over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="zchat-search", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the process and the thread."""
        self._is_over.set()
        process = self._process
        if process is not None:
            process.terminate()
        self._thread.join()

    def _run(self) -> None:
        told = False
        pause = LOOK_SECONDS
        while not self._is_over.wait(pause):
            pause = LOOK_SECONDS
            head = self._log.head()
            if head <= BEHIND_MAX or head - self.index.upto() <= BEHIND_MAX:
                continue
            status = self._fill()
            if status and not self._is_over.is_set():
                pause = PAUSE_SECONDS
                if not told:
                    told = True
                    self._tell(f"the index of words cannot be filled ({status}): searches look through the log")

    def _fill(self) -> str:
        """Why not; empty when it is done."""
        command = [sys.executable, "-m", "zchat.log.search.filling", str(self._folder)]
        try:
            process = self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except OSError as error:
            return str(error.strerror)
        if self._is_over.is_set():
            process.terminate()
        status = process.wait()
        self._process = None
        return f"status {status}" if status else ""
