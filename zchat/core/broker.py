"""The broker's decisions: what is appended, broadcast and answered. The cycle, without a socket.

    received … received -> take_append -> (the log commits) -> committed -> take_broadcasts, take_replies

Rules of this file
1. What happened goes in (`received`, `disconnected`, `subscribed`, `committed`, `elapsed`); what to do
   comes out of the `take_…` methods, once. It raises on nothing that a peer sends.
2. Records gather in open batches while a commit is under way; each costly step is done once per cycle.
3. Nothing is broadcast or acked before its commit; one commit is under way at a time, so offsets are
   given when the one before is known to have been kept.
4. A refused publish changes nothing but the session's `seq`, and its refusal is told again when asked.

It has more than 300 lines because the cycle is read best in one piece.
Spec: docs/protocol.md. Tests: tests/core/test_broker.py.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from zchat import wire
from zchat.address import Published
from zchat.core import Instant
from zchat.core.admission import Admission
from zchat.core.allowances import Allowances
from zchat.core.asked import Asked
from zchat.core.calls import Calls
from zchat.core.channels import Channel, Endpoint, connection_of
from zchat.core.checking import checked_publish
from zchat.core.commits import Commit, Gathering
from zchat.core.cursors import BrokerCursors
from zchat.core.dispatch import Dispatch
from zchat.core.groups import BrokerGroups
from zchat.core.identity import Identities
from zchat.core.log import Append, LogFacts
from zchat.core.memberships import Memberships
from zchat.core.needs import check
from zchat.core.outlet import Outlet
from zchat.core.paces import Paces
from zchat.core.purges import Purges
from zchat.core.questions import Questions
from zchat.core.read_paces import ReadPaces
from zchat.core.reads import Lookup as Lookup
from zchat.core.reads import Read as Read
from zchat.core.reads import Reads
from zchat.core.registry import Registry
from zchat.core.repeats import repeat
from zchat.core.replies import Replies
from zchat.core.rights import Rights
from zchat.core.rooms import BrokerRooms, Feed, Watermarks
from zchat.core.rule_changes import RuleChanges
from zchat.core.schedule import BrokerSchedule
from zchat.core.session import Session
from zchat.core.ways import Ways
from zchat.core.welcomes import Welcomes
from zchat.errors import BadName, LogError, WireError
from zchat.settings import Settings


class BrokerCore:
    """One broker. Feed it what happens, then do what it says."""

    def __init__(
        self,
        settings: Settings,
        facts: LogFacts,
        session_ids: Iterator[str],
        published: Published,
        now: Instant,
        rights: Rights | None = None,
        identities: Identities | None = None,  # None: the broker has no keys
    ) -> None:
        """Without `rights` everybody may do everything, and that does not change."""
        self.settings = settings
        self.rights = rights or Rights()
        self.head = facts.head
        self._ways = Ways(self.rights)
        self.registry = Registry(facts.secret, settings, self.rights)
        self._allowances = Allowances(settings)
        self._next = facts.head + 1
        self._time = facts.last_time
        self.identities = identities or Identities()
        self._welcomes = Welcomes(settings, self.registry, facts, published, self.rights)
        self._rooms = BrokerRooms(facts.rooms, self._allowances, settings.rooms_max)
        self._watermarks = Watermarks(settings.watermark_first_seconds, settings.watermark_last_seconds)
        self._cursors = BrokerCursors(facts.cursors, facts.log_id, settings, self._allowances)
        self.purges = Purges(self._rooms, facts.empty_rooms)
        self._commit: Commit | None = None  # under way
        self._gathering = Gathering(settings.batch_bytes_max)
        self.replies = Replies()
        self._paces = Paces(settings, self.replies)
        self.groups = BrokerGroups(
            facts.groups, settings, self._rooms, self._gathering, self.replies, self._allowances, now
        )
        self.limits = self.replies.limits
        self.limits.whose = self._whose
        self._schedule = BrokerSchedule(
            facts.scheduled, settings, self._rooms, self._gathering, now, self.rights, self.identities
        )
        self._questions = Questions(
            self.registry, self._rooms, self._cursors, self.groups, self._schedule, self.rights, self.limits.counts
        )
        self._outlet = Outlet(self.replies, self._paces, settings.batch_bytes_max, self._welcomes.start)
        self._asked = Asked(settings.connection_questions_max)
        self.questions = self._asked.queues  # that wait, by connection
        self._reads = Reads(self.replies, settings.connection_reads_max, settings.reads_max, ReadPaces(settings))
        self.take_reads, self.read_gave_way, self.read_done = self._reads.take, self._reads.gave_way, self._reads.done
        self.is_patient, self.broadcast = self._outlet.is_patient, self._outlet.out  # then take replies
        self.take_cutoffs = self.replies.take_cutoffs
        told = self.replies, self._allowances, session_ids, self.identities.audit
        self._memberships = Memberships(settings, self.registry, self._rooms, self._gathering, *told)
        self._memberships.restore(facts.sessions, facts.users_seen, now)
        self._calls = Calls(settings, self.replies)
        self._dispatch = self._dispatching()
        changes = self._changes()
        self.rules_changed, self.renew = changes.rules_changed, changes.renew
        self.admission = Admission(self.identities, self.registry, self.replies, self._dispatch.end)
        self.refuse_subscriptions = self._memberships.refuse_subscriptions
        # What the shell takes.
        self._broadcasts: list[tuple[bytes, bytes]] = []
        self.take_direct = self.registry.recipients.take  # after `take_broadcasts`: what is said to sessions one by one

    def _changes(self) -> RuleChanges:
        parts = self._memberships, self.groups, self._calls, self._asked, self._questions, self.replies
        return RuleChanges(self.rights, self.registry, *parts)

    def _dispatching(self) -> Dispatch:
        return Dispatch(
            self.registry,
            self._memberships,
            self._questions,
            self._asked,
            self._reads,
            self._cursors,
            self.groups,
            self.purges,
            self._schedule,
            self._calls,
            self._gathering,
            self.replies,
            self.rights,
        )

    # --- what happened ----------------------------------------------------------------------

    def received(self, connection: bytes, frame: bytes, now: Instant, address: str = "", key: str = "") -> None:
        """A frame came from a client. Then take replies, reads, broadcasts, cut-offs and the append."""
        if address or key:  # the shell tells it once
            self.identities.came(connection, address, key)
        self._received(connection, frame, now)

    def _received(self, endpoint: Endpoint, frame: bytes, now: Instant) -> None:
        try:
            message = wire.decode_client(frame)
        except WireError as error:
            if endpoint not in self._memberships.former:
                self.replies.refuse_frame(endpoint, frame, error)
            return
        session = self.registry.of(endpoint)
        if session is not None:
            session.seen = now.micros
        if session is not None and type(message) is wire.Publish:
            self._publish(session, message, frame, now)
        elif isinstance(message, wire.Hello):
            self._hello(endpoint, message, now)
        elif isinstance(message, wire.Enroll):
            self.admission.enrol(endpoint, message, now)
        elif session is None:
            if endpoint not in self._memberships.former:
                self.replies.reply(endpoint, wire.HelloAgain())
        elif type(message) is not wire.From:
            self._dispatch.take(session, endpoint, message, self.head, self._commit, now)
        elif isinstance(endpoint, bytes):
            self._received(Channel(endpoint, message.channel), bytes(message.message), now)
        else:
            self.replies.refuse(endpoint, "connection", 0, "bad-frame", "a FROM in a FROM")

    def disconnected(self, connection: bytes, now: Instant) -> None:
        """A connection ended: its session has the grace time to come back."""
        self._memberships.former.discard(connection)
        self.identities.disconnected(connection)
        self._allowances.disconnected(connection)
        self._reads.forget(connection)
        self.replies.forget(connection)
        self._asked.forget(connection)
        self._calls.disconnected(connection, now)
        self.registry.disconnected(connection, now)

    def subscribed(self, topic: bytes, now: Instant) -> None:
        """A subscriber's private topic is in place: everything from here on reaches it. Then take broadcasts."""
        self._flush_volatile(now)
        nonce = topic[len(wire.PRIVATE_TOPIC) :]
        self._broadcasts.append((topic, wire.encode(wire.Sync(nonce, self.head, self._welcomes.start))))

    def committed(self, error: LogError | None, now: Instant) -> None:
        """The append that was taken last is kept, or (with an error) none of it. Then take everything."""
        commit, self._commit = self._commit, None
        assert commit is not None, "no append is under way"
        if error is not None:
            self._not_kept(commit, error, now)
            return
        paces = self._paces
        for batch in commit.batches:
            room, feed, offset = batch.room, batch.room.feed(batch.kind), batch.base
            self._broadcast(feed, batch.frame)
            if batch.kind == wire.MESSAGES and room.name in self.groups.rooms:
                self.groups.stored(batch, feed.last)
            self.head = room.last = feed.last = batch.base + batch.records - 1
            self._watermarks.spoke(feed, now.seconds)
            if batch.kind == wire.MESSAGES:
                for entry, session, count, size in zip(
                    batch.entries, batch.sessions, batch.counts, batch.sizes, strict=True
                ):
                    if not (paces.is_on and paces.is_late(session, entry.seq, offset, size)):
                        session.finish(entry.seq, offset, size)
                        self.replies.ack(session.connection, entry.seq, offset)
                    offset += count
        self._cursors.committed(commit.append, self._gathering.cursors)
        self.groups.kept(commit.dying)
        self._schedule.committed(commit.scheduled)
        for endpoint, request in commit.done:
            self.replies.reply(endpoint, wire.Done(request))

    def found(self, session_id: str, seq: int, offset: int, failure: str = "") -> None:
        """Where the log has a repeated publish (0: nowhere), or why that is not known. Then take replies."""
        self._reads.found(session_id, self.registry.find(session_id), seq, offset, failure)

    def elapsed(self, now: Instant) -> None:
        """Time has passed: write the leaves that are due, send the watermarks that are due. Then take everything."""
        for session in self._memberships.elapsed(now):
            self.groups.left(session, "gone", now)
        self.groups.elapsed(now)
        self._schedule.elapsed(now)
        self._calls.elapsed(now)
        self._paces.elapsed(now)
        for feed in self._watermarks.due(now.seconds):
            self._broadcast(feed, wire.encode(wire.Watermark(feed.last)))

    def stopping(self) -> None:
        """The broker ends: tell every client. Then take replies."""
        self.replies.reply_all(self.registry.connections(), wire.Goodbye("stopping"))

    def next_deadline(self) -> float | None:
        """When `elapsed` must be called at the latest; None: nothing is due."""
        times = (
            self.registry.next_deadline(),
            self._watermarks.next_deadline(),
            self._memberships.retry,
            self._outlet.next_deadline(),
            self.groups.next_deadline,
            self._schedule.next_deadline,
            self._calls.next_deadline,
            self._paces.next_deadline,
            self._reads.next_deadline,
        )
        return min([time for time in times if time is not None], default=None)

    # --- what to do -------------------------------------------------------------------------

    def take_append(self, now: Instant) -> Append | None:
        """What to commit next. None while a commit is under way, and when there is nothing."""
        gathering = self._gathering
        rests = self._memberships.retry is not None and not gathering.is_awaited
        if self._commit is not None or not gathering or rests:
            return None
        self._time = max(self._time + 1, now.micros)
        self._commit = commit = gathering.take(self._next, self._time)
        if commit.append.batches:
            self._next = commit.append.batches[-1].base + commit.append.batches[-1].records
        return commit.append

    def take_broadcasts(self, now: Instant) -> list[tuple[bytes, bytes]]:
        """(topic, frame) to send on XPUB, in order."""
        if self._outlet.batches or self._outlet.held:
            self._flush_volatile(now)
        broadcasts, self._broadcasts = self._broadcasts, []
        return broadcasts

    def take_replies(self) -> list[tuple[bytes, bytes]]:
        """(connection, frame) to send on ROUTER, in order: one ACK for each connection."""
        replies = self.replies
        return replies.take(self._gathering.window(self._commit) if replies.acks else 0)

    def answer(self, full: Container[bytes]) -> bool:
        """Work for a step on a question of a connection that is not in `full`. Then take replies.

        False: there is none.
        """
        asker = self._asked.next(full)
        if asker is None:
            self._questions.none_waits()
            return False
        endpoint = asker.waiting[0].endpoint
        if asker.work is None and (session := self.registry.of(endpoint)) is not None:
            count = self._asked.count
            asker.work = self._questions.work(session, asker.waiting[0], count, self.head)
        if frame := self._asked.work(asker):
            self.replies.reply_frame(endpoint, frame)
        return True

    def may_answer(self, full: Container[bytes]) -> bool:
        """Whether `answer` has something to do."""
        return self._asked.has_next(full)

    @property
    def gathered_bytes(self) -> int:
        """Bytes of records that wait for the next commit."""
        batches = self._gathering.batches
        return sum([batch.size for batch in batches]) if batches else 0

    @property
    def is_committing(self) -> bool:
        """Whether an append is under way."""
        return self._commit is not None

    # --- publishing -------------------------------------------------------------------------

    def _publish(self, session: Session, message: wire.Publish, frame: bytes, now: Instant) -> None:
        seq = message.seq
        if seq <= session.last_seq:
            repeat(session, message, self._reads, self.replies)
            return
        session.accept(seq)
        try:
            if self.rights.has_rules:
                check(self.rights, session.user, message)
            count = checked_publish(session, message, frame, self.settings)
            is_volatile = message.flags & wire.VOLATILE
            room = self._rooms.get(message.room)
            if room is None or not (room.is_counted or is_volatile):
                rooms = self._rooms
                room = rooms.open(message.room) if is_volatile else rooms.admit([message.room], session, now)[0]
            if self._paces.is_on:
                self._paces.publish(session, seq, count, len(frame), now, is_stored=not is_volatile)
        except (BadName, WireError) as error:
            session.settle(seq, error.code)
            self.replies.refuse_error(session.connection, "publish", seq, error)
            return
        if is_volatile:
            self._outlet.publish(session, room, message, count, len(frame))
            return
        session.has_stored = True  # or will have, when the log keeps it
        self._gathering.open_batch(room, wire.MESSAGES).add(session, seq, message.records, count, len(frame))
        self._gathering.sessions[session.id] = session
        session.wait(len(frame))

    def _flush_volatile(self, now: Instant) -> None:
        """Volatile records go out at once: they wait for no commit, and have no offset, only a count."""
        for batch in self._outlet.take(max(self._time, now.micros)):
            self._broadcast(batch.room.messages, batch.frame)
            self._rooms.forget(batch.room, self.registry.members(batch.room.name))

    def _broadcast(self, feed: Feed, frame: bytes) -> None:
        """To all, or to who may have it."""
        if self._ways.is_direct(feed):
            self.registry.recipients.tell(feed.topic, frame)
        else:
            self._broadcasts.append((feed.topic, frame))

    def _whose(self, endpoint: Endpoint) -> tuple[str, str]:
        session = self.registry.of(endpoint)
        return session.user if session is not None else "", self.identities.address_of(connection_of(endpoint))

    def _not_kept(self, commit: Commit, error: LogError, now: Instant) -> None:
        """The log kept none of it: refuse what clients asked for."""
        self._next = commit.first
        undone = self._gathering.undo(commit)
        for batch in undone.batches:
            if batch.kind == wire.MESSAGES:
                for entry, session, size in zip(batch.entries, batch.sessions, batch.sizes, strict=True):
                    self._paces.dropped(session, entry.seq)
                    session.finish(entry.seq, error.code, size)
                    if error.limit:
                        self.limits.meet(error.limit, session.connection)
                    self.replies.refuse(session.connection, "publish", entry.seq, error.code, str(error))
        for endpoint, request in undone.done:
            self.replies.refuse(endpoint, "request", request, error.code, str(error))
        self._memberships.not_kept(undone, now)
        for batch in undone.batches:
            self._rooms.forget(batch.room, self.registry.members(batch.room.name))
        self._cursors.not_kept()
        self.groups.not_kept(undone.dying, now)
        self._schedule.not_kept(now)

    def _hello(self, endpoint: Endpoint, hello: wire.Hello, now: Instant) -> None:
        if not self.admission.may_greet(endpoint, hello, now):
            return
        address = self.identities.address_of(connection_of(endpoint))
        is_again = self.registry.of(endpoint) is not None
        greeted = self._memberships.hello(endpoint, hello, address, now)
        if isinstance(greeted, str):
            self.admission.greeted(endpoint, hello.user, greeted, now, is_again=False)
            return
        self.admission.greeted(endpoint, hello.user, "", now, is_again=is_again)
        session, resumed = greeted
        self.groups.greeted(session)
        micros = max(self._time, now.micros)
        self.replies.reply(endpoint, self._welcomes.of(session, self.head, micros, now, resumed=resumed))
