"""Connections that read: one snapshot each, nothing left open, and a pause for the writer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.log.contract import Scribe, read
from zchat.core.read_pause import read_pause
from zchat.errors import LogError
from zchat.log.sqlite import log, readers, schema
from zchat.log.sqlite.log import SqliteLog
from zchat.log.sqlite.readers import Readers

OpenLog = Callable[..., SqliteLog]


@pytest.fixture
def quiet() -> threading.Event:
    return threading.Event()


@pytest.fixture
def pool(tmp_path: Path, quiet: threading.Event) -> Iterator[Readers]:
    schema.create(tmp_path / "log.db")
    pool = Readers(tmp_path / "log.db", quiet.set)
    yield pool
    pool.close()


def test_a_snapshot_does_not_change(open_log: OpenLog) -> None:
    log = open_log()
    scribe = Scribe(log)
    scribe.write("a", b"x")
    with log._readers.snapshot() as connection:
        before = connection.execute("SELECT count(*) FROM batches").fetchone()
        scribe.write("a", b"y")
        assert connection.execute("SELECT count(*) FROM batches").fetchone() == before == (1,)


def test_more_may_read_than_were_opened(pool: Readers) -> None:
    opened = []
    for _ in range(readers.OPENED + 2):
        snapshot = pool.snapshot()
        opened.append((snapshot, snapshot.__enter__()))
    assert len({id(connection) for _, connection in opened}) == readers.OPENED + 2
    for snapshot, _ in opened:
        snapshot.__exit__(None, None, None)


def test_a_statement_pauses_as_its_thread_says_and_a_connection_keeps_nothing_of_it(pool: Readers) -> None:
    paused: list[int] = []
    counts = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000) SELECT count(*) FROM n"
    token = read_pause.set(lambda: paused.append(1))
    try:
        with pool.snapshot() as connection:
            assert connection.execute(counts).fetchone() == (10_000,)
    finally:
        read_pause.reset(token)
    assert len(paused) > 10
    times = len(paused)
    with pool.snapshot() as again:
        assert again is connection and again.execute(counts).fetchone() == (10_000,) and len(paused) == times


def test_an_error_of_sqlite_comes_out_as_ours_and_leaves_no_transaction(pool: Readers) -> None:
    with pytest.raises(LogError) as raised, pool.snapshot() as connection:
        connection.execute("DELETE FROM batches")
    assert raised.value.code == "log-read-only"
    with pool.snapshot() as again:
        assert again is connection


def test_who_reads_is_waited_for_and_who_comes_waits(pool: Readers, quiet: threading.Event) -> None:
    came = threading.Event()

    def come() -> None:
        with pool.snapshot():
            came.set()

    with pool.snapshot():
        assert not pool.pause()
        late = threading.Thread(target=come)
        late.start()
        assert not quiet.is_set()
    assert quiet.is_set() and not came.is_set()
    pool.resume()
    late.join(10)
    assert came.is_set()


def test_when_nobody_reads_the_pause_is_there_at_once(pool: Readers, quiet: threading.Event) -> None:
    assert pool.pause() and not quiet.is_set()
    pool.resume()


def test_a_writer_that_never_comes_is_not_waited_for_long(pool: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "PAUSE_SECONDS_MAX", 0.05)
    pool.pause()
    with pool.snapshot():
        pass


def test_closing_waits_for_who_reads(pool: Readers) -> None:
    closing = threading.Thread(target=pool.close)
    with pool.snapshot() as connection:
        closing.start()
        eventually(lambda: pool._closed, "it is closing")
        assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(LogError), pool.snapshot():
            pass
    closing.join(10)
    assert not closing.is_alive()


@pytest.mark.slow
def wal_bytes(log: SqliteLog, folder: Path) -> int:
    """How large the WAL gets while 50 MB are written and two threads read without a pause."""
    scribe = Scribe(log)
    scribe.write("a", bytes(100_000))
    done = threading.Event()
    pages = []

    def reads() -> None:
        while not done.is_set():
            pages.append(len(read(log).batches))

    threads = [threading.Thread(target=reads) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(500):
        scribe.write("a", bytes(100_000))
    done.set()
    for thread in threads:
        thread.join()
    assert pages
    size = (folder / "log.db-wal").stat().st_size
    log.close()
    return size


def test_readers_without_a_pause_do_not_let_the_wal_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "WAL_BYTES_MAX", 4 << 20)
    monkeypatch.setattr(log, "CHECKPOINT_BYTES", 1 << 20)
    sizes: list[int] = []
    while len(sizes) < 25 and min(sizes, default=1 << 40) > 20 << 20:  # one late reader lets it grow, but not each time
        folder = tmp_path / str(len(sizes))
        sizes.append(wal_bytes(SqliteLog(folder, sync="normal"), folder))
    assert min(sizes) < 20 << 20, sizes
