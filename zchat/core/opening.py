"""How a subscription is opened: where it begins, when it is live, what is stored and joined, and what is forgiven.

    resumes a cursor:  CURSORS ─► its offset;  none yet, and a start: SEEK ─► SET_CURSOR
    begins above the head as WELCOME told it:  SEEK ─► refused, if it is
    where rooms may be direct:  HEADS of those that are named ─► refused, if one may not read them
    listen ─► live ─► JOIN ─► resumes, without any start: SET_CURSOR where it went live

Rules of this file
1. Joined once it is live: what others say to its coming is not missed.
2. While the log cannot be written, it listens all the same. A room is joined and a cursor stored as soon as it can.
3. An offset is of the log that the broker had when the opening began; where it has another one by then, or an older
   copy, the ordering says so.

Tests: tests/core/test_opening.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core.answers import Answer, given
from zchat.core.deliveries import Start
from zchat.core.listener import Listener
from zchat.core.ordering import OrderedDelivery
from zchat.core.progress import Progress, is_one_room
from zchat.core.steps import Ask, BecomeMember, Listen, Steps
from zchat.errors import Refused
from zchat.names import is_pattern


class Opening:
    """What is to be opened. `steps` opens it, and returns the listener."""

    def __init__(
        self,
        patterns: list[str],
        start: Start,
        presence: bool,
        cursor: str = "",
        *,
        follows: bool = True,
        joins: bool = True,
        ordering: type[OrderedDelivery] = OrderedDelivery,
    ) -> None:
        self._patterns = patterns
        self.start = start  # where it begins; with a cursor, once that is known
        self._presence = presence
        self._joins = joins  # the rooms that it listens to; else it only observes them
        self._progress = Progress(patterns, cursor, follows=follows)
        self._ordering = ordering

    def steps(self, welcome: wire.Welcome) -> Steps[Listener]:
        """On the broker that said WELCOME last. Raises Refused, WireError."""
        progress, log_id = self._progress, welcome.log_id
        named = [pattern for pattern in self._patterns if not is_pattern(pattern)]
        if named and welcome.limits.get("direct_rooms"):  # what one may not read just would not come
            given((yield Ask(wire.Heads(0, named))), wire.HeadsAre)
        start, is_stored = self.start, True
        if progress.cursor:
            start, is_stored = yield from self._resumed(log_id)
            self.start = start
        elif (start.after or 0) > welcome.head:
            start.found(given((yield Ask(start.seek(self._patterns, self._presence))), wire.Position))
        progress.begin(start.after or 0, is_stored=is_stored)
        marks = bool(progress.cursor) and not is_one_room(self._patterns)
        ordering = self._ordering(self._patterns, start, self._presence, marks)
        listener = Listener(self._patterns, ordering, progress, welcome)
        yield Listen(listener)
        if listener.refused is not None:
            raise Refused(listener.refused.code, listener.refused.text)
        if self._joins:
            listener.is_joined = True  # also where that is refused: it is asked for until somebody leaves
            _is_done((yield BecomeMember(listener.rooms)), "log-")
        if progress.cursor and start.after is None:  # it is stored where it begins, if nothing ever comes
            began = listener.ordering.began
            is_stored = yield from self._store(listener.log_id, began, "bad-request")  # the log went back meanwhile
            progress.begin(began, is_stored=is_stored)
        return listener

    # --- parts ------------------------------------------------------------------------------

    def _resumed(self, log_id: str) -> Steps[tuple[Start, bool]]:
        """Where the cursor is, and whether that is stored. None yet, and no start: with what comes once it is live."""
        name, start = self._progress.cursor, self.start
        cursors = given((yield Ask(wire.Cursors(0))), wire.CursorsAre).cursors
        offset = next((one.offset for one in cursors if one.name == name), None)
        if offset is not None or start == Start():
            return Start(after=offset), True
        offset = start.after
        if offset is None:
            offset = given((yield Ask(start.seek(self._patterns, self._presence))), wire.Position).after
        return Start(after=offset), (yield from self._store(log_id, offset))

    def _store(self, log_id: str, offset: int, *forgiven: str) -> Steps[bool]:
        answer = yield Ask(wire.SetCursor(0, self._progress.cursor, log_id, offset))
        return _is_done(answer, "log-", "other-log", *forgiven)


def _is_done(answer: Answer, *forgiven: str) -> bool:
    """False where it is refused with a code that begins so. Raises Refused with another, WireError."""
    if isinstance(answer, wire.Error) and answer.code.startswith(forgiven):
        return False
    given(answer, wire.Done)
    return True
