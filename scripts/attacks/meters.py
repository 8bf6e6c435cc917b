"""What a process is seen to have from outside: memory, processor time, descriptors, and what its folder takes.

Source: proc(5). Rule of this file: of a process that has gone all is 0.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


class Reading(NamedTuple):
    """At one moment."""

    resident_bytes: int
    cpu_seconds: float
    descriptors: int


def read(pid: int) -> Reading:
    """Of a process."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, IndexError, ValueError):
        return Reading(0, 0.0, 0)
    return Reading(resident, (int(fields[11]) + int(fields[12])) / TICKS, descriptors)


def asked_seconds(pid: int) -> float:
    """Of a core: what a process's threads that are there have had, and waited for. Near 0 a second while it rests."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            had, waited = path.read_text().split()[:2]
        except (OSError, ValueError):
            continue  # gone meanwhile
        total += int(had) + int(waited)
    return total / 1e9


def disk_bytes(folder: Path) -> int:
    """What the files of a folder take."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            pass  # gone meanwhile
    return total


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)
