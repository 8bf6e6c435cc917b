"""How many connections come of an address, and how many come to nothing: who goes too far is not let in for a while.

    a stranger's handshake fails ──► `failed`: one of 256 that may at once, and of 50 a second
    one too many                 ──► the address is shut: the kernel drops its SYNs, until none is owed any more

Rules of this file
1. A connection comes to nothing when it ends before it has said HELLO, or subscribed: a key that is not known, a
   handshake that was left, a port that was looked at. With keys each costs libzmq's thread five products of points,
   in which time it does nothing for others; and nothing but the address tells them apart before that.
2. Who is there stays: only new connections are refused, and those are not counted again.
3. Where all together are too many, one failure is enough to shut an address. Who has had none is let in.
4. It counts by origin (core/allowances.py), and who is behind the same address is shut out with it, for a moment.
5. Who is gone before the loop has looked counts for all together alone: a sample is enough to know who floods.
6. Of an address that was shut for failures a moment ago each connection counts as one from its beginning, until it has
   said a word. Else all that waited to be let in would come at once, and fail at once.
7. An end is told beside what was said before it: whose word is not read by then has gone without one only once all that
   came is read, or after a while.
8. What the kernel does not refuse (accept_filter.py), the caller cuts off as soon as it is accepted.

Spec: docs/design.md, "Who comes too often". Tests: tests/sockets/test_arrivals.py.
"""

from __future__ import annotations

from collections import Counter, deque

from zchat.core import Instant
from zchat.core.allowances import Allowance
from zchat.settings import Settings
from zchat.sockets.accept_filter import ADDRESSES_MAX, AcceptFilter

SHUT_SECONDS = 0.25  # at the least: the filter is not made anew for each connection
DOUBTED_SECONDS = 10.0  # after it was shut
SHUT_FOR_ALL_SECONDS = 10.0  # who has failed once, while all together fail too often
READ_SECONDS = 5.0  # then a word that was said has been read, also where more comes without end
LOOK_SECONDS = 0.05  # between two filters
ALL = ""  # the key of what counts for all


class Arrivals:
    """Of both sockets of one broker."""

    def __init__(self, settings: Settings) -> None:
        self._connections = Allowance[str](settings.address_connections_max, settings.address_connections_a_second_max)
        self._failures = Allowance[str](settings.address_failures_max, settings.address_failures_a_second_max)
        self._all_failures = Allowance[str](settings.failures_max, settings.failures_a_second_max)
        self._shut: dict[str, tuple[float, str]] = {}  # origin -> until when, and the limit that it has met
        self._doubted: dict[str, float] = {}  # origin -> until when
        self._ahead = Counter[str]()  # origin -> its connections that count as failures, and have not failed yet
        self._gone = deque[tuple[float, str, object]]()  # without a word that was read: since when, origin, name
        self._words = Counter[str]()  # origin -> of how many that had gone a word was read since
        self._filters: list[AcceptFilter] = []
        self._filtered: tuple[str, ...] = ()
        self._looked = 0.0

    def listens(self, descriptor: int) -> None:
        """A listener of the broker's: what is shut, is shut there."""
        self._filters.append(AcceptFilter(descriptor))

    def release(self, descriptor: int) -> None:
        """That connection was accepted: no filter looks at its packets."""
        for each in self._filters:
            if each.is_on:
                each.release(descriptor)
                return

    def came(self, host: str, now: Instant) -> str:
        """A connection was accepted. Returns the limit by which it is to be cut off; empty: it may stay."""
        until, limit = self._shut.get(host, (0.0, ""))
        if now.seconds < until:
            return limit
        if owed := self._connections.overdraw(host, 1, now):
            self._shut_out(host, now.seconds + owed, "address_connections_max", now)
            return "address_connections_max"
        if now.seconds < self._doubted.get(host, 0.0):
            self._ahead[host] += 1
            if owed := self._failures.overdraw(host, 1, now):  # this one comes in, the next does not
                self._shut_out(host, now.seconds + owed, "address_failures_max", now)
        return ""

    def spoke(self, host: str, now: Instant) -> None:
        """A connection has said HELLO, or subscribed: it has not come for nothing."""
        if _take_one(self._ahead, host):
            self._failures.give_back(host, 1, now)

    def failed(self, host: str | None, now: Instant) -> str:
        """One has come to nothing. Returns the limit that its address has met by that; empty: none.

        None: it was gone before it was looked where it came from. That it was one is all that is known.
        """
        in_all = self._all_failures.overdraw(ALL, 1, now)
        if host is None:
            return ""
        owed = 0.0 if _take_one(self._ahead, host) else self._failures.overdraw(host, 1, now)
        if owed:
            limit = "address_failures_max"
        elif in_all:
            owed, limit = SHUT_FOR_ALL_SECONDS, "failures_max"
        else:
            return ""
        is_new = now.seconds >= self._shut.get(host, (0.0, ""))[0]
        self._shut_out(host, now.seconds + owed, limit, now)
        return limit if is_new else ""

    def went(self, host: str, name: object, now: Instant) -> None:
        """One has ended of which no word is read yet."""
        self._gone.append((now.seconds, host, name))

    def spoke_and_went(self, host: str) -> None:
        """A word is read of one that has ended."""
        self._words[host] += 1

    def count_gone(self, now: Instant, *, dry: bool) -> list[tuple[object, str]]:
        """Those who have gone without a word have failed. `dry`: all that came is read.

        Returns the names of those by whom their address has met a limit, and which.
        """
        met: list[tuple[object, str]] = []
        if not (self._gone or self._words):
            return met
        while self._gone and (dry or now.seconds - self._gone[0][0] > READ_SECONDS):
            _, host, name = self._gone.popleft()
            if _take_one(self._words, host):
                self.spoke(host, now)
            elif limit := self.failed(host, now):
                met.append((name, limit))
        for host in list(self._words) if not self._gone else ():
            for _ in range(self._words.pop(host)):  # it was taken for failed after all
                self._failures.give_back(host, 1, now)
                self._all_failures.give_back(ALL, 1, now)
        return met

    def elapsed(self, now: Instant) -> None:
        """Have the kernel drop what comes of those that are shut, and of nobody else."""
        if not (self._shut or self._filtered) or now.seconds - self._looked < LOOK_SECONDS:
            return
        self._looked = now.seconds
        self._shut = {host: shut for host, shut in self._shut.items() if shut[0] > now.seconds}
        self._doubted = {host: until for host, until in self._doubted.items() if until > now.seconds}
        filtered = tuple(sorted(list(self._shut)[-ADDRESSES_MAX:]))
        if filtered != self._filtered:
            self._filtered = filtered
            for each in self._filters:
                each.drop(filtered)

    @property
    def next_deadline(self) -> float | None:
        """When `elapsed` is to be called next; None: nobody is shut."""
        return self._looked + LOOK_SECONDS if self._shut or self._filtered else None

    def _shut_out(self, host: str, until: float, limit: str, now: Instant) -> None:
        until = max(until, now.seconds + SHUT_SECONDS, self._shut.get(host, (0.0, ""))[0])
        self._shut[host] = until, limit
        if limit != "address_connections_max":
            self._doubted[host] = until + DOUBTED_SECONDS


def _take_one(counts: Counter[str], host: str) -> bool:
    """Whether there is one of that host; it is counted no more."""
    if not counts[host]:
        return False
    counts[host] -= 1
    if not counts[host]:
        del counts[host]
    return True
