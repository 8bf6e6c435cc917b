"""Ordered delivery to one listener: which batches may be delivered, and what is missing.

Rules of this file
1. It knows offsets, rooms and `prev`, never sockets or time.
2. Within a room, what was delivered is never delivered again, and nothing is delivered past a gap.
3. Its memory is bounded: a listener that falls behind drops what is live and fetches it later.

A batch says `prev`, the offset of the last record of its room before it (for who hears no joins and leaves: of the
last message). If that is above the room's high watermark, the PUB dropped something: fetch it, and hold what is live.

    high watermark 40   batch prev=40 base=57   -> in order, deliver
    high watermark 40   batch prev=52 base=57   -> gap (40, 52], hold, fetch
    high watermark 60   batch prev=40 base=57   -> a repeat, drop

Up to the low watermark nothing is missing, in any room. A room's high watermark is how far it was delivered.

    new --synced--> live <--> filling (FETCH is out)
                      <--> checking (HEADS is out: the connection was a new one, or batches were dropped)
                      <--> seeking (SEEK is out: where history starts, or the broker has another log)

It has more than 300 lines because its states are understood together.
Spec: docs/protocol.md, "Gaps". Tests: tests/core/test_ordering.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import answers
from zchat.core.answers import EMPTY_PAGES_MAX, Missing
from zchat.core.deliveries import Delivery as Delivery
from zchat.core.deliveries import Mark as Mark
from zchat.core.deliveries import Start as Start
from zchat.core.gaps import Gaps, Told
from zchat.core.gaps import Notice as Notice
from zchat.core.held import Held
from zchat.core.volatile import Heard
from zchat.errors import WireError
from zchat.names import matcher

ROOMS_FETCHED_MAX = 64  # rooms that are behind and fetched by name; more are fetched by the patterns
HIGH_WATERMARKS_MAX = 50_000  # of rooms; with more, the heads are asked for, which lift the low watermark
GAPS_HELD_MAX = 10_000  # of so many rooms, to be told as one each; then they are told as they are

NEW, LIVE, FILLING, CHECKING, SEEKING = "new", "live", "filling", "checking", "seeking"

OrderingQuestion = wire.Fetch | wire.Heads | wire.Seek


class OrderedDelivery:
    """The order of one listener over its patterns. `take` what it delivers, `take_question` what it asks."""

    def __init__(self, patterns: list[str], start: Start, presence: bool, marks: bool = False) -> None:
        self.patterns = patterns
        self.began = 0  # of one without a start: the offset after which it went live
        self.logs = 0  # how often the broker has had another log
        self.state = NEW
        self.low_watermark = 0
        self._start = start
        self.presence = presence
        self._marks = marks
        self._marked = 0
        self._delivered = 0  # offset of the last record that was delivered
        self._high_watermarks: dict[str, int] = {}
        self._time = 0  # of the last batch delivered; before one, when it began
        self._target = 0  # history goes up to here, what is above comes live
        self._promised: int | None = None  # the same, of a start that is looked for in a log that went back
        self._out: list[Delivery | Notice | Mark] = []
        self._question: OrderingQuestion | None = None
        self._asked = False  # the question is out
        self._held = Held()
        self._volatile = Heard()
        self._paused = False
        self._doubtful = False  # something was dropped or broke: check the heads before going on
        self._synced = False
        self._told = Told()
        self._is_fresh = False  # that the broker has another log was told, and nothing came of that one yet
        self._empty_pages = 0  # in a row
        self._rechecks = False  # HEADS are asked for once more, as something was doubtful
        self._gaps = Gaps()
        self._watermark_after = 0  # the low watermark when the fill is done; 0: the fill was for one room

    # --- what happened ----------------------------------------------------------------------

    def synced(self, head: int, time: int) -> None:
        """The subscriptions are live for everything above `head`: at first, and after each break."""
        self._synced = True
        self._held.clear()  # at or below the head, and perhaps of a log that went back meanwhile: fetched
        if self.state == NEW:
            self._time = max(self._time, time)
            self._begin(head)
        elif self.state == LIVE:
            self._check()
        else:
            self._doubtful = True

    @property
    def is_synced(self) -> bool:
        """Whether it waits for no `synced`."""
        return self._synced

    @property
    def is_begun(self) -> bool:
        """Whether everything from now on will be delivered."""
        return self.state != NEW

    def unsynced(self) -> None:
        """The subscriptions' connection broke; `synced` follows when they are live again."""
        self._synced = False

    def lost(self, reason: str) -> None:
        """The connection to the broker broke; `synced` follows when it is back."""
        self._synced = False
        self._asked = False  # its answer will not come
        self._out += self._told.lost(reason)

    def other_log(self, log_id: str = "") -> None:
        """The broker has another log, in which offsets mean nothing: `synced` follows, then it goes on by time."""
        if self.state == NEW:
            if self._start.after is None:
                return
            self.low_watermark, begins = self._start.after, Start(after=0)  # all of this log is new to it
        else:
            begins = Start(since=self._time + 1)
        if self._is_fresh:
            self._begin_anew()  # nothing is missing but what was told already
        else:
            self._begin_anew(Notice("gap", self.low_watermark + 1, 0, reason="log", log_id=log_id))
            self._start = begins
        self._is_fresh = True
        self._high_watermarks.clear()
        self.low_watermark, self._promised = 0, None

    def went_back(self, upto: int, last: int) -> None:
        """The log is an older copy of what it was: above `upto` there is nothing or something else, where it went
        as far as `last`. `synced` follows, and it goes on from there."""
        if self.state == NEW:
            if self._start.after is None:  # nothing has come yet, and it begins as it was to
                self._promised = None if self._promised is None else min(self._promised, upto)
                return
            self.low_watermark = self._start.after
        if self.state == SEEKING:
            self._promised = min(self._target if self._promised is None else self._promised, upto)
        else:
            self.low_watermark = min(self.low_watermark, upto)
            self._start = Start(after=self.low_watermark)
        self._begin_anew(Notice("gap", upto + 1, last, reason="log"))
        behind = {room: min(last, upto) for room, last in self._high_watermarks.items()}
        self._high_watermarks = {room: last for room, last in behind.items() if last > self.low_watermark}

    def broken(self, reason: str) -> None:
        """The broker answers nothing that makes sense, or nothing at all: it is asked again."""
        self._out += self._told.broken(reason)

    def stranger(self, reason: str) -> None:
        """Another broker publishes where this one is said to."""
        self._out += self._told.stranger(reason)

    def broadcast(self, room: str, batch: wire.Batch, size: int) -> None:
        """A batch came live; it has a place, or is volatile."""
        if self.state == NEW:
            return  # at or below the head that `synced` will tell: fetched, if it is wanted
        if batch.kind == wire.VOLATILE_MESSAGES:
            self._out += self._volatile.batch(room, batch, size, paused=self._paused) if self._synced else []
        elif self._paused:
            self._doubtful = True
        elif self.state == LIVE and self._synced and answers.link(batch, presence=self.presence) <= self._known(room):
            self._deliver(room, batch, size)
            if len(self._high_watermarks) > HIGH_WATERMARKS_MAX:
                self._check()
        else:
            self._doubtful |= not self._held.add(room, batch, size)
            if self.state == LIVE:
                self._replay()

    def watermark(self, room: str, last: int) -> None:
        """The room has been quiet, and its last record is `last`."""
        if self.state == LIVE and self._synced and not self._paused and last > self._known(room):
            self._fill([room], self._known(room), last, 0)

    def missed(self, room: str, last: int) -> None:
        """A batch came live that makes no sense; the room goes as far as `last`, or farther."""
        if self.state == LIVE and not self._paused:
            self.watermark(room, last)
        elif self.state != NEW:
            self._doubtful = True

    def paused(self, paused: bool) -> None:
        """The consumer is too far behind to take more, or can take more again."""
        self._paused = paused
        self._out += self._volatile.paused(paused)
        if not paused and self.state == LIVE and self._doubtful:
            self._check()

    def check(self) -> None:
        """Compare with the heads now, in case that a loss went unseen."""
        if self.state == LIVE and not self._paused:
            self._check()

    def answered(self, answer: answers.Answer) -> bool:
        """The answer to the question that is out. Returns whether it brought anything.

        Raises WireError for one that makes no sense; the question is to be asked again then.
        """
        question, self._asked = self._question, False
        if question is None:
            return True
        answers.check_kind(question, answer)
        if isinstance(answer, wire.Page) and isinstance(question, wire.Fetch):
            return self._page(answer, question)
        self._question = None
        if isinstance(answer, wire.HeadsAre):
            return self._heads(answer)
        if isinstance(answer, wire.Position):
            promised = self._target if self._promised is None else self._promised
            self.low_watermark, self._promised = min(answer.after, promised), None  # however late the answer
            self._fill(self.patterns, self.low_watermark, self._target, self._target)
        return True

    # --- what to do -------------------------------------------------------------------------

    @property
    def wants_mark(self) -> bool:
        """Whether something was delivered since the last mark, so that `check` would give a new one."""
        return self._marks and self.state == LIVE and self._delivered > self._marked

    def reached(self, at: tuple[int, int]) -> int:
        """How far a consumer has got that was given everything up to offset at[1] of the at[0]th log."""
        if at == (self.logs, self._delivered) or not self._delivered:
            return self.highest
        return at[1] if at[0] == self.logs else 0

    @property
    def highest(self) -> int:
        """The highest offset of the log that it knows of."""
        return max(self.low_watermark, max(self._high_watermarks.values(), default=0))

    def take(self) -> list[Delivery | Notice | Mark]:
        """What is to be delivered, in order."""
        out, self._out = self._out, []
        return out

    def take_question(self) -> OrderingQuestion | None:
        """What to ask the broker now, if anything. One question is out at a time."""
        if self._question is None or self._asked or self._paused or not self._synced:
            return None
        self._asked = True
        return self._question

    # --- parts ------------------------------------------------------------------------------

    def _known(self, room: str) -> int:
        return max(self._high_watermarks.get(room, 0), self.low_watermark)

    def _begin_anew(self, gap: Notice | None = None) -> None:
        """The log is not what it was."""
        self._out += self._gaps.take_all()
        if gap is not None:
            self._out.append(gap)
            self.logs += 1
        self._is_fresh = False
        self._delivered = self._marked = self._watermark_after = 0
        self._held.clear()
        self._question = None
        self._doubtful = False
        self._synced = self._asked = False  # also where no break was noticed
        self.state = NEW

    def _begin(self, head: int) -> None:
        start = self._start
        self._target = head
        if start.after is not None and start.after < head:
            self.low_watermark = start.after
            self._fill(self.patterns, start.after, head, head)
        elif start.last is not None or start.since is not None:
            self.state = SEEKING
            self._question = start.seek(self.patterns, self.presence)
        else:
            self.low_watermark = self.began = head
            self._filled()

    def _deliver(self, room: str, batch: wire.Batch, size: int) -> int:
        """Returns how many records of it are new."""
        known = self._known(room)
        last = batch.base - 1 + sum([len(entry.records) for entry in batch.entries])
        if last <= known:
            return 0
        self._out += self._gaps.take(room)
        self._is_fresh = False
        self._high_watermarks[room] = last
        self._time = max(self._time, batch.time)
        if batch.kind != wire.MESSAGES and not (batch.kind == wire.PRESENCE and self.presence):
            return 0  # not asked for, or of a newer broker
        first = max(batch.base, known + 1)
        self._delivered = last
        self._out.append(Delivery(room, batch, first, last, size))
        return last - first + 1

    def _check(self) -> None:
        self.state = CHECKING
        self._rechecks = self._doubtful
        self._doubtful = False
        self._question = wire.Heads(0, self.patterns)

    def _heads(self, heads: wire.HeadsAre) -> bool:
        if heads.head < self.highest:  # it told of more before, as no log does that goes on
            self.went_back(heads.head, self.highest)
            return False
        lasts = answers.lasts(heads, presence=self.presence)
        behind = {room: self._known(room) for room, last in lasts if last > self._known(room)}
        if not behind:
            self._watermark_after, was_in_vain = heads.head, self._rechecks
            self._filled()
            return not was_in_vain
        patterns = list(behind) if len(behind) <= ROOMS_FETCHED_MAX else self.patterns
        self._fill(patterns, min(behind.values()), heads.head, heads.head)
        return True

    def _fill(self, patterns: list[str], after: int, until: int, watermark_after: int) -> None:
        self._watermark_after = watermark_after
        if after >= until:
            self._filled()
            return
        self.state = FILLING
        self._question = wire.Fetch(0, patterns, after, until)

    def _page(self, page: wire.Page, fetch: wire.Fetch) -> bool:
        parts = answers.parts_of(page, fetch, matcher(fetch.patterns))
        self._empty_pages = 0 if parts else self._empty_pages + 1
        if page.more and self._empty_pages > EMPTY_PAGES_MAX:
            self._empty_pages = 0
            raise WireError("bad-frame", f"{EMPTY_PAGES_MAX} pages that bring nothing, and promise more")
        recovered = fresh = 0
        for part in parts:
            if isinstance(part, Missing):
                self._gap(*part)
                continue
            fresh += part.last > self._known(part.room)
            recovered += self._deliver(part.room, part.batch, part.size)
        self._told.recovered(recovered)
        if page.more and fetch.patterns == self.patterns and self._watermark_after:
            self._reach(page.upto)
        if page.more:
            self._question = wire.Fetch(0, fetch.patterns, page.upto, fetch.until)
            return True
        self._question = None
        if page.upto < fetch.until:  # what was said to be there is not: the heads tell what is
            self._held.clear()
            self._doubtful = True
            self._watermark_after = min(self._watermark_after, page.upto)
        if not self._watermark_after:
            for room in fetch.patterns:
                self._high_watermarks[room] = max(self._high_watermarks.get(room, 0), page.upto)
        self._filled()
        return fresh > 0

    def _gap(self, room: str, first: int, last: int, reason: str) -> None:
        """What cannot be had any more counts as delivered. One hole is told once, however many pages it has."""
        known = self._known(room)
        if last <= known:
            return
        self._high_watermarks[room] = last
        self._is_fresh = False
        told = self._gaps.add(Notice("gap", max(first, known + 1), last, room, reason=reason))
        self._out += [told] if told is not None else []
        if len(self._gaps) > GAPS_HELD_MAX:
            self._out += self._gaps.take_all()

    def _reach(self, offset: int) -> None:
        """Nothing is missing in any room up to there."""
        if offset > self.low_watermark:
            self.low_watermark = offset
            self._high_watermarks = {room: last for room, last in self._high_watermarks.items() if last > offset}
        if self._marks and self.low_watermark > self._marked:
            self._out += self._gaps.take_all()
            self._marked = self.low_watermark
            self._out.append(Mark(self.low_watermark))

    def _filled(self) -> None:
        """Nothing is missing that we know of: live, unless in doubt."""
        self._out += self._gaps.take_all()
        self._reach(self._watermark_after)
        self._watermark_after = 0
        if self._doubtful:
            self._check()
            return
        self.state = LIVE
        self._is_fresh = False
        self._out += self._told.live(self.low_watermark, is_synced=self._synced)
        self._replay()

    def _replay(self) -> None:
        """Deliver what was held, up to the next gap, which is fetched. Unsynced, it may be of another log."""
        while self._held and self._synced:
            room, batch, size = self._held.first
            known = self._known(room)
            if (link := answers.link(batch, presence=self.presence)) > known:
                self._fill([room], known, link, 0)
                return
            self._held.pop()
            self._deliver(room, batch, size)
