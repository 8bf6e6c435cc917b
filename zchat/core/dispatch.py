"""What a session says besides HELLO and PUBLISH: who deals with it, and when it is answered.

Rules of this file
1. It decides nothing: it finds who does, and turns what that raises into a refusal. Whoever lacks a right gets no
   further than here (needs.py).
2. What changes a row is answered with DONE once the row is kept.

Tests: tests/core/test_dispatch.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant
from zchat.core.asked import Asked
from zchat.core.calls import Calls
from zchat.core.channels import Endpoint
from zchat.core.commits import Commit, Gathering
from zchat.core.cursors import BrokerCursors
from zchat.core.groups import BrokerGroups
from zchat.core.memberships import Memberships
from zchat.core.needs import check, check_patterns
from zchat.core.purges import Purges
from zchat.core.questions import Questions
from zchat.core.reads import Reads
from zchat.core.registry import Registry
from zchat.core.replies import Replies
from zchat.core.rights import Rights
from zchat.core.schedule import BrokerSchedule
from zchat.core.session import Session
from zchat.core.views import View
from zchat.errors import BadName, WireError
from zchat.names import cursor_name, user_key

KEPT = wire.Done(0)  # in place of an answer: DONE, once what was changed is kept


class Dispatch:
    """The way of a message to who deals with it."""

    def __init__(
        self,
        registry: Registry,
        memberships: Memberships,
        questions: Questions,
        asked: Asked,
        reads: Reads,
        cursors: BrokerCursors,
        groups: BrokerGroups,
        purges: Purges,
        schedule: BrokerSchedule,
        calls: Calls,
        gathering: Gathering,
        replies: Replies,
        rights: Rights,
    ) -> None:
        self._rights = rights
        self._registry = registry
        self._memberships = memberships
        self._questions = questions
        self._asked = asked
        self._reads = reads
        self._cursors = cursors
        self._groups = groups
        self._purges = purges
        self._schedule = schedule
        self._calls = calls
        self._gathering = gathering
        self._replies = replies

    def take(
        self,
        session: Session,
        endpoint: Endpoint,
        message: wire.ClientMessage,
        head: int,
        under_way: Commit | None,
        now: Instant,
    ) -> None:
        """A message of a session. Then take replies."""
        number = getattr(message, "request", 0)
        try:
            check(self._rights, session.user, message)
            answer = self._answer(session, message, head, now)
        except (BadName, WireError) as error:
            self._replies.refuse_error(endpoint, "request", number, error)
            return
        if answer is KEPT:
            self._answer_kept(session, number, under_way)
        elif answer is not None:
            self._replies.reply(endpoint, answer)

    def _answer(
        self, session: Session, message: wire.ClientMessage, head: int, now: Instant
    ) -> wire.BrokerMessage | None:
        """The answer; DONE is told once what was changed is kept. Raises BadName, WireError."""
        match message:
            case wire.Join():
                self._memberships.join(session, message, now)
            case wire.Part():
                self._memberships.part(session, message.rooms, "bye", now)
            case wire.SetCursor():
                row = self._cursors.checked(session, message, head, now)
                self._gathering.cursors[row.user, row.name] = row
            case wire.DropCursor():
                if self._cursors.has(session.user, message.name):
                    self._gathering.cursors[user_key(session.user), cursor_name(message.name)] = None
            case wire.JoinGroup():
                self._groups.join(session, message, head, now)
            case wire.Settle():
                self._groups.settle(session, message, now)
            case wire.SetGroup():
                self._groups.set(session, message, head, now)
            case wire.Schedule():
                if not self._schedule.schedule(session, message, now):
                    return wire.Done(message.request)
            case wire.Cancel():
                if not self._schedule.cancel(session, message, now):
                    return wire.Done(message.request)
            case _:
                return self._answer_at_once(session, message, head, now)
        return KEPT

    def _answer_at_once(
        self, session: Session, message: wire.ClientMessage, head: int, now: Instant
    ) -> wire.BrokerMessage | None:
        """What changes no row of the log that anybody waits for."""
        match message:
            case wire.Fetch() | wire.Seek() | wire.Latest() | wire.Search():
                check_patterns(message.patterns)
                self._reads.ask(session.connection, message, View(self._rights, session.user, session.since))
            case wire.Heads() | wire.Who() | wire.Rooms() | wire.Cursors() | wire.Groups() | wire.Scheduled():
                self._questions.check(message)
                self._asked.ask(session.connection, message)
            case wire.Purge():
                self._purges.ask(message, head)
                return wire.Done(message.request)
            case wire.Call():
                self._calls.call(session, message, now)
            case wire.Reply():
                self._calls.reply(session, message, now)
            case wire.Serve():
                self._calls.serve(session, message, now)
                return wire.Done(message.request)
            case wire.Bye():
                self.end(session, "bye", now)
                return wire.Goodbye("bye")
            case wire.Subscribe():
                self._questions.may_subscribe(session, message.topics)
                self._registry.recipients.subscribe(session, message.topics)
                return wire.Done(message.request)
            case wire.Report():
                if met := self._registry.listens(session, *self._questions.listens(session, message.listeners)):
                    self._replies.limits.meet(met, session.connection)
        return None

    def end(self, session: Session, reason: str, now: Instant) -> None:
        """It ends for good, and leaves its rooms with that reason."""
        endpoint = session.connection
        self._calls.left(session, now)
        self._groups.left(session, reason, now)
        self._memberships.end(session, reason, now)
        if isinstance(endpoint, bytes):  # who is left on its channels has no connection any more
            self._registry.disconnected(endpoint, now)

    def _answer_kept(self, session: Session, request: int, under_way: Commit | None) -> None:
        """DONE once it is kept: with the next commit, with the one under way, or now when it is already."""
        done = (session.connection, request)
        gathering = self._gathering
        if session.id in gathering.sessions or gathering.cursors or gathering.groups or gathering.scheduled:
            gathering.done.append(done)
        elif under_way is not None and (session.id in under_way.sessions or under_way.groups or under_way.scheduled):
            under_way.done.append(done)
        else:
            self._replies.reply(session.connection, wire.Done(request))
