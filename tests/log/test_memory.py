"""The log in memory keeps the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.log.contract import InSlices, LogContract
from zchat.core.log import Log
from zchat.log.memory import MemoryLog


@pytest.fixture
def make_log() -> Callable[[], Log]:
    return MemoryLog


@pytest.fixture
def log() -> Log:
    return MemoryLog()


class TestMemoryLog(LogContract):
    pass


class TestMemoryLogInSlices(InSlices, LogContract):
    pass
