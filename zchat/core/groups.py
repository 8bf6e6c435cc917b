"""All groups of a broker: who takes part, and what changes when.

    a commit has records of the room ──► stock (stocking.py) ──► runs, by free capacity (handing_out.py) ──► DELIVER
    SETTLE ──► done, or again (group.py) ──► the group's row, in the next commit

Rules of this file
1. A row changes in the next commit: what was done is done after a restart, and what was out comes again.
2. A member is there while its session is reached where it said so. After a break it says what it still has; what it
   does not have was lost on the way, and goes to another. When its session has gone, so does all that it had.
3. What was handed out as often as the group allows goes to the dead-letter room (dead_letters.py).
4. What a peer can make the broker keep is bounded: groups, members, runs, bytes.

It has more than 300 lines because what is said and what happens change the same tables.
Spec: docs/protocol.md, "Groups". Tests: tests/core/test_groups.py.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from math import inf

from zchat import wire
from zchat.core import Instant
from zchat.core.allowances import Allowances, Share
from zchat.core.commits import Gathering
from zchat.core.dead_letters import bury
from zchat.core.group import DYING, Run, WorkGroup
from zchat.core.group_member import GroupMember
from zchat.core.handing_out import HandingOut
from zchat.core.log import GroupRow
from zchat.core.replies import Replies
from zchat.core.rooms import BrokerRooms, OpenBatch
from zchat.core.session import Session
from zchat.core.stock import StockBatch
from zchat.core.stocking import Stocking, StockPage, StockRead
from zchat.errors import BadName, WireError
from zchat.names import DEAD, ROOM_BYTES_MAX, group_name, is_pattern, room_name
from zchat.settings import Settings

HANDED_OUT_MAX = 256  # groups in a turn
AGAIN_SECONDS = 1.0  # what could not be written is tried again then
LISTED_STEP = 64  # groups
PENDING_TOLD_MAX = 1_000  # runs


class BrokerGroups:
    """Who shares work."""

    def __init__(
        self,
        rows: Iterable[GroupRow],
        settings: Settings,
        rooms: BrokerRooms,
        gathering: Gathering,
        replies: Replies,
        allowances: Allowances,
        now: Instant,
    ) -> None:
        self._settings = settings
        self._rooms = rooms
        self._gathering = gathering
        self._allowances = allowances
        self.rooms: dict[str, dict[str, WorkGroup]] = {}  # room -> name -> group
        self._kept = Share(settings, "groups_max")
        self._members: dict[str, list[tuple[WorkGroup, GroupMember]]] = {}  # by session
        self._shares = Share(settings, "group_members_max")
        self._eager: dict[WorkGroup, None] = {}  # may have something to hand out
        self._stocking = Stocking(rooms)
        self._handing_out = HandingOut(replies)
        self._replies = replies
        self._were_too_many = False  # runs
        self._runs = 0  # pending, of all
        self._due = inf
        self._rests = False  # the log has refused what it was given last,
        self._tried_at = 0.0  # and is to be tried again a while after that
        for row in rows:
            group = WorkGroup.of_row(row, now.seconds + settings.restart_grace_seconds)
            self.rooms.setdefault(row.room, {})[row.name] = group
            self._kept.add(None, 1)  # whose they are, no log tells: they count for all
            self._note(group)

    # --- what clients say -------------------------------------------------------------------

    def join(self, session: Session, message: wire.JoinGroup, head: int, now: Instant) -> None:
        """It takes part, or does no more. Raises BadName, WireError."""
        group = self._of(message.room, message.group)
        known = next(
            (m for g, m in self._members.get(session.id, []) if g is group and m.number == message.member), None
        )
        if not message.max_in_flight:
            if group is not None and known is not None:
                self._leave(group, known, "left", now, counts=False)
            return
        if known is not None and known.is_there and known.asked == message.request:
            return  # said twice, as the answer was late: what it has been handed since is not in it
        if message.max_in_flight > wire.GROUP_IN_FLIGHT_MAX:
            raise WireError("bad-request", f"limit {wire.GROUP_IN_FLIGHT_MAX} records in flight")
        if not wire.ACK_WAIT_MS_MIN <= message.ack_wait <= wire.ACK_WAIT_MS_MAX:
            raise WireError("bad-request", f"ack_wait is not in {wire.ACK_WAIT_MS_MIN}..{wire.ACK_WAIT_MS_MAX} ms")
        if known is None:
            text = "there are as many members of groups as there may be, or of this user or address"
            self._shares.check(session.address, 1, "over-limit", text, session.user)
        if group is None:
            after = head if message.after is None else message.after
            group = self._make(session, message.room, message.group, after, head, now)
        if group.max_deliveries != message.max_deliveries:
            group.max_deliveries = message.max_deliveries
            self._keep(group)
        is_back = known is None or not known.is_there  # else nothing was lost on the way: more is on it perhaps
        member = known or self._add(group, session, message.member)
        member.endpoint, member.asked = session.connection, message.request
        member.max_in_flight, member.ack_wait = message.max_in_flight, message.ack_wait / 1000
        if is_back:
            group.claim(member, message.holds, now)
        self._changed(group)

    def settle(self, session: Session, message: wire.Settle, now: Instant) -> None:
        """What became of what it was handed. What is not pending any more is passed over."""
        for group, member in self._members.get(session.id, []):
            if member.number == message.member:
                for first, last in message.acks:
                    member.settled(first, last)
                    group.ack(first, last)
                for first, last, delay, deliveries in message.nacks:
                    member.settled(first, last)
                    group.nack(member, first, last, min(delay, wire.ACK_WAIT_MS_MAX) / 1000, deliveries, now)
                self._changed(group)
                self._keep(group)

    def set(self, session: Session, message: wire.SetGroup, head: int, now: Instant) -> None:
        """It goes on elsewhere, or goes. Raises BadName, WireError."""
        group = self._of(message.room, message.group)
        if message.after is None:
            if group is not None:
                self._remove(group)
            return
        if group is None:
            group = self._make(session, message.room, message.group, message.after, head, now)
        elif message.after > head:
            raise WireError("bad-request", f"offset {message.after} is above the head, {head}")
        self._stocking.forget(group)
        group.move(message.after)
        group.time = now.micros
        self._changed(group)
        self._keep(group)

    # --- what happens -----------------------------------------------------------------------

    def greeted(self, session: Session) -> None:
        """It said HELLO: nothing is handed to it until it has said what it still has."""
        for _, member in self._members.get(session.id, []):
            member.endpoint = b""

    def left(self, session: Session, reason: str, now: Instant) -> None:
        """The session has gone."""
        for group, member in list(self._members.get(session.id, [])):
            self._leave(group, member, reason, now, counts=True)

    def denied(self, session: Session, may: Callable[[str], bool], now: Instant) -> bool:
        """It takes part no more where it may not. Returns whether it did anywhere."""
        lost = [(group, member) for group, member in self._members.get(session.id, []) if not may(group.room)]
        for group, member in lost:
            self._leave(group, member, "left", now, counts=False)
        return bool(lost)

    def stored(self, batch: OpenBatch, prev: int) -> None:
        """A room that has groups has records more; `prev` was its last message before them."""
        for group in self.rooms[batch.room.name].values():
            self._stocking.store(group, StockBatch(batch.frame, batch.base, batch.records), prev)
            self._eager[group] = None

    def kept(self, dying: list[tuple[WorkGroup, Run]]) -> None:
        """The log keeps what it is given; these dead letters are stored."""
        self._rests = False
        for group, run in dying:
            group.buried(run)
            self._note(group)

    def not_kept(self, dying: list[tuple[WorkGroup, Run]], now: Instant) -> None:
        """It does not: those are written again later, and nothing is handed out meanwhile.

        Else all of that would be handed out once more, as if for the first time, by a broker that is started then.
        """
        self._rests, self._tried_at = True, now.seconds
        for group, run in dying:
            if run.state == DYING:
                group.comes_later(run, now.seconds + AGAIN_SECONDS)
            self._note(group)

    def elapsed(self, now: Instant) -> None:
        """Time has passed."""
        if self._rests and self._eager and now.seconds >= self._tried_at + AGAIN_SECONDS:
            self._tried_at = now.seconds
            self._keep(next(iter(self._eager)))  # a commit is tried
        if self._due > now.seconds:
            return
        due = inf
        for groups in self.rooms.values():
            for group in groups.values():
                if group.due <= now.seconds:
                    group.elapsed(now)
                    self._eager[group] = None
                due = min(due, group.due)
        self._due = due

    @property
    def next_deadline(self) -> float | None:
        """When `elapsed` has something to do."""
        due = min(self._due, self._tried_at + AGAIN_SECONDS) if self._rests and self._eager else self._due
        return None if due == inf else due

    # --- handing out ------------------------------------------------------------------------

    @property
    def is_eager(self) -> bool:
        """Whether `hand_out` may have something to do."""
        return bool(self._eager) and not self._rests

    def hand_out(self, full: Container[bytes], now: Instant) -> None:
        """Divide what is there. Who is in `full` does not read what it is sent. Then take replies and reads."""
        for _ in range(0 if self._rests else min(HANDED_OUT_MAX, len(self._eager))):
            group = next(iter(self._eager))
            del self._eager[group]
            takes_new, before = self._takes_new(group), group.stock_bytes
            if self._handing_out.hand_out(group, full, now, takes_new=takes_new):
                self._keep(group)
            self._stocking.bytes += group.stock_bytes - before
            self._stocking.look(group, now)
            self._note(group)

    def take_reads(self, now: Instant) -> list[StockRead]:
        """What is to be read from the log; then `read` or `unread`."""
        return self._stocking.take(now)

    def read(self, read: StockRead, page: StockPage, now: Instant) -> None:
        """The log has that. Then hand out."""
        group = read.group
        dying = self._stocking.read(read, page)
        if self.rooms.get(group.room, {}).get(group.name) is not group:
            self._stocking.forget(group)  # it was removed meanwhile
            return
        for run, batch in dying:
            if not bury(group, run, batch, self._rooms, self._gathering, now):
                group.comes_later(run, now.seconds + AGAIN_SECONDS)
        if page.gaps:
            self._handing_out.tell(group, page.gaps)
            self._keep(group)
        self._changed(group)

    def unread(self, read: StockRead, now: Instant) -> None:
        """The log could not be read."""
        self._stocking.unread(read, now)
        self._note(read.group)

    # --- telling ----------------------------------------------------------------------------

    def listed(self, room: str, name: str, may_read: Callable[[str], bool]) -> Iterator[list[wire.Group]]:
        """The groups that are asked for, in parts; of one by its name, what is pending of it."""
        part: list[wire.Group] = []
        for each in [room] if room else list(filter(may_read, self.rooms)):
            for group in list(self.rooms.get(each, {}).values()):
                if name in ("", group.name):
                    part.append(self._told(group, with_pending=bool(room and name)))
                if len(part) >= LISTED_STEP:
                    yield part
                    part = []
        yield part

    def _told(self, group: WorkGroup, *, with_pending: bool) -> wire.Group:
        room = self._rooms.get(group.room)
        out = sum([member.out for member in group.members.values()])
        waiting = sum([run.records for run in group.pending]) - out
        pending = [_pending(run) for run in group.pending[:PENDING_TOLD_MAX]] if with_pending else []
        last = room.messages.last if room is not None else 0
        counts = (len(group.members), out, waiting, group.redelivered, group.dead)
        return wire.Group(group.room, group.name, group.low, group.upto, last, *counts, pending)

    # --- parts ------------------------------------------------------------------------------

    def _of(self, room: str, name: str) -> WorkGroup | None:
        """Raises BadName, WireError for what can be no group."""
        if room_name(room) != room or is_pattern(room):
            raise BadName("room", room, "not in its canonical form")
        if room.startswith("@"):
            raise WireError("denied", "an inbox has one reader, and no groups")
        if len((room + DEAD).encode()) > ROOM_BYTES_MAX:
            raise BadName("room", room, f"a room with groups has at most {ROOM_BYTES_MAX - len(DEAD)} bytes")
        if group_name(name) != name:
            raise BadName("group", name, "not in its canonical form")
        return self.rooms.get(room, {}).get(name)

    def _make(self, session: Session, room: str, name: str, after: int, head: int, now: Instant) -> WorkGroup:
        if after > head:
            raise WireError("bad-request", f"offset {after} is above the head, {head}")
        text = f"the broker keeps {self._kept.held} groups, and no more of all, of this user or of this address"
        self._kept.check(session.address, 1, "over-limit", text, session.user)
        self._allowances.make(session.address, 1, now)
        group = self.rooms.setdefault(room, {})[name] = WorkGroup(room, name, after)
        group.time = now.micros
        group.owner = session.user, session.address
        self._kept.add(session.address, 1, session.user)
        self._keep(group)
        return group

    def _remove(self, group: WorkGroup) -> None:
        if group.members:
            raise WireError("bad-request", f"the group has {len(group.members)} members: end them before")
        self._stocking.forget(group)
        group.move(group.upto)
        self._note(group)
        names = self.rooms[group.room]
        del names[group.name]
        if not names:
            del self.rooms[group.room]
        user, address = group.owner
        self._kept.add(address, -1, user)
        self._eager.pop(group, None)
        self._gathering.groups[group.room, group.name] = None

    def _add(self, group: WorkGroup, session: Session, number: int) -> GroupMember:
        member = group.members[session.id, number] = GroupMember(session, number)
        member.address = session.address
        self._shares.add(member.address, 1, session.user)
        self._members.setdefault(session.id, []).append((group, member))
        return member

    def _leave(self, group: WorkGroup, member: GroupMember, reason: str, now: Instant, *, counts: bool) -> None:
        group.release(member, reason, now, counts=counts)
        del group.members[member.session.id, member.number]
        self._shares.add(member.address, -1, member.session.user)
        of_session = self._members[member.session.id]
        of_session.remove((group, member))
        if not of_session:
            del self._members[member.session.id]
        if not group.members:
            self._stocking.forget(group)
        self._changed(group)
        self._keep(group)

    def _keep(self, group: WorkGroup) -> None:
        """Its row changes with the next commit."""
        self._gathering.groups[group.room, group.name] = group

    def _takes_new(self, group: WorkGroup) -> bool:
        """Whether it is handed what nobody had yet. Where all have too many runs, who has few is not made to wait."""
        are_too_many = self._runs >= self._settings.group_runs_max
        if are_too_many and not self._were_too_many:
            self._replies.limits.note("group_runs_max", "", "")
        self._were_too_many = are_too_many
        few = max(1, self._settings.group_runs_max // (2 * max(1, self._kept.held)))
        return not are_too_many or len(group.pending) < few

    def _changed(self, group: WorkGroup) -> None:
        """It may have something to hand out."""
        self._eager[group] = None
        self._note(group)

    def _note(self, group: WorkGroup) -> None:
        """Its runs are counted, and when it is due."""
        self._runs += len(group.pending) - group.runs_counted
        group.runs_counted = len(group.pending)
        self._due = min(self._due, group.due)


def _pending(run: Run) -> wire.PendingRun:
    holder = None if run.holder is None else run.holder.session
    whose = (holder.user, holder.id) if holder is not None else ("", "")
    return wire.PendingRun(run.first, run.last, run.deliveries, *whose)
