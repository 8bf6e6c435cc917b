"""One subscription of a session: its patterns, its ordering, what it asks, and how far its consumer has got.

Rules of this file: an answer that makes no sense, or brings nothing, costs the next question a pause that grows.
Tests: tests/core/test_listener.py.
"""

from __future__ import annotations

from typing import Protocol

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer, Request, refusal
from zchat.core.ordering import OrderedDelivery
from zchat.core.pauses import Pause
from zchat.core.progress import Progress
from zchat.core.timeline import shared
from zchat.errors import WireError
from zchat.names import is_pattern

REFUSALS_MAX = 3  # of a question that may be answered later, in a row: then they are told


class Asker(Protocol):
    """The session whose listener it is, which asks for it."""

    @property
    def is_ready(self) -> bool:
        """Whether the broker is there for it."""

    def ask(self, request: Request, now: Instant) -> int:
        """Send a request. Returns its number."""

    def forget(self, number: int) -> None:
        """Nobody waits for that answer any more."""


class Listener:
    """One subscription: its patterns, its ordering, and how far its consumer has got."""

    __slots__ = (
        "asked",
        "asked_at",
        "is_joined",
        "ordering",
        "patterns",
        "pause",
        "progress",
        "refusals",
        "refused",
        "rooms",
        "session",
        "welcome",
    )

    def __init__(
        self,
        patterns: list[str],
        ordering: OrderedDelivery,
        progress: Progress | None = None,
        welcome: wire.Welcome | None = None,
    ) -> None:
        self.patterns = patterns
        self.ordering = ordering
        self.rooms = {pattern for pattern in patterns if not is_pattern(pattern)}  # it is a member of these,
        self.is_joined = False  # once it is
        self.asked = 0  # number of the request that its ordering waits for,
        self.asked_at = 0.0  # and when that was asked first
        self.pause = Pause()  # of questions that bring nothing
        self.refusals = 0  # in a row
        self.refused: wire.Error | None = None  # why nothing more comes
        self.progress = progress or Progress(patterns)
        self.session: Asker | None = None  # whose it is, once it listens
        self.welcome = welcome  # of the broker in whose log it was live last; before that, in whose log its start is

    @property
    def is_begun(self) -> bool:
        """Whether everything from now on is delivered."""
        return self.ordering.is_begun

    @property
    def log_id(self) -> str:
        """Of the log that its offsets are of."""
        return self.welcome.log_id if self.welcome is not None else ""

    def meets(self, welcome: wire.Welcome | None) -> None:
        """The broker that it begins at said this. Where its log is not what it was, the start means less there."""
        known, after = self.welcome, self.progress.wanted[1]
        if known is None or welcome is None or known is welcome:
            return
        same = shared(known.starts, welcome.starts, after) if known.log_id == welcome.log_id else None
        if same is None:
            self.ordering.other_log(welcome.log_id)
        elif same < after:
            self.ordering.went_back(same, after)

    def answered(self, answer: Answer, now: Instant) -> bool | None:
        """The answer to what it asked: True when it is settled; None when that is to be asked again later."""
        if isinstance(answer, wire.Error) and answer.code == "denied":  # it may not read that, or not any more
            self.refused = answer
            return True
        if isinstance(answer, wire.Error):  # for now: busy, or the log's trouble
            self.refusals += 1
            if self.refusals == REFUSALS_MAX:
                self.ordering.telling.broken(refusal(answer))
            return None
        self.asked = self.refusals = 0
        try:
            brought = self.ordering.answered(answer)
        except WireError as error:
            self.ordering.telling.broken(str(error))
            brought = False
        if not brought:
            self.pause.begin(now.seconds)
        return True
