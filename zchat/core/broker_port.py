"""What the broker's loop asks of the world, and what each of it must promise. No port lives here.

One is made of ZeroMQ's sockets (`sockets/broker_port.py`), one is the simulator's network
(`tests/simulation/broker_port.py`). What both must promise:

1. What came of one connection is given in order, and each frame once.
2. An end is noted in `ends` as soon as it is known, and frames of that connection may still be there: they were sent
   before. When `received` has been taken to its end, all that came of those who were in `ends` by then was given.
3. After `forget` nothing more of that connection is given; who has its name then, is another.
4. What is sent on one connection arrives in order, or the connection ends; a reply may be dropped, as may a broadcast.
5. Nothing here waits, but for `poll`; nothing raises because of what a peer did.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Protocol

from zchat.core import Instant
from zchat.core.recipients import Addressed

# What a poll says is there to be taken, together as one number.
ENDS, SUBSCRIPTIONS, FRAMES, WOKEN = 1, 2, 4, 8


class BrokerPort(Protocol):
    """The connections of one broker, a clock, and other threads. Only `seconds` and `wake` are called by any thread."""

    refusals: list[tuple[bytes, str]]  # subscribers that were cut off for too much: how each introduced itself, and why
    ends: dict[bytes, float]  # connections that have ended -> since when, in order; `forget` takes them out

    @property
    def full(self) -> Container[bytes]:
        """Connections that do not read what they are sent as fast as it is made."""

    def now(self) -> Instant:
        """Both clocks."""

    def seconds(self) -> float:
        """The monotonic clock of `now` alone, which is cheaper."""

    def poll(self, seconds: float, *, receives: bool, is_alone: bool = False) -> int:
        """Sleep until something is there, but not for longer. Returns what. Without `receives`, frames do not count.

        `is_alone`: no other thread works for the loop, which would be slowed down by one that is awake.
        """

    def wake(self) -> None:
        """End the sleep, or the next one. Also by a signal handler."""

    def let_others(self) -> None:
        """What was sent is on its way in other threads: whoever of them waits for this processor may have it first."""

    def woken(self) -> None:
        """The sleep has ended: the next one is another."""

    def work(self, job: Callable[[], None]) -> None:
        """Have another thread do it soon. Jobs begin in the order in which they came."""

    def due(self, now: Instant) -> float:
        """When `elapsed` is to be called at the latest."""

    def elapsed(self, now: Instant, *, dry: bool) -> None:
        """Time has passed: do what is due. `dry`: what was there to be received was, all of it."""

    # --- who is there -----------------------------------------------------------------------

    def read_ends(self, now: Instant) -> None:
        """Note who has ended."""

    def received(self, now: Instant) -> Iterator[tuple[bytes, bytes | None, int, str | None]]:
        """(connection, frame, size, address) of what has come; the end: there is no more.

        No frame: it came of one that is cut off. An address: it has not been `greeted` yet.
        """

    def key_of(self, connection: bytes) -> str:
        """The public key that it has proved; empty where the broker has no keys."""

    def spoke(self, connection: bytes, ttl_ms: int | None) -> None:
        """What was received of one that was not greeted yet was looked at.

        It is greeted now, and is dead when nothing came of it for so long (0: it does not say); or (None) it is not.
        """

    def forget(self, connection: bytes, now: Instant, *, dry: bool) -> None:
        """It has ended, and the core knows. Not `dry`: there may be more of it, which is passed over."""

    def send(self, replies: Iterable[tuple[bytes, bytes]], now: Instant) -> None:
        """(connection, frame), in order. Dropped where it does not read; an end where it is gone."""

    def deliver(self, direct: Iterable[Addressed], now: Instant, *, patient: bool) -> set[bytes]:
        """The same of batches and markers for some sessions: what one does not read is dropped, before answers are.

        Returns the frames that are to be delivered again: volatile batches for which one has no room, when `patient`.
        """

    def cut_off(self, connection: bytes, now: Instant) -> None:
        """End it, once what was sent to it is out. What it says from now on is passed over."""

    def take_met(self) -> dict[tuple[str, str], int]:
        """Limits for which peers were cut off since the last time, and how often."""

    def flushed(self) -> None:
        """The broker ends: wait a moment for what was sent to be out. The only wait beside `poll`."""

    def admit(self, admits: Callable[[str, float], str], now: Instant) -> None:
        """The keys have changed: end the subscribers whose key is let in there no more, which is what `admits` says."""

    # --- who subscribes ---------------------------------------------------------------------

    def granted(self, now: Instant) -> Iterator[bytes]:
        """The topic of each subscription that came, in place by then; empty for whatever else came."""

    def broadcast(self, broadcasts: Iterable[tuple[bytes, bytes]], *, patient: bool) -> set[bytes]:
        """(topic, frame), in order, to all who have subscribed to the beginning of the topic.

        Returns the frames that were sent to nobody: volatile batches for which one has no room, when `patient`.
        """
