"""The log on disk keeps the contract, also when it was closed or cut off in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.log.contract import LogContract
from zchat.log import Log
from zchat.log.sqlite import SqliteLog


@pytest.fixture
def make_log(tmp_path: Path) -> Iterator[Callable[[], Log]]:
    logs: list[Log] = []

    def make() -> Log:
        logs.append(SqliteLog(tmp_path / f"log-{len(logs)}"))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def log(make_log: Callable[[], Log]) -> Log:
    return make_log()


class TestSqliteLog(LogContract):
    pass
