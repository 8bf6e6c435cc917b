"""Other rules hold: what is no longer allowed ends, and what is under way is begun anew by them.

    new rules ──► memberships (a leave, `denied`), members of groups, servers, subscriptions to rooms by name
              ──► HELLO_AGAIN, to who lost something

Rules of this file
1. Who is told HELLO_AGAIN says HELLO again, and then all that it wants: the refusals tell what it has lost.
2. What was read or listed by former rules, and not sent, is read and listed again.

Spec: docs/protocol.md, "Rights". Tests: tests/core/test_rule_changes.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant
from zchat.core.asked import Asked
from zchat.core.calls import Calls
from zchat.core.groups import BrokerGroups
from zchat.core.memberships import Memberships
from zchat.core.needs import check
from zchat.core.questions import Questions
from zchat.core.reads import Lookup, Read
from zchat.core.registry import Registry
from zchat.core.replies import Replies
from zchat.core.rights import HISTORY, READ, Rights, Rules, RuleTable
from zchat.core.session import Session
from zchat.core.stocking import StockRead
from zchat.core.views import View
from zchat.errors import BadName, WireError


class RuleChanges:
    """Of one broker."""

    def __init__(
        self,
        rights: Rights,
        registry: Registry,
        memberships: Memberships,
        groups: BrokerGroups,
        calls: Calls,
        asked: Asked,
        questions: Questions,
        replies: Replies,
    ) -> None:
        self._rights = rights
        self._registry = registry
        self._memberships = memberships
        self._groups = groups
        self._calls = calls
        self._asked = asked
        self._questions = questions
        self._replies = replies

    def rules_changed(self, rules: Rules, now: Instant) -> None:
        """These hold from now on. Then take everything."""
        former = self._rights.table
        self._rights.change(rules)
        self._asked.begin_anew()
        self._questions.none_waits()
        for session in self._registry.sessions_in(""):
            if self._ends(session, former, now) and session.connection:
                self._replies.reply(session.connection, wire.HelloAgain())

    def renew(self, read: Read) -> bytes | None:
        """Other rules hold than when it was read. None: it may be read by those; else what is said instead."""
        session, request = self._registry.of(read.endpoint), read.request
        assert not isinstance(request, Lookup | StockRead), "no rule is about those"
        read.left = None
        if session is None:
            return wire.encode(wire.HelloAgain())
        try:
            check(self._rights, session.user, request)
        except (BadName, WireError) as error:
            return wire.encode(wire.Error("request", request.request, error.code, str(error)))
        read.view = View(self._rights, session.user, session.since)
        return None

    def _ends(self, session: Session, former: RuleTable, now: Instant) -> bool:
        """End what it may have no more. Returns whether there was anything; of patterns nobody is told."""
        may_read = self._rights.may_of(session.user, READ)
        could_read = former.may_of(former.role(session.user), READ)
        rooms = [room for room in session.rooms if not may_read(room)]
        self._memberships.part(session, rooms, "denied", now)
        ended = (
            self._groups.denied(session, self._rights.may_of(session.user, HISTORY), now),
            self._calls.denied(session, may_read, now),
            self._registry.recipients.denied(session, could_read, may_read),
        )
        return any(ended) or bool(rooms)
