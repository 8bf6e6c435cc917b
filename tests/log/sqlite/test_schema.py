"""Rows that prove themselves, the database's settings, and what SQLite's errors mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from zchat.errors import CODES
from zchat.log.sqlite import schema
from zchat.log.sqlite.schema import Identity


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    schema.create(tmp_path / "log.db")
    connection = schema.writer(tmp_path / "log.db", "full")
    yield connection
    connection.close()


def one(connection: sqlite3.Connection, statement: str) -> object:
    return connection.execute(statement).fetchone()[0]


# --- the database -------------------------------------------------------------------------------


def test_its_settings_are_those_that_were_meant(writer: sqlite3.Connection, tmp_path: Path) -> None:
    assert one(writer, "PRAGMA auto_vacuum") == 2
    assert one(writer, "PRAGMA journal_mode") == "wal"
    assert one(writer, "PRAGMA page_size") == schema.PAGE_BYTES
    assert one(writer, "PRAGMA synchronous") == 2
    assert one(writer, "PRAGMA secure_delete") == 0
    assert one(writer, "PRAGMA wal_autocheckpoint") == 0
    assert one(writer, "PRAGMA mmap_size") == 0
    assert one(writer, "PRAGMA application_id") == schema.APPLICATION_ID
    schema.set_sync(writer, "normal")
    assert one(writer, "PRAGMA synchronous") == 1


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_it_is_nobody_elses_to_read(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        schema.create(tmp_path / "log.db")
        connection = schema.writer(tmp_path / "log.db", "full")
        connection.execute("INSERT INTO seen VALUES ('x', 1)")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    connection.close()
    assert modes == {name: 0o600 for name in ("log.db", "log.db-wal", "log.db-shm")}


def test_its_identity_is_kept_and_a_change_of_it_is_seen(writer: sqlite3.Connection, tmp_path: Path) -> None:
    identity = schema.identity(writer)
    assert identity is not None and len(identity.secret) == 32
    writer.execute("UPDATE meta SET value = x'00' WHERE key = 'secret'")
    assert schema.identity(writer) is None
    given = Identity("name", bytes(32))
    schema.create(tmp_path / "other.db", given)
    other = schema.reader(tmp_path / "other.db")
    assert schema.identity(other) == given
    other.close()


def test_a_path_may_have_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "100% #what? 会议.db"
    schema.create(path)
    schema.reader(path).close()
    assert path.exists()


# --- errors -------------------------------------------------------------------------------------


def failure(connection: sqlite3.Connection, *statements: str) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as raised:
        for statement in statements:
            connection.execute(statement).fetchall()
    return raised.value


def test_a_full_disk_is_log_full(writer: sqlite3.Connection) -> None:
    writer.execute("PRAGMA max_page_count=30")
    error = failure(writer, "INSERT INTO batches VALUES (1, 1, 0, 1, 1, 1, zeroblob(1000000))")
    assert schema.log_error(error).code == "log-full" and not schema.is_unreadable(error)


def test_what_cannot_be_written_is_log_read_only(writer: sqlite3.Connection, tmp_path: Path) -> None:
    reader = schema.reader(tmp_path / "log.db")
    assert schema.log_error(failure(reader, "DELETE FROM batches")).code == "log-read-only"
    reader.close()


def test_what_is_damaged_is_log_damaged(writer: sqlite3.Connection, tmp_path: Path) -> None:
    writer.close()
    with (tmp_path / "log.db").open("r+b") as file:
        file.seek(schema.PAGE_BYTES)
        file.write(b"\xff" * 20 * schema.PAGE_BYTES)
    reader = schema.reader(tmp_path / "log.db")
    error = failure(reader, "SELECT * FROM batches", "SELECT * FROM rooms", "SELECT * FROM sessions")
    assert schema.log_error(error).code == "log-damaged" and schema.is_unreadable(error)
    reader.close()


def test_everything_else_is_log_failed(writer: sqlite3.Connection) -> None:
    for error in (failure(writer, "no SQL"), OSError("x"), OverflowError("x")):
        assert schema.log_error(error).code == "log-failed"
    assert {schema.log_error(error).code for error in (MemoryError(),)} <= CODES.keys()
