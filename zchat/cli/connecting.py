"""Connecting, as every command does it: who looks on at a terminal is told that the broker is waited for.

Tests: tests/cli/test_terminal.py.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from zchat.cli.interrupts import interrupts

if TYPE_CHECKING:
    from zchat import Client, Notice

TOLD_SECONDS = 1.0  # nobody wonders before that


def connect(
    broker: str | None,
    user: str | None,
    *,
    wait: float,
    timeout: float | None = None,
    on_notice: Callable[[Notice], object] | None = None,
) -> Client:
    """As `zchat.connect`."""
    with interrupts.loading():
        from zchat import connect as connected  # 40 ms of zmq and msgspec, which `--help` need not wait for

    telling = threading.Timer(TOLD_SECONDS, _tell, (wait,))
    telling.daemon = True
    if wait > TOLD_SECONDS and sys.stderr.isatty():
        telling.start()
    try:
        return connected(broker, user, wait=wait, timeout=timeout, on_notice=on_notice)
    finally:
        telling.cancel()


def _tell(wait: float) -> None:
    print(f"zchat: no broker answers yet, waiting up to {wait:g} s", file=sys.stderr, flush=True)
