"""What the sessions of a connection have subscribed to on the DEALER: the direct topics of their listeners.

    add, remove ──► wanted ── SUBSCRIBE, once the session is there ──► asked ── DONE ──► in place

Rules of this file
1. SUBSCRIBE names all topics of a session and replaces the one before: one is out at a time, a repeat is the same.
2. What is in place goes with the connection, or with the session's next WELCOME: then it is asked for again.
3. What the broker refuses for good is not waited for: who opens the listener is told (opening.py).

Which topics are direct is in ways.py. Spec: docs/protocol.md, "Direct topics". Tests: tests/core/test_direct.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer, may_be_later, refusal
from zchat.errors import WireError

if TYPE_CHECKING:
    from zchat.core.listener import Asker, Listener

NOTHING = frozenset[bytes]()


class SubscribeOut(NamedTuple):
    """A SUBSCRIBE that is out."""

    number: int
    topics: frozenset[bytes]
    at: float


class DirectTopics:
    """Of all sessions of a connection."""

    def __init__(self) -> None:
        self._of: dict[Listener, frozenset[bytes]] = {}
        self._wanted: dict[Asker, Counter[bytes]] = {}
        self.changed: dict[Asker, None] = {}  # have something to ask
        self._asked: dict[Asker, SubscribeOut] = {}
        self._in_place: dict[Asker, frozenset[bytes]] = {}

    # --- what happened ----------------------------------------------------------------------

    def add(self, listener: Listener, topics: frozenset[bytes]) -> None:
        """It listens to these, too."""
        session = listener.session
        if topics and session is not None:
            self._of[listener] = topics
            self._wanted.setdefault(session, Counter()).update(topics)
            self._look_at(session)

    def remove(self, listener: Listener) -> None:
        """It listens no more."""
        session, topics = listener.session, self._of.pop(listener, NOTHING)
        if topics and session is not None:
            wanted = self._wanted[session]
            wanted.subtract(topics)
            self._wanted[session] = +wanted
            self._look_at(session)

    def forget(self, session: Asker) -> None:
        """It has ended, and none of its listeners is left."""
        for of in (self._wanted, self.changed, self._asked, self._in_place):
            of.pop(session, None)

    def lost(self) -> None:
        """The connection broke: what was asked on it is asked anew, and would be repeated beside that."""
        for session, asked in self._asked.items():
            session.forget(asked.number)
        self._asked.clear()
        self._in_place.clear()

    def is_ready(self, session: Asker, listeners: Iterable[Listener]) -> list[Listener]:
        """It was welcomed, and nothing is in place. Returns those of its listeners that wait for that from now on."""
        if (before := self._asked.pop(session, None)) is not None:
            session.forget(before.number)
        self._in_place.pop(session, None)
        if session not in self._wanted:
            return []
        self._look_at(session)
        return [listener for listener in listeners if listener in self._of]

    def answered(self, session: Asker, number: int, answer: Answer, listeners: list[Listener]) -> bool | None:
        """What became of a SUBSCRIBE. Whether that is settled; None: nobody waits for it any more."""
        asked = self._asked.get(session)
        if asked is None or asked.number != number:
            return None
        if isinstance(answer, wire.Error | WireError):
            why = refusal(answer)
            for listener in listeners:
                listener.ordering.telling.broken(why)
            if isinstance(answer, WireError) or may_be_later(answer):
                return False
            del self._asked[session]  # what was in place before, still is
            for listener in listeners:
                listener.refused = answer
                self.remove(listener)
            return True
        del self._asked[session]
        self._in_place[session] = asked.topics
        return True

    # --- what to do -------------------------------------------------------------------------

    def is_in_place(self, listener: Listener) -> bool:
        """Whether all that it listens to and that is direct comes."""
        topics = self._of.get(listener)
        if topics is None:
            return True
        session = listener.session
        return session is not None and topics <= self._in_place.get(session, NOTHING)

    def subscribe(self, now: Instant) -> list[Asker]:
        """Ask for what has changed. Returns the sessions that have something to send by that."""
        if not self.changed:
            return []
        changed = [session for session in self.changed if session.is_ready]
        self.changed.clear()  # who is not is looked at once it is
        for session in changed:
            if (before := self._asked.pop(session, None)) is not None:
                session.forget(before.number)
            topics = frozenset(self._wanted[session])
            number = session.ask(wire.Subscribe(0, sorted(topics)), now)
            self._asked[session] = SubscribeOut(number, topics, now.seconds)
        return changed

    def silent(self, since: float) -> list[Asker]:
        """The sessions whose SUBSCRIBE has had no answer for so long."""
        return [session for session, asked in self._asked.items() if asked.at < since]

    # --- parts ------------------------------------------------------------------------------

    def _look_at(self, session: Asker) -> None:
        """Whether it has something else to ask than it asked last."""
        asked = self._asked.get(session)
        told = self._in_place.get(session, NOTHING) if asked is None else asked.topics
        if frozenset(self._wanted[session]) == told:
            self.changed.pop(session, None)
        else:
            self.changed[session] = None
