"""Decisions without a socket, thread, clock, file or randomness: time and bytes come in as arguments."""

from typing import NamedTuple


class Instant(NamedTuple):
    """One reading of both clocks."""

    seconds: float  # monotonic: for deadlines, unmoved when the wall clock is set
    micros: int  # wall clock, microseconds since 1970 UTC: for what people read
