"""Freed memory that is kept for the next frames: page faults and what is given back, in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.conftest import environment

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is set belongs to glibc")

FRAMES = 3200  # of 25 pages each, or of two where pages are large
PROGRAM = """
import os, resource
from zchat.sockets import memory
{call}
def frames(count, size):
    held = [bytes([1]) * size for _ in range(count)]
    held.clear()
frames(32, 100_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    frames(32, 100_000)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
frames(64, 1_000_000)
resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
print(faults, resident)
"""


def faults_and_resident(call: str) -> tuple[int, int]:
    """Page faults of 100 times 32 frames of 100 kB, and what is resident after 64 MB were used and freed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, timeout=30, env=environment()
    )
    assert done.stderr == ""
    faults, resident = map(int, done.stdout.split())
    return faults, resident


@pytest.mark.slow
@pytest.mark.parametrize("call", ["memory.keep_for_frames()", "memory.keep_for_broker()"])
def test_frames_do_not_fault_their_pages_in_again_and_large_ones_are_given_back(call: str) -> None:
    without, _ = faults_and_resident("")
    faults, resident = faults_and_resident(call)
    if without < 10 * FRAMES:
        pytest.skip(f"{without} faults of {FRAMES} frames: this system gives memory in larger pieces than pages")
    assert faults < FRAMES, "less than one for each frame"
    assert resident < 64_000_000
