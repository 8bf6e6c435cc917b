"""What is to be sent later: kept as rows of the log, and written into its room when it is due.

    SCHEDULE ─► a row          due ─► a record of the room, and the row says that it is done: in one commit
    CANCEL ─► the row says that it is done

Rules of this file
1. What is here is what the log has, or what gathers for it; where the log keeps that not, it is undone.
2. A row that is done is kept for a day: a SCHEDULE that is said again, as its answer was lost, finds it and changes
   nothing. So each is sent once, also where the broker was killed in between.
3. It has no clock. Times are the broker's; where its clock is set, what is due is looked for within LOOK_SECONDS.

Spec: docs/protocol.md, "Later". Tests: tests/core/test_schedule.py.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, OrderedDict
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import count

import msgspec

from zchat import wire
from zchat.core import Instant
from zchat.core.allowances import origin
from zchat.core.checking import checked_records
from zchat.core.commits import Gathering
from zchat.core.identity import Identities
from zchat.core.log import ScheduledRow
from zchat.core.rights import WRITE, Rights
from zchat.core.rooms import BrokerRooms
from zchat.core.session import Session
from zchat.errors import BadName, WireError, over_limit
from zchat.message import NOT_OPENED
from zchat.names import room_name, user_key
from zchat.settings import Settings
from zchat.wire.records import SEALED_EVENT

ID_CHARACTERS_MAX = 64
LOOK_SECONDS = 0.5  # while anything is scheduled
RETRY_SECONDS = 1.0  # after the log or the limits refused
SENT_AT_ONCE = 500  # then others have their turn
PASSED_OVER_MAX = 1_000  # entries of what was cancelled, beside as many as there are of others
DONE_KEPT_SECONDS = 86_400  # a SCHEDULE may be said again for so long,
DONE_KEPT_MAX = 20_000  # as long as there are no more of these

ScheduleKey = tuple[str, str]  # the user's key, and the id
DuePlace = tuple[int, str]  # when it is due, and the id


class BrokerSchedule:
    """All that is scheduled at a broker."""

    def __init__(
        self,
        rows: Iterable[ScheduledRow],
        settings: Settings,
        rooms: BrokerRooms,
        gathering: Gathering,
        now: Instant,
        rights: Rights,
        identities: Identities,
    ) -> None:
        self._rights = rights
        self._identities = identities
        self._settings = settings
        self._rooms = rooms
        self._gathering = gathering
        self._rows: dict[ScheduleKey, ScheduledRow] = {}
        self._before: dict[ScheduleKey, ScheduledRow | None] = {}  # as the log has those that are on their way to it
        self._users: dict[str, list[DuePlace]] = {}  # what each has, in order
        self._due: list[tuple[int, int, ScheduleKey]] = []  # heap: its first is to be sent, not each behind it
        self._ties = count()
        self._done: OrderedDict[ScheduleKey, int] = OrderedDict()  # when, oldest first
        self._counts = Counter[str]()  # by origin, and by `=` and the user's key; "" is none of these: all together
        self._bytes = Counter[str]()
        self._ahead = now.micros / 1e6 - now.seconds  # of the clock, before the one that never goes back
        self._looked_at = now.seconds
        self._rests_until = 0.0
        for row in sorted(rows, key=lambda row: row.due):
            self._put((row.owner, row.id), row)

    # --- what users want --------------------------------------------------------------------

    def schedule(self, session: Session, message: wire.Schedule, now: Instant) -> bool:
        """Keep it with the next commit. Returns False where the log has it already, as it was said before.

        Raises BadName, WireError; then nothing has changed.
        """
        key = user_key(session.user), _checked(message.id)
        row = self._rows.get(key)
        if self._before.get(key, row) is not None:
            return False  # a commit that the log refuses would have it refused, and it is sent all the same
        if row is None:
            count = checked_records(message, bytes(message.records), self._settings)
            if count != 1:
                raise WireError("too-many-records", f"{count} records, and each is scheduled alone")
            if room_name(message.room) != message.room:
                raise BadName("room", message.room, "not in its canonical form")
            due = message.due or now.micros + message.delay
            if due > wire.OFFSET_MAX:
                raise WireError("bad-request", "it is due later than any time that can be told")
            peer = origin(session.address) or "-"
            self._may_add(peer, key[0], len(message.records))
            row = ScheduledRow(*key, session.user, session.id, message.room, due, peer, bytes(message.records))
        self._change(key, row)
        return True

    def cancel(self, session: Session, message: wire.Cancel, now: Instant) -> bool:
        """Take it back with the next commit. Returns False where there is nothing to take back. Raises WireError."""
        key = user_key(session.user), _checked(message.id)
        row = self._rows.get(key)
        if row is None or (_is_done(row) and key not in self._before):
            return False
        self._change(key, row if _is_done(row) else row._replace(records=b"", due=now.micros))
        return True

    def page(self, session: Session, question: wire.Scheduled) -> wire.ScheduledAre:
        """What the user has behind a place."""
        owner = user_key(session.user)
        places = self._users.get(owner, [])
        begin = bisect_right(places, (question.due, question.id))
        end = begin + wire.SCHEDULED_LISTED_MAX
        told = [_told(self._rows[owner, name]) for _, name in places[begin:end]]
        return wire.ScheduledAre(question.request, told, len(places) > end)

    # --- time -------------------------------------------------------------------------------

    def elapsed(self, now: Instant) -> None:
        """Write what is due, with the next commit."""
        self._ahead, self._looked_at = now.micros / 1e6 - now.seconds, now.seconds
        if now.seconds < self._rests_until:
            return
        sent = 0
        while self._due and self._due[0][0] <= now.micros and sent < SENT_AT_ONCE:
            key = self._due[0][2]
            if not self._send(key, self._rows[key], now):
                self._rests_until = now.seconds + RETRY_SECONDS
                break
            sent += 1
        self._forget(now)

    @property
    def next_deadline(self) -> float | None:
        """When `elapsed` is to be called next; None: nothing is scheduled."""
        if not self._due:
            return None
        soon = min(self._due[0][0] / 1e6 - self._ahead, self._looked_at + LOOK_SECONDS)
        return max(soon, self._rests_until)

    # --- the log ----------------------------------------------------------------------------

    def committed(self, kept: dict[ScheduleKey, ScheduledRow | None]) -> None:
        """The log has these now."""
        for key, row in kept.items():
            if key in self._gathering.scheduled:
                self._before[key] = row
            else:
                self._before.pop(key, None)

    def not_kept(self, now: Instant) -> None:
        """The log refused what was on its way, and what gathered meanwhile is undone with it."""
        undone, self._before = self._before, {}
        for key, row in undone.items():
            self._put(key, row)
        if undone:
            self._rests_until = now.seconds + RETRY_SECONDS

    # --- parts ------------------------------------------------------------------------------

    def _send(self, key: ScheduleKey, row: ScheduledRow, now: Instant) -> bool:
        """False: there may be no such room now. Of who is let in no more, or may not write there, it is taken back."""
        if why := self._why_not(row, now):
            audit, text = self._identities.audit, {"user": row.user, "room": row.room, "code": why}
            audit.note("not-sent", now, **text)
            self._change(key, row._replace(records=b"", due=now.micros))
            return True
        try:
            (room,) = self._rooms.admit([row.room], None, now)
        except (BadName, WireError):
            return False
        records = msgspec.Raw(row.records)
        writer = Session(row.session, row.user, now.micros, now.micros)  # nobody is told of an outcome
        writer.wait(len(records))
        self._gathering.open_batch(room, wire.MESSAGES).add(writer, 0, records, 1, len(records))
        self._change(key, row._replace(records=b"", due=now.micros))
        return True

    def _why_not(self, row: ScheduledRow, now: Instant) -> str:
        """The code of why its user may not send it any more; empty: it is sent."""
        if not self._identities.is_known(row.user, now.micros / 1e6):
            return "revoked-key"
        return "" if self._rights.may(row.user, WRITE, row.room) else "denied"

    def _change(self, key: ScheduleKey, row: ScheduledRow | None) -> None:
        self._before.setdefault(key, self._rows.get(key))
        self._gathering.scheduled[key] = row
        self._put(key, row)

    def _put(self, key: ScheduleKey, row: ScheduledRow | None) -> None:
        """It is so from now on; None: it is forgotten."""
        self._place(key, row)
        self._pass_over()

    def _place(self, key: ScheduleKey, row: ScheduledRow | None) -> None:
        former = self._rows.pop(key, None)
        owner, name = key
        if former is not None and former.records:
            self._count(former, -1)
            places = self._users[owner]
            del places[bisect_right(places, (former.due, name)) - 1]
            if not places:
                del self._users[owner]
        self._done.pop(key, None)
        if row is None:
            return
        self._rows[key] = row
        if _is_done(row):
            self._done[key] = row.due
            return
        self._count(row, 1)
        insort(self._users.setdefault(owner, []), (row.due, name))
        heappush(self._due, (row.due, next(self._ties), key))

    def _pass_over(self) -> None:
        """Entries of the heap whose message is not to be sent then: the first ones, and all where they are too many."""
        if len(self._due) > 2 * self._counts[""] + PASSED_OVER_MAX:
            self._due = [entry for entry in self._due if self._is_due(entry)]
            heapify(self._due)
        while self._due and not self._is_due(self._due[0]):
            heappop(self._due)

    def _is_due(self, entry: tuple[int, int, ScheduleKey]) -> bool:
        due, _, key = entry
        row = self._rows.get(key)
        return row is not None and row.due == due and not _is_done(row)

    def _count(self, row: ScheduledRow, sign: int) -> None:
        for peer in ("", row.origin, _of_user(row.owner)):
            self._counts[peer] += sign
            self._bytes[peer] += sign * len(row.records)
            if not self._counts[peer]:
                del self._counts[peer], self._bytes[peer]

    def _may_add(self, peer: str, owner: str, size: int) -> None:
        settings = self._settings
        of_user, of_address = (_of_user(owner), "user_", "of the user "), (peer, "address_", "of one address ")
        for whose, who, of in (of_user, of_address, ("", "", "")):
            most: int = getattr(settings, f"{who}scheduled_max")
            if self._counts[whose] >= most:
                text = f"{self._counts[whose]} messages {of}are scheduled, limit {most}"
                raise over_limit(f"{who}scheduled_max", "over-limit", text)
            most = getattr(settings, f"{who}scheduled_bytes_max")
            if self._bytes[whose] + size > most:
                text = f"{self._bytes[whose]} bytes {of}are scheduled, limit {most}"
                raise over_limit(f"{who}scheduled_bytes_max", "over-limit", text)

    def _forget(self, now: Instant) -> None:
        """What was done long ago."""
        while self._done:
            key, when = next(iter(self._done.items()))
            if len(self._done) <= DONE_KEPT_MAX and when > now.micros - DONE_KEPT_SECONDS * 1_000_000:
                return
            self._change(key, None)


def _checked(name: str) -> str:
    if not (0 < len(name) <= ID_CHARACTERS_MAX and name.isascii() and name.isalnum()):
        raise WireError("bad-request", f"an id is 1 to {ID_CHARACTERS_MAX} ASCII letters and digits")
    return name


def _of_user(owner: str) -> str:
    return f"={owner}"


def _is_done(row: ScheduledRow) -> bool:
    return not row.records


def _told(row: ScheduledRow) -> wire.ScheduledMessage:
    (record,) = wire.decode_records(msgspec.Raw(row.records))
    known = wire.Record(record) if isinstance(record, bytes) else record
    if known.event == SEALED_EVENT:
        return wire.ScheduledMessage(row.id, row.room, row.due, known.event, NOT_OPENED, len(known.body))
    preview = known.body[: 4 * wire.PREVIEW_CHARACTERS].decode(errors="replace")[: wire.PREVIEW_CHARACTERS]
    return wire.ScheduledMessage(row.id, row.room, row.due, known.event, preview, len(known.body))
