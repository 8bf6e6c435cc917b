"""The log on disk: one SQLite database, a thread that writes it, and connections that read it.

Rules of this file
1. The writer thread writes, or, under a lock, who appends and has nothing else to do. One append is one commit, and who
   waits is told right after it; what can wait (checkpoints, trimming) is the writer thread's, in short steps.
2. There is no work in Python for each record.
3. A commit that failed was rolled back: nothing of it is kept. Where that is not certain (an error of
   fsync) the log keeps nothing more until it is opened anew: a second try could say "kept" of bytes that
   the system has dropped.

    append -> queue -> writer thread: BEGIN, rows, COMMIT -> rooms' state -> done -> checkpoint | trim step

It has more than 300 lines because the writer thread's turns are understood together.
Spec: `zchat.core.log.Log`. Tests: tests/log/sqlite/test_log.py, which runs the contract.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from math import inf
from pathlib import Path

from zchat import wire
from zchat.core.log import Append, LogStart, RetentionRule
from zchat.errors import LogError
from zchat.log.sqlite import disk, mounts, opening, schema, starts, trimming, writing
from zchat.log.sqlite.deduplication import Deduplication
from zchat.log.sqlite.folder import Folder
from zchat.log.sqlite.stored_reads import StoredReads
from zchat.log.sqlite.trimming import Trimming
from zchat.log.sqlite.trouble import Tell, Trouble

CHECKPOINT_BYTES = 4 << 20  # of WAL: more would hold up one commit for longer, less would write pages more often
WAL_BYTES_MAX = 64 << 20  # then readers wait until the WAL has begun anew
TRIM_SHARE = 4  # what trimming does is followed by so many times its own time for commits,
TRIM_SHARE_MIN = 0.5  # down to this while more is kept than it removes, or the log would grow without end,
SEEN_MAX = 1_000  # users who have gone, then those who were seen before all others are forgotten
IDLE_SECONDS = 0.002  # unless there was none for so long
QUICK_SECONDS = 0.005  # a commit that took longer shows that the disk has other work, or is about to fail,
DOUBT_TIMES = 100  # and for so many times as long, up to
DOUBT_SECONDS_MAX = 30.0  # this, whoever appends does not wait for it
REST_SECONDS = 2.0  # without an append, then the WAL is moved: a database alone is the whole log, and nobody looks

WENT_BACK = "it is an older copy, or a part of it was removed; listeners are told of a gap"

OnDone = Callable[[LogError | None], None]
Task = Callable[[], None]

# Of a COMMIT: the frame that makes it one is written last, so nothing of it can be in the WAL.
_ROLLED_BACK = ("IOERR_WRITE", "IOERR_READ", "IOERR_SHORT_READ", "IOERR_SHM", "IOERR_NOMEM")


class SqliteLog(StoredReads):
    """See `zchat.core.log.Log`."""

    def __init__(self, folder: Path, sync: str = "full", tell: Tell | None = None, bytes_max: float = inf) -> None:
        """Open the log in that folder, or make one. Raises StartError.

        `sync` is `full` or `normal`. It takes at most `bytes_max` of the disk. `tell` is called with a line, from any
        thread, when a read meets damage.
        """
        self._folder = Folder(folder)
        try:
            path = folder / schema.FILE
            disk.make_room(folder)
            opened = opening.open_database(path, sync)
            self.log_id, self.secret = opened.identity
            self._rooms = opened.rooms
            self._deduplication = Deduplication(opened.rooms.head)
            self._writer = opened.connection
            self._starts = [*opened.starts, starts.new_start(self._rooms.head)][-wire.STARTS_MAX :]
            self._disk = disk.Disk(path, bytes_max)
            self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
            self._readers = opening.open_readers(path, lambda: self._tasks.put(self._begin_wal_anew))
        except BaseException:
            self._folder.close()
            raise
        self._trimming = Trimming(self._writer, self._rooms, sync)
        self._trouble = Trouble(tell)
        self._wal_bytes = 0  # about, since the last checkpoint
        self._trims_asked = self._trims_begun = 0
        self._trimmed = False  # what a step has written is in the WAL
        self._rests_until = 0.0  # then trimming goes on
        self._share: float = TRIM_SHARE
        self._grown = 0  # batches that were kept less those that were removed, since a trim was begun
        self._seen = SEEN_MAX  # so the first to go is the occasion to forget those of long ago
        self._failed: LogError | None = None
        self._kept_at = 0.0
        self._writing = threading.Lock()  # of the connection that writes, and all that is known of it
        self._doubt_until = 0.0  # whether the disk is quick
        self._knows_of_wal = False  # the writer thread: it comes back to move it
        self._wal_is_saved = False
        self._closed = False
        self._start_is_kept = self._keep_start(sync)
        if tell is not None and (doubt := mounts.doubt(folder)):
            tell(f"warning: {doubt}")
        noted = self._folder.head_noted(self.log_id)
        if tell is not None and noted > self._rooms.head:
            tell(f"the log ends at {self._rooms.head}, and went up to {noted} when it was written last: {WENT_BACK}")
        self._thread = threading.Thread(target=self._write, name="zchat-log", daemon=True)
        self._thread.start()

    def append(self, append: Append, done: OnDone) -> None:
        """Hand it to the writer thread."""
        if self._closed:
            done(LogError("log-failed", "the log is closed"))
        else:
            self._tasks.put(lambda: self._append(append, done))

    def append_now(self, append: Append) -> bool:
        """Where the writer thread has nothing to do, and the disk was quick of late."""
        if self._closed or not self._writing.acquire(False):
            return False
        try:
            began = time.monotonic()
            if began < self._doubt_until or not self._tasks.empty() or self._disk.is_due():
                return False
            if self._has_more_to_trim or self._wal_bytes > CHECKPOINT_BYTES:
                return False
            error = self._keep(append)
            self._kept_at = time.monotonic()
            if (took := self._kept_at - began) > QUICK_SECONDS:
                self._doubt_until = self._kept_at + min(DOUBT_TIMES * took, DOUBT_SECONDS_MAX)
            self._note_seen(append)
        finally:
            self._writing.release()
        if not self._knows_of_wal or self._has_more_to_trim or self._wal_bytes > CHECKPOINT_BYTES:
            self._tasks.put(lambda: None)  # it looks what there is to do
        if error is not None:
            raise error
        return True

    def starts(self) -> list[LogStart]:
        """With the present one, which is on disk before the first append that it has."""
        return list(self._starts)

    def trim(self, rules: list[RetentionRule], now: int) -> None:
        """Hand it to the writer thread."""
        if not self._closed:
            self._trims_asked += 1
            self._tasks.put(lambda: self._begin_trim(rules, now))

    @property
    def is_trimming(self) -> bool:
        """Whether something of `trim` is still to be done."""
        return self._trims_asked != self._trims_begun or self._has_more_to_trim

    @property
    def _has_more_to_trim(self) -> bool:
        return self._trimming.is_at_work or self._trimmed

    def close(self) -> None:
        """Keep what was taken, move the WAL into the database, let go of the folder."""
        if self._closed:
            return
        self._closed = True
        self._tasks.put(None)
        self._thread.join()
        self._disk.look()
        # The last connection moves the WAL and removes it, by its name: not where it may be another log's by now.
        closing = (self._writer, self._readers) if self._disk.is_touched else (self._readers, self._writer)
        for connection in closing:
            try:
                connection.close()
            except sqlite3.Error:
                pass  # what is in the WAL is kept there
        self._folder.note(self.log_id, self._rooms.head)
        self._folder.close()

    def _keep_start(self, sync: str) -> bool:
        """Synced, also where commits are not: what is lost at a power cut came after it. On a disk that cannot be
        written the first append keeps it."""
        if self._disk.refusal(schema.PAGE_BYTES) is not None:
            return False
        try:
            schema.set_sync(self._writer, "full")
            self._writer.execute("BEGIN IMMEDIATE")
            starts.save(self._writer, self._starts)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            self._not_kept(error, True)
            return False
        finally:
            schema.set_sync(self._writer, sync)
        self._wal_bytes += schema.PAGE_BYTES
        return True

    # --- the writer thread ------------------------------------------------------------------

    def _write(self) -> None:
        while True:
            self._knows_of_wal = bool(self._wal_bytes)
            wait = IDLE_SECONDS if self._has_more_to_trim else disk.LOOK_SECONDS if self._knows_of_wal else None
            try:
                task = self._tasks.get(timeout=wait)
            except queue.Empty:
                task = self._idle
            if task is None:
                return
            with self._writing:
                task()
                if self._wal_bytes > CHECKPOINT_BYTES and not self._has_more_to_trim:
                    self._checkpoint()
                elif self._has_more_to_trim and time.monotonic() >= self._rests_until:
                    self._trim()

    def _append(self, append: Append, done: OnDone) -> None:
        if self._disk.is_due():
            self._look()
        done(self._keep(append))
        self._kept_at = time.monotonic()
        if self._wal_bytes > CHECKPOINT_BYTES:
            self._checkpoint()
            self._rests_until = max(self._rests_until, time.monotonic() + trimming.STEP_SECONDS)
        self._note_seen(append)

    def _note_seen(self, append: Append) -> None:
        self._seen += len(append.seen)
        if self._seen > SEEN_MAX:
            self._seen = 0
            self._trimming.begin([], 0)

    def _keep(self, append: Append) -> LogError | None:
        size = sum([len(batch.frame) for batch in append.batches])
        refusal = self._failed or self._disk.refusal(size)
        if refusal is not None:
            self._save_wal()
            return refusal
        connection, committing = self._writer, False
        try:
            connection.execute("BEGIN IMMEDIATE")
            if not self._start_is_kept:
                starts.save(connection, self._starts)
            try:
                changed = writing.insert(connection, self._rooms, append)
            except sqlite3.IntegrityError:
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                writing.make_way(connection, append.batches)
                changed = writing.insert(connection, self._rooms, append)
            committing = True
            connection.execute("COMMIT")
        except Exception as error:  # whatever it is, it must be told, or the broker waits for ever
            return self._not_kept(error, committing)
        self._start_is_kept = True
        self._rooms.commit(changed)
        self._grown += len(append.batches)
        others = append.sessions, append.seen, append.cursors, append.groups, append.scheduled
        pages = 1 + schema.pages_of_rooms(len(changed), len(self._rooms)) + sum(map(len, others))
        size += sum([len(row.records) for row in append.scheduled]) if append.scheduled else 0
        self._wal_bytes += size + pages * schema.PAGE_BYTES
        return None

    def _not_kept(self, error: Exception, committing: bool) -> LogError:
        """Make sure that nothing of it is kept, and say why."""
        name = schema.name_of(error)
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            committing = True
        if name.startswith("FULL"):
            self._disk.ran_out()
        elif name.startswith("IOERR"):
            if committing and not name.startswith(_ROLLED_BACK):
                text = f"the log failed ({name}) and keeps nothing more until it is opened anew"
                self._failed = LogError("log-failed", text, is_final=True)
                return self._failed
            return self._disk.why_not() or schema.log_error(error)
        return schema.log_error(error)

    # --- between commits --------------------------------------------------------------------

    def _look(self) -> None:
        """Whether somebody has touched the folder. And note how far the log goes."""
        self._folder.look()
        self._folder.note(self.log_id, self._rooms.head)
        self._disk.look()
        self._save_wal()

    def _save_wal(self) -> None:
        """What was acked is only in a WAL that nobody finds any more: move it while this process still has it."""
        if not self._disk.wal_is_gone or self._wal_is_saved:
            self._wal_is_saved = self._wal_is_saved and self._disk.wal_is_gone
            return
        try:
            busy, frames, moved = self._writer.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        except sqlite3.Error:
            return
        if not busy and frames == moved:
            self._wal_is_saved, self._wal_bytes = True, 0

    def _idle(self) -> None:
        """Nothing has come for a moment."""
        self._rests_until = 0.0
        if self._disk.is_due():
            self._look()
        if self._wal_bytes and time.monotonic() - self._kept_at > REST_SECONDS and not self._has_more_to_trim:
            self._checkpoint()

    def _begin_trim(self, rules: list[RetentionRule], now: int) -> None:
        if not self._trimming.is_at_work:
            self._share = TRIM_SHARE
        elif self._grown > 0:
            self._share = max(self._share / 2, TRIM_SHARE_MIN)
        self._grown = 0
        self._trimming.begin(rules, now)
        self._trims_begun += 1

    def _trim(self) -> None:
        """A step or a checkpoint, not both: a commit that comes now waits for it."""
        began, trimming = time.monotonic(), self._trimming
        if self._wal_bytes > CHECKPOINT_BYTES or not trimming.is_at_work:
            self._checkpoint()
        else:
            try:
                trimming.step()
            except Exception as error:  # whatever a damaged row makes of it, the thread goes on
                if schema.name_of(error).startswith("FULL"):
                    self._disk.ran_out()
            self._trimmed = self._trimmed or trimming.written_bytes > 0
            self._wal_bytes += trimming.written_bytes
            self._grown -= trimming.removed
            trimming.written_bytes = trimming.removed = 0
        now = time.monotonic()
        self._rests_until = now + self._share * (now - began)

    def _checkpoint(self) -> None:
        """Move the WAL into the database, as far as no reader needs it."""
        self._trimmed = False
        self._wal_bytes = CHECKPOINT_BYTES * 3 // 4  # when something has to stay, the next one is soon
        try:
            _, frames, moved = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error:
            return
        if frames == moved:
            self._wal_bytes = 0
        if frames * schema.PAGE_BYTES > WAL_BYTES_MAX and self._readers.pause():
            self._begin_wal_anew()

    def _begin_wal_anew(self) -> None:
        """Nobody reads: when all of it is moved, the next commit writes at its beginning."""
        try:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error:
            pass
        self._readers.resume()
