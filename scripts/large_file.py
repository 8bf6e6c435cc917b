#!/usr/bin/env python3
"""large_file.py: a file goes through a room, and three processes are watched: how much memory they take.

    .venv/bin/python scripts/large_file.py --megabytes 200 --folder /var/tmp

Exit status: 0; 1 when another file arrives, or a process takes more than 200 MB; 2 usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MEMORY_BYTES_MAX = 200_000_000
ZCHAT = (sys.executable, "-m", "zchat")
LOOK_SECONDS = 0.02


def main() -> int:
    """Parse, send, compare, print."""
    parser = argparse.ArgumentParser(description="Send a large file, and watch the memory that it takes.")
    parser.add_argument("--megabytes", type=int, default=200, help="of the file (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where it lies; default: the temporary folder")
    wanted = parser.parse_args()
    if wanted.megabytes < 2:
        parser.error("at least 2 megabytes")
    with tempfile.TemporaryDirectory(prefix="zchat-large-file-", dir=wanted.folder) as name:
        return send(Path(name), wanted.megabytes)


def send(folder: Path, megabytes: int) -> int:
    """From one process to another, over a broker with its log on disk."""
    path = folder / "large"
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    listening = ("--bind", "tcp://127.0.0.1:0", "--data", str(folder / "data"))
    broker = subprocess.Popen([*ZCHAT, "broker", "--no-watch", *listening], stderr=subprocess.PIPE, text=True)
    assert broker.stderr is not None
    os.environ["ZCHAT_BROKER"] = broker.stderr.readline().split("ready on ")[1].split()[0]
    saving = ("listen", "den", "--save", str(folder / "in"), "-n", "1", "--json", "-v")
    receiver = subprocess.Popen([*ZCHAT, *saving], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert receiver.stderr is not None
        receiver.stderr.readline()  # it is live
        began = time.monotonic()
        sender = subprocess.Popen([*ZCHAT, "send", "den", "--file", str(path)])
        processes: dict[str, subprocess.Popen[Any]] = {"broker": broker, "sender": sender, "receiver": receiver}
        most = dict.fromkeys(processes, 0)
        while receiver.poll() is None and sender.poll() in (None, 0):
            for name, process in processes.items():
                most[name] = max(most[name], memory_of(process.pid))
            time.sleep(LOOK_SECONDS)
        seconds = time.monotonic() - began
        told = json.loads(receiver.communicate()[0] or "{}") if sender.wait() == 0 else {}
    finally:
        for process in (receiver, broker):
            process.terminate()
            process.wait()
    with path.open("rb") as sent:
        is_right = told.get("sha256") == hashlib.file_digest(sent, "sha256").hexdigest()
    print(f"{'arrived' if is_right else 'another'} {megabytes} MB in {seconds:.1f} s, {megabytes / seconds:.0f} MB/s")
    for name, size in most.items():
        print(f"{name:<9} {size / 1e6:.0f} MB of memory")
    return 0 if is_right and max(most.values()) <= MEMORY_BYTES_MAX else 1


def memory_of(process: int) -> int:
    """Bytes that it has in memory; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
