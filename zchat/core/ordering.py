"""Ordered delivery to one listener: which batches may be delivered, and what is missing.

Rules of this file
1. It knows offsets, rooms and `prev`, never sockets or time.
2. Within a room, what was delivered is never delivered again, and nothing is delivered past a gap.
3. Its memory is bounded: a listener that falls behind drops what is live and fetches it later.

A batch says `prev`, the offset of the last record of its room before it (for who hears no joins and leaves: of the
last message). If that is above the room's high watermark (watermarks.py), the PUB dropped something: fetch what lies
between, and hold live batches back meanwhile.

    high watermark 40   batch prev=40 base=57   -> in order, deliver
    high watermark 40   batch prev=52 base=57   -> gap (40, 52], hold, fetch
    high watermark 60   batch prev=40 base=57   -> a repeat, drop

    new --synced--> live <--> filling (FETCH is out, fill.py)
                      <--> checking (HEADS is out: the connection was a new one, or batches were dropped)
                      <--> seeking (SEEK is out: where history starts, or the broker has another log)

What comes live is delivered in the state live, held in filling, checking and seeking (held.py), and dropped in new: it
is at or below the head from which the listener begins, or is fetched (of a direct topic: ways.py). What goes out waits
in telling.py.

It has more than 300 lines because its states are understood together.
Spec: docs/protocol.md, "Gaps". Tests: tests/core/test_ordering.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import answers
from zchat.core.answers import Missing
from zchat.core.deliveries import Delivery as Delivery
from zchat.core.deliveries import Mark as Mark
from zchat.core.deliveries import Start as Start
from zchat.core.fill import Fill
from zchat.core.gaps import Notice as Notice
from zchat.core.held import Held
from zchat.core.telling import Telling
from zchat.core.volatile import Heard
from zchat.core.watermarks import ListenerWatermarks

ROOMS_FETCHED_MAX = 64  # rooms that are behind and fetched by name; more are fetched by the patterns
HIGH_WATERMARKS_MAX = 50_000  # of rooms; with more, the heads are asked for, which lift the low watermark

NEW, LIVE, FILLING, CHECKING, SEEKING = "new", "live", "filling", "checking", "seeking"

TRANSITIONS: dict[str, dict[str, str]] = {
    NEW: {"other offsets": NEW, "start unknown": SEEKING, "missing": FILLING, "whole": LIVE, "doubt": CHECKING},
    SEEKING: {"other offsets": NEW, "missing": FILLING, "whole": LIVE, "doubt": CHECKING},
    FILLING: {"other offsets": NEW, "whole": LIVE, "doubt": CHECKING},
    CHECKING: {"other offsets": NEW, "missing": FILLING, "whole": LIVE, "doubt": CHECKING},
    LIVE: {"other offsets": NEW, "missing": FILLING, "doubt": CHECKING},
}

OrderingQuestion = wire.Fetch | wire.Latest | wire.Heads | wire.Seek


class OrderedDelivery:
    """The order of one listener over its patterns. `take` what it delivers, `take_question` what it asks."""

    def __init__(self, patterns: list[str], start: Start, presence: bool, marks: bool = False) -> None:
        self.patterns = patterns
        self.state = NEW
        self.began = 0  # of one without a start: the offset after which it went live
        self.logs = 0  # how often the broker has had another log
        self.watermarks = ListenerWatermarks()
        self.held = Held()
        self.telling = Telling(marks=marks)
        self._volatile = Heard()
        self._start = start
        self.presence = presence
        self._time = 0  # of the last batch delivered; before one, when it began
        self._target = 0  # history goes up to here, what is above comes live
        self._promised: int | None = None  # the same, of a start that is looked for in a log that went back
        self._fill: Fill | None = None  # what is fetched
        self.question: OrderingQuestion | None = None  # that it has, asked or not
        self._asked = False  # the question is out
        # In any state but new:
        self._synced = False  # the subscriptions are live
        self._paused = False  # the consumer takes no more
        self._doubtful = False  # something was dropped or broke: check the heads before going on
        self._early = 0  # the last record of what came while it was new
        self._rechecks = False  # the heads that are asked for are those of a doubt
        self._is_fresh = False  # that the broker has another log was told, and nothing came of that one yet

    # --- what happened ----------------------------------------------------------------------

    def synced(self, head: int, time: int) -> None:
        """The subscriptions are live for everything above `head`: at first, and after each break."""
        self._synced = True
        self.held.clear()  # at or below the head, and perhaps of a log that went back meanwhile: fetched
        if self.state == NEW:
            self._time = max(self._time, time)
            self._doubtful, self._early = self._early > head, 0
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
        self.telling.lost(reason)

    def other_log(self, log_id: str = "") -> None:
        """The broker has another log, in which offsets mean nothing: `synced` follows, then it goes on by time."""
        begins = self._start if self._is_gathering else Start(since=self._time + 1)
        if self.state == NEW:
            if self._start.after is None:
                self.watermarks.begin(0)
                return
            self.watermarks.low, begins = self._start.after, Start(after=0)  # all of this log is new to it
        if self._is_fresh:
            self._begin_anew()  # nothing is missing but what was told already
        else:
            self._begin_anew(Notice("gap", self.watermarks.low + 1, 0, reason="log", log_id=log_id))
            self._start = begins
        self._is_fresh = True
        self.watermarks.begin(0)
        self._promised = None

    def went_back(self, upto: int, last: int) -> None:
        """The log is an older copy of what it was: above `upto` there is nothing or something else, where it went
        as far as `last`. `synced` follows, and it goes on from there."""
        if self.state == NEW:
            if self._start.after is None:  # nothing has come yet, and it begins as it was to
                self._promised = None if self._promised is None else min(self._promised, upto)
                return
            self.watermarks.low = self._start.after
        if self.state == SEEKING:
            self._promised = min(self._target if self._promised is None else self._promised, upto)
        self.watermarks.fall_back(upto)
        if self.state != SEEKING and not self._is_gathering:
            self._start = Start(after=self.watermarks.low)
        self._begin_anew(Notice("gap", upto + 1, last, reason="log"))

    def broadcast(self, room: str, batch: wire.Batch, size: int) -> None:
        """A batch came live; it has a place, or is volatile."""
        if self.state == NEW:  # at or below the head that `synced` will tell, unless it came another way than that
            if batch.kind != wire.VOLATILE_MESSAGES:
                self._early = max(self._early, answers.last_of(batch))
            return
        if batch.kind == wire.VOLATILE_MESSAGES:
            self.telling.volatile(self._volatile.batch(room, batch, size, paused=self._paused) if self._synced else [])
        elif self._paused:
            self._doubtful = True
        elif self.state == LIVE and self._synced and self._follows(room, batch):
            self._deliver(room, batch, size)
            if len(self.watermarks) > HIGH_WATERMARKS_MAX:
                self._check()
        else:
            self._doubtful |= not self.held.add(room, batch, size)
            if self.state == LIVE:
                self._replay()

    def watermark(self, room: str, last: int) -> None:
        """The room has been quiet, and its last record is `last`."""
        known = self.watermarks.of(room)
        if self.state == LIVE and self._synced and not self._paused and last > known:
            self._go_and_fill([room], known, last, 0)

    def missed(self, room: str, last: int) -> None:
        """A batch came live that makes no sense; the room goes as far as `last`, or farther."""
        if self.state == LIVE and not self._paused:
            self.watermark(room, last)
        elif self.state != NEW:
            self._doubtful = True

    def paused(self, paused: bool) -> None:
        """The consumer is too far behind to take more, or can take more again."""
        self._paused = paused
        self.telling.volatile(self._volatile.paused(paused))
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
        question, self._asked = self.question, False
        if question is None:
            return True
        answers.check_kind(question, answer)
        if isinstance(answer, wire.Page) and self._fill is not None:
            return self._page(answer, self._fill)
        self.question = None
        if isinstance(answer, wire.HeadsAre):
            return self._heads(answer)
        if isinstance(answer, wire.Position):
            promised = self._target if self._promised is None else self._promised
            self.watermarks.low, self._promised = min(answer.after, promised), None  # however late the answer
            self._go_and_fill(self.patterns, self.watermarks.low, self._target, self._target)
        return True

    # --- what to do -------------------------------------------------------------------------

    @property
    def wants_mark(self) -> bool:
        """Whether something was delivered since the last mark, so that `check` would give a new one."""
        return self.state == LIVE and self.telling.wants_mark

    def reached(self, at: tuple[int, int]) -> int:
        """How far a consumer has got that was given everything up to an offset of a log, counted as `logs` does."""
        log, offset = at
        if at == (self.logs, self.telling.delivered) or not self.telling.delivered:
            return self.highest
        return offset if log == self.logs else 0

    @property
    def low_watermark(self) -> int:
        """Nothing is missing up to there, in any room."""
        return self.watermarks.low

    @property
    def highest(self) -> int:
        """The highest offset of the log that it knows of."""
        return self.watermarks.highest

    def take(self) -> list[Delivery | Notice | Mark]:
        """What is to be delivered, in order."""
        return self.telling.take()

    def take_question(self) -> OrderingQuestion | None:
        """What to ask the broker now, if anything. One question is out at a time."""
        if self.question is None or self._asked or self._paused or not self._synced:
            return None
        self._asked = True
        return self.question

    @property
    def _is_gathering(self) -> bool:
        """Whether it is given the last messages of each room; if the log changes, it goes on with what is left."""
        return self.state == FILLING and self._fill is not None and self._fill.last_per_room > 0

    # --- from state to state ----------------------------------------------------------------

    def _go(self, why: str) -> None:
        self.state = TRANSITIONS[self.state][why]

    def _begin_anew(self, gap: Notice | None = None) -> None:
        """The log is not what it was."""
        self._go("other offsets")
        self.telling.other_offsets(gap)
        self.logs += gap is not None
        self.held.clear()
        self._fill = self.question = None
        self._is_fresh = self._doubtful = False
        self._early = 0
        self._synced = self._asked = False  # also where no break was noticed

    def _begin(self, head: int) -> None:
        start = self._start
        self._target = head
        if start.after is not None and start.after < head:
            self.watermarks.low = start.after
            self._go_and_fill(self.patterns, start.after, head, head)
        elif start.last_per_room is not None:
            self._go_and_fill(self.patterns, self.watermarks.low, head, head, start.last_per_room)
        elif start.last is not None or start.since is not None:
            self._go("start unknown")
            self.question = start.seek(self.patterns, self.presence)
        else:
            self.watermarks.low = self.began = head
            self._filled(0)

    def _go_and_fill(self, patterns: list[str], after: int, until: int, low: int, last_per_room: int = 0) -> None:
        """Something may be missing between two offsets. `low`: see `Fill`."""
        if after >= until:
            self._filled(low)
            return
        self._go("missing")
        self._fill = Fill(patterns, after, until, low, last_per_room)
        self.question = self._fill.fetch

    def _filled(self, low: int) -> None:
        """Nothing is missing that we know of: live, unless in doubt."""
        self.telling.all_gaps()
        self._reach(low)
        if self._doubtful:
            self._check()
            return
        self._go("whole")
        self._is_fresh = False
        self.telling.live(self.watermarks.low, is_synced=self._synced)
        self._replay()

    def _check(self) -> None:
        """Ask for the heads."""
        self._go("doubt")
        self._rechecks, self._doubtful = self._doubtful, False
        self.question = wire.Heads(0, self.patterns)

    # --- answers ----------------------------------------------------------------------------

    def _heads(self, heads: wire.HeadsAre) -> bool:
        if heads.head < self.highest:  # it told of more before, as no log does that goes on
            self.went_back(heads.head, self.highest)
            return False
        known = self.watermarks.of
        lasts = answers.lasts(heads, presence=self.presence)
        behind = {room: known(room) for room, last in lasts if last > known(room)}
        if not behind:
            was_in_vain = self._rechecks
            self._filled(heads.head)
            return not was_in_vain
        patterns = list(behind) if len(behind) <= ROOMS_FETCHED_MAX else self.patterns
        self._go_and_fill(patterns, min(behind.values()), heads.head, heads.head)
        return True

    def _page(self, page: wire.Page, fill: Fill) -> bool:
        recovered = fresh = 0
        for part in fill.take(page):
            if isinstance(part, Missing):
                self._gap(part)
                continue
            fresh += part.last > self.watermarks.of(part.room)
            recovered += self._deliver(part.room, part.batch, part.size)
        self.telling.recovered(recovered)
        if not fill.is_done:
            self.question = fill.fetch
            if not fill.room and fill.fetch.patterns == self.patterns:
                self._reach(fill.upto)
            return True
        self._fill = self.question = None
        if fill.is_short:  # what was said to be there is not: the heads tell what is
            self.held.clear()
            self._doubtful = True
        if fill.room:
            self.watermarks.reach(fill.room, fill.upto)
        self._filled(fill.low)
        return fresh > 0

    # --- parts ------------------------------------------------------------------------------

    def _follows(self, room: str, batch: wire.Batch) -> bool:
        return answers.prev_of(batch, presence=self.presence) <= self.watermarks.of(room)

    def _deliver(self, room: str, batch: wire.Batch, size: int) -> int:
        """Returns how many records of it are new."""
        known = self.watermarks.of(room)
        last = batch.base - 1 + answers.count(batch)
        if last <= known:
            return 0
        self.telling.comes(room)
        self.watermarks.reach(room, last)
        self._is_fresh = False
        self._time = batch.time if batch.time > self._time else self._time
        if batch.kind != wire.MESSAGES and not (batch.kind == wire.PRESENCE and self.presence):
            return 0  # not asked for, or of a newer broker
        first = batch.base if batch.base > known else known + 1
        self.telling.deliver(Delivery(room, batch, first, last, size))
        return last - first + 1

    def _gap(self, gap: Missing) -> None:
        """What cannot be had any more counts as delivered."""
        known = self.watermarks.of(gap.room)
        if gap.last > known:
            self.watermarks.reach(gap.room, gap.last)
            self._is_fresh = False
            self.telling.gap(Notice("gap", max(gap.first, known + 1), gap.last, gap.room, reason=gap.reason))

    def _reach(self, low: int) -> None:
        """Nothing is missing in any room up to there."""
        self.watermarks.lift(low)
        self.telling.reached(self.watermarks.low)

    def _replay(self) -> None:
        """Deliver what was held, up to the next gap, which is fetched. Unsynced, it may be of another log."""
        while self.held and self._synced:
            room, batch, size = self.held.first
            if not self._follows(room, batch):
                prev = answers.prev_of(batch, presence=self.presence)
                self._go_and_fill([room], self.watermarks.of(room), prev, 0)
                return
            self.held.pop()
            self._deliver(room, batch, size)
