"""The log of a simulated broker: log/memory.py behind a writer that takes its time, fails, and may die with its broker.

Rules of this file: what a killed broker had not committed is lost; the append under way is kept whole or lost whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.simulation.history import Gap
from tests.simulation.network import World
from tests.simulation.pair import copy_of, numbered_log
from zchat import wire
from zchat.core.log import (
    Append,
    CursorRow,
    GroupRow,
    LogPage,
    LogStart,
    May,
    RetentionRule,
    ScheduledRow,
    SeenRow,
    SessionRow,
    Sliced,
    StoredBatch,
    whole,
)
from zchat.errors import LogError
from zchat.log.memory import MemoryLog

READ_SLICED = 0.2  # chance that a read gives way, each time that it goes on


class SimulatedLog:
    """A memory log with a writer: what was appended is kept later, or refused."""

    def __init__(self, world: World, number: int, begun_micros: int) -> None:
        self.name = f"log-{number}"  # a copy has one of its own
        self._has(numbered_log(number))
        self.kept: list[StoredBatch] = []  # all that was ever committed, trimmed or not
        self.kept_at: dict[int, float] = {}  # by base: when
        self.damaged: dict[int, StoredBatch] = {}  # by base: rows whose checksum is wrong
        self.told_damaged: dict[int, StoredBatch] = {}  # that the broker has lied about
        self.begun_micros = begun_micros  # no clock and no batch of another log was later
        self._world = world
        self._under_way: Append | None = None

    def restored(self, number: int, begun_micros: int) -> SimulatedLog:
        """An older copy in its place, under a name of its own."""
        log = SimulatedLog(self._world, number, begun_micros)
        log._has(copy_of(self.memory))
        log.kept, log.damaged = list(self.kept), dict(self.damaged)
        log.told_damaged = dict(self.told_damaged)
        return log

    def append(self, append: Append, done: Callable[[LogError | None], None]) -> None:
        """Commit some time later, then tell some time after that."""
        world = self._world
        assert self._under_way is None, "one append at a time"
        self._under_way = append
        seconds = world.random.expovariate(1000.0 / world.faults.commit_mean_ms)
        if world.chance(world.faults.commit_stall):
            seconds += world.random.uniform(0.5, 5.0)
        world.after(seconds, lambda: self._commit(append, done))

    def append_now(self, append: Append) -> bool:
        """Now and then, where the disk does not stall."""
        world = self._world
        assert self._under_way is None, "one append at a time"
        if world.chance(world.faults.commit_stall) or world.random.random() < 0.5:
            return False
        world.counts["commits at once"] += 1
        self._under_way, told = append, list[LogError | None]()
        self._commit(append, told.append, 0.0)
        if told[0] is not None:
            raise told[0]
        return True

    def before(self, micros: int) -> int:
        """The offset below all that is not older than that; the last one when nothing is as young."""
        for batch in self.kept:
            if batch.time >= micros:
                return batch.base - 1
        return self.memory.head()

    def gone(self) -> tuple[Gap, ...]:
        """What was trimmed, and what is damaged."""
        trimmed = [Gap(name, 1, room.trimmed) for name, room in self.memory._rooms.items() if room.trimmed]
        spoilt = {**self.damaged, **self.told_damaged}
        return (*trimmed, *(Gap(batch.room, base, _last(batch)) for base, batch in spoilt.items()))

    def lie_of(self, base: int) -> None:
        """That batch was sent in a PAGE as if it were damaged: a listener may have been told a gap."""
        self.told_damaged.update({batch.base: batch for batch in self.kept if batch.base == base})

    # --- what a broker asks of it -----------------------------------------------------------

    def read(
        self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """As the memory log does; a damaged row is an explicit gap."""
        yield from self._gives_way()
        page = whole(self.memory.read(patterns, after, until, limit, bytes_max, may))
        batches, gaps = [], list(page.gaps)
        for room, frame in page.batches:
            base = wire.decode_raw_batch(frame).base
            if base in self.damaged:
                gaps.append(wire.Gap(room, base, min(_last(self.damaged[base]), page.upto), "damaged"))
            else:
                batches.append((room, frame))
        return page._replace(batches=batches, gaps=gaps)

    def latest(
        self, patterns: list[str], after: int, until: int, count: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """As the memory log does."""
        yield from self._gives_way()
        return whole(self.memory.latest(patterns, after, until, count, bytes_max, may))

    def seek(self, patterns: list[str], last: int, since: int, presence: bool, may: May | None = None) -> Sliced[int]:
        """As the memory log does."""
        yield from self._gives_way()
        return whole(self.memory.seek(patterns, last, since, presence, may))

    def find(self, session: str, seq: int) -> Sliced[int]:
        """As the memory log does."""
        self._world.counts["repeats looked up"] += 1
        yield from self._gives_way()
        return whole(self.memory.find(session, seq))

    def empty_rooms(self) -> list[str]:
        """As the memory log does."""
        return self.memory.empty_rooms()

    def head(self) -> int:
        """As the memory log does."""
        return self.memory.head()

    def last_time(self) -> int:
        """As the memory log does."""
        return self.memory.last_time()

    def rooms(self) -> dict[str, int]:
        """As the memory log does."""
        return self.memory.rooms()

    def sessions(self) -> list[SessionRow]:
        """As the memory log does."""
        return self.memory.sessions()

    def users_seen(self, limit: int) -> list[SeenRow]:
        """As the memory log does."""
        return self.memory.users_seen(limit)

    def cursors(self) -> list[CursorRow]:
        """As the memory log does."""
        return self.memory.cursors()

    def groups(self) -> list[GroupRow]:
        """As the memory log does."""
        return self.memory.groups()

    def scheduled(self) -> list[ScheduledRow]:
        """As the memory log does."""
        return self.memory.scheduled()

    def starts(self) -> list[LogStart]:
        """As the memory log does."""
        return self.memory.starts()

    def trim(self, rules: list[RetentionRule], now: int) -> None:
        """As the memory log does."""
        self._world.counts["trims"] += 1
        self.memory.trim(rules, now)

    def close(self) -> None:
        """Nothing is open."""

    # --- its life ---------------------------------------------------------------------------

    def killed(self) -> None:
        """Its process dies: the commit under way was done, or not."""
        append, self._under_way = self._under_way, None
        if append is None:
            return
        keeps = self._world.chance(0.5)
        self._world.counts["kept at a kill" if keeps else "lost at a kill"] += 1
        if keeps:
            self._keep(append)

    def _commit(self, append: Append, done: Callable[[LogError | None], None], told_max: float = 0.001) -> None:
        if self._under_way is not append:
            return  # the process died meanwhile
        world = self._world
        self._under_way = None
        error = None
        if world.chance(world.faults.commit_failure):
            world.counts["commits refused"] += 1
            error = LogError(world.random.choice(["log-full", "log-read-only"]), "simulated")
        else:
            self._keep(append)
        if told_max:
            world.after(world.random.uniform(0.0, told_max), lambda: done(error))
        else:
            done(error)

    def _keep(self, append: Append) -> None:
        self._world.note("commit", [(batch.base, batch.room, batch.records) for batch in append.batches])
        self.kept.extend(append.batches)
        self.kept_at.update({batch.base: self._world.seconds for batch in append.batches})
        self.memory.append(append, lambda error: None)

    def _has(self, memory: MemoryLog) -> None:
        self.memory, self.log_id, self.secret = memory, memory.log_id, memory.secret

    def _gives_way(self) -> Iterator[None]:
        """Never by the processor's clock, as the memory log does."""
        world = self._world
        if world.chance(world.faults.read_failure):
            world.counts["reads failed"] += 1
            raise LogError("log-failed", "simulated")
        while world.chance(READ_SLICED):
            world.counts["reads gave way"] += 1
            yield


def _last(batch: StoredBatch) -> int:
    return batch.base + batch.records - 1
