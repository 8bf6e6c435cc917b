"""Who is let in and who has to go: HELLO and ENROLL as the keys say, and what ends when they change.

Rules of this file
1. What a key may is in identity.py; here it becomes refusals, ends of sessions, and lines for the operator.
2. Whose key is let in no more, is told, and ends: its sessions leave with the reason `revoked`.
3. A key is written beside the loop (key_worker.py), and its ENROLL is answered when it is.

Spec: docs/protocol.md, "Keys". Tests: tests/core/test_admission.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zchat import wire
from zchat.core import Instant
from zchat.core.channels import Endpoint, connection_of
from zchat.core.identity import Enrolment, Identities
from zchat.core.limits_met import Meeting
from zchat.core.registry import Registry
from zchat.core.replies import Replies
from zchat.core.session import LOST, Session
from zchat.errors import WireError
from zchat.keys import Grant, KeyList, line_of, short

REVOKED = "revoked"  # why a session has left a room


class Admission:
    """Of one broker."""

    def __init__(
        self,
        identities: Identities,
        registry: Registry,
        replies: Replies,
        end: Callable[[Session, str, Instant], object],
    ) -> None:
        """`end` ends a session for good, with a reason."""
        self.identities = identities
        self.audit = identities.audit
        self._registry = registry
        self._replies = replies
        self._end = end
        self._enrolments: list[Enrolment] = []

    def may_greet(self, endpoint: Endpoint, hello: wire.Hello, now: Instant) -> bool:
        """Whether a session of that user may be there; who may not is told. Then `greeted`, if it is."""
        if not self.identities.has_keys:
            return True
        connection, seconds = connection_of(endpoint), now.micros / 1e6
        key, address = short(self.identities.key_of(connection)), self.identities.address_of(connection)
        try:
            self.identities.check(connection, hello.user, seconds)
        except WireError as error:
            self._replies.refuse(endpoint, "connection", 0, error.code, str(error))
            self.audit.note("refused", now, user=hello.user, key=key, address=address, code=error.code)
            return False
        if isinstance(endpoint, bytes) and (key := self.identities.next_server):
            self._replies.reply(endpoint, wire.NextKey(bytes.fromhex(key)))
        return True

    def greeted(self, endpoint: Endpoint, user: str, code: str, now: Instant, *, is_again: bool) -> None:
        """Whoever may greet has a session now; or has none, for a reason that is not the key. It is noted.

        Not where it `is_again` there, or is a gateway's user: the gateway knows its own.
        """
        if is_again or not isinstance(endpoint, bytes):
            return
        key, address = short(self.identities.key_of(endpoint)), self.identities.address_of(endpoint)
        event = "refused" if code else "connected"
        self.audit.note(event, now, user=user, key=key, address=address, code=code)

    def limited(self, who: Meeting, times: int, now: Instant) -> None:
        """A limit was met so often by who is told of."""
        told = {"limit": who.limit, "user": who.user, "address": who.address, "times": str(times)}
        self.audit.note("limited", now, **told)

    # --- a new key --------------------------------------------------------------------------

    def enrol(self, endpoint: Endpoint, message: wire.Enroll, now: Instant) -> None:
        """A key is to be written. Then take enrolments and replies."""
        try:
            enrolment = self.identities.enrol(
                connection_of(endpoint), message.request, message.key, message.keep, now.micros / 1e6
            )
        except WireError as error:
            self._replies.refuse_error(endpoint, "request", message.request, error)
            return
        if enrolment is None:
            self._replies.reply(endpoint, wire.Done(message.request))
        else:
            self._enrolments.append(enrolment)

    def take_enrolments(self) -> list[Enrolment]:
        """What is to be written."""
        enrolments, self._enrolments = self._enrolments, []
        return enrolments

    def enrolled(self, enrolment: Enrolment, listed: KeyList | None, failure: str, now: Instant) -> None:
        """It was written, and so is everything now; or not, and why. Then take everything."""
        self.identities.enrolled(enrolment, kept=listed is not None)
        connection, request = enrolment.connection, enrolment.request
        if listed is None:
            self._replies.refuse(connection, "request", request, "keys-failed", failure)
            return
        told = {"user": enrolment.grant.user, "key": short(enrolment.key), "by": short(enrolment.by)}
        self.audit.note("enrolled", now, **told)
        self._replies.reply(connection, wire.Done(request))
        self.changed(listed, now)

    # --- what changes -----------------------------------------------------------------------

    def changed(self, listed: KeyList, now: Instant) -> None:
        """The files are so from now on: end what may not stay. Then take everything."""
        self._note_changes(self.identities.users, listed.users, now)
        is_next = listed.next_server and listed.next_server != self.identities.next_server
        self.identities.changed(listed)
        self.elapsed(now)
        if is_next:
            self._replies.reply_all(self._registry.connections(), wire.NextKey(bytes.fromhex(listed.next_server)))

    def _note_changes(self, former: Mapping[str, Grant], present: Mapping[str, Grant], now: Instant) -> None:
        """Which lines are others: whose they are, and what they say."""
        for key in {**former, **present}:
            was, is_now = former.get(key), present.get(key)
            if was != is_now:
                grant = is_now or was
                assert grant is not None, "it is in one of both"
                _, _, *options = line_of(key, grant).split()
                event = "key-changed" if was and is_now else "key-added" if is_now else "key-removed"
                told = " ".join(options) if is_now else ""
                self.audit.note(event, now, user=grant.user, key=short(key), options=told)

    def elapsed(self, now: Instant) -> bool:
        """End those whose key is let in no more. Returns whether there may be some, subscribers among them."""
        seconds = now.micros / 1e6
        if not self.identities.may_have_ended(seconds):
            return False
        for connection, key, code in list(self.identities.refused(seconds)):
            own = self._registry.of(connection)
            self.audit.note("revoked", now, user=own.user if own else "", key=short(key))
            self._replies.refuse(connection, "connection", 0, code)
            if own is not None:
                self._end_all(connection, own, now)
            self.identities.disconnected(connection)
        for connection in self._registry.connections():
            self._end_strangers(connection, now)
        for session in self._registry.sessions_in("") if self.identities.has_keys else ():
            if session.state == LOST and not self.identities.is_known(session.user, seconds):  # nobody can come back
                self._end(session, REVOKED, now)
        return True

    def _end_all(self, connection: bytes, own: Session, now: Instant) -> None:
        """What is there of a connection that has to go."""
        for channel in list(own.carrier.channels) if own.carrier is not None else ():
            if (session := self._registry.of(channel)) is not None:
                self._end(session, REVOKED, now)
        self._end(own, REVOKED, now)

    def _end_strangers(self, connection: bytes, now: Instant) -> None:
        """Sessions of users whom the key of their connection may not be any more."""
        own = self._registry.of(connection)
        if own is None or not self.identities.has_keys:
            return
        for channel in list(own.carrier.channels) if own.carrier is not None else ():
            session = self._registry.of(channel)
            if session is not None and not self.identities.may_be(connection, session.user, now.micros / 1e6):
                self._replies.refuse(channel, "connection", 0, "revoked-key")
                self._end(session, REVOKED, now)
        if not self.identities.may_be(connection, own.user, now.micros / 1e6):
            self._replies.refuse(connection, "connection", 0, "revoked-key")
            self._end_all(connection, own, now)
