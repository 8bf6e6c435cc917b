"""How much freed memory a process keeps for the next frames.

glibc hands memory at the heap's end back to the kernel as soon as 128 KiB of it are free. A stream of large frames
frees and takes more than that all the time, and each page of each frame is mapped and cleared anew.

Rules of this file: nothing happens where the C library is another one. Source: mallopt(3). Tests:
tests/sockets/test_memory.py.
"""

from __future__ import annotations

KEPT_BYTES = 8 << 20
FRAME_BYTES = 256 << 10  # a broker's larger ones are mapped apart: what an attacker had filled is given back

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt


def keep_for_frames() -> None:
    """In a program that has a client: what glibc does by itself once the program frees a block of half that size."""
    bytes(KEPT_BYTES // 2)  # whose zeros are the kernel's: no page of it is touched


def keep_for_broker() -> None:
    """In the broker's own process: the same, and blocks above the size of a frame stay apart."""
    import ctypes  # here: it would be a part of every client's start

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, FRAME_BYTES)


def give_back() -> None:
    """All free pages to the kernel, also those between others: malloc_trim(3). It stops the world for a while."""
    import ctypes

    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return
    trim(0)
