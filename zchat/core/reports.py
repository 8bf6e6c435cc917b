"""The listeners of each session of a connection, and how far they have got, as the broker is told now and then.

    add, remove ──► the listeners of a session ──take, some sessions at a time──► REPORT, where it changed

Rules of this file
1. A session is told of once more when its last listener has gone: it listens to nothing.
2. There may be thousands of sessions: each call looks at some of them after the others.

Spec: docs/protocol.md, "Lag". Tests: tests/core/test_listening.py.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from zchat import wire
from zchat.core import Instant
from zchat.core.rotation import Rotation

if TYPE_CHECKING:
    from zchat.core.listener import Asker, Listener

REPORT_SECONDS = 1.0  # the broker is told this often how far the listeners have got
REPORTED_MAX = 200  # sessions that are reported of in REPORT_SECONDS


class Reports:
    """Of all sessions that listen."""

    def __init__(self) -> None:
        self._sessions: dict[Asker | None, dict[Listener, None]] = {}  # that listen
        self._reporting: Rotation[Asker | None] = Rotation()
        self._told: dict[Asker | None, list[tuple[int, list[str]]]] = {}  # as last told
        self._at = 0.0

    def add(self, listener: Listener) -> None:
        """Its session has one more."""
        self._sessions.setdefault(listener.session, {})[listener] = None
        self._reporting.add(listener.session)

    def remove(self, listener: Listener) -> None:
        """It has one less."""
        of_session = self._sessions[listener.session]
        del of_session[listener]
        if not of_session and listener.session not in self._told:
            self.forget(listener.session)

    def of(self, session: Asker | None) -> Collection[Listener]:
        """The listeners of a session."""
        return self._sessions.get(session, {}).keys()

    def forget(self, session: Asker | None) -> None:
        """It listens to nothing, and the broker knows; or it has ended."""
        self._sessions.pop(session, None)
        self._told.pop(session, None)
        self._reporting.discard(session)

    def anew(self, session: Asker | None) -> None:
        """It was welcomed: it tells all of it again."""
        self._told.pop(session, None)

    def all_anew(self) -> None:
        """The connection was welcomed."""
        self._told.clear()

    def take(self, now: Instant) -> list[tuple[Asker | None, wire.Report]]:
        """How far the listeners of each session have got, when that has changed and it is time to tell."""
        found: list[tuple[Asker | None, wire.Report]] = []
        if not self._sessions or now.seconds < self._at:
            return found
        self._at = now.seconds + REPORT_SECONDS
        for session in self._reporting.take(REPORTED_MAX):
            if session is not None and not session.is_ready:
                continue
            listeners = list(self._sessions[session])[: wire.LISTENERS_TOLD_MAX]
            report = [(listener.ordering.reached(listener.progress.at), listener.patterns) for listener in listeners]
            if report != self._told.get(session, []):
                self._told[session] = report
                found.append((session, wire.Report(report)))
            if not listeners:
                self.forget(session)
        return found
