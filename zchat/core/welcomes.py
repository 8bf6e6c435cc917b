"""What WELCOME tells a session of its broker.

Rules of this file: on a channel it tells what is the session's own. The rest was told to the connection itself.
Spec: docs/protocol.md, "Channels". Tests: tests/core/test_welcomes.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.address import Published
from zchat.core import Instant
from zchat.core.log import LogFacts
from zchat.core.registry import Registry
from zchat.core.rights import Rights
from zchat.core.session import Session
from zchat.settings import Settings


class Welcomes:
    """Made for a session once it is known."""

    def __init__(
        self, settings: Settings, registry: Registry, facts: LogFacts, published: Published, rights: Rights
    ) -> None:
        self._has_direct_rooms = rights.may_change
        self._settings = settings
        self._registry = registry
        self._log_id = facts.log_id
        self._published = published
        self._starts: list[tuple[str, int]] = list(facts.starts)
        self.start = self._starts[-1][0] if self._starts else ""  # of this broker, on this log

    def of(self, session: Session, head: int, micros: int, now: Instant, *, resumed: bool) -> wire.Welcome:
        """The answer to its HELLO, where the log is and what time it is there."""
        is_connection = isinstance(session.connection, bytes)
        limits = self._settings.told() if is_connection else {}
        if is_connection and self._has_direct_rooms:
            limits["direct_rooms"] = 1
        if not session.last_seq:  # it may be one that was forgotten early
            limits["session_kept_seconds"] = int(self._registry.kept_seconds(now))
        return wire.Welcome(
            wire.VERSION,
            session.id,
            self._registry.token(session),
            resumed,
            self._log_id,
            head,
            self._published.port,
            limits,
            micros,
            session.hello,
            self._starts if is_connection else [],
            self._published.host,
            self._published.beside,
        )
