"""Where a cursor may stand: never above what is still to be handed over, in any room; and at the end exactly there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.core.test_answers import batch, page
from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer
from zchat.core.deliveries import Delivery, Mark
from zchat.core.gaps import Notice
from zchat.core.progress import COMMIT_SECONDS, Progress
from zchat.core.steps import Ask
from zchat.errors import Refused, WireError
from zchat.names import matcher


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, 0)


def delivery(room: str, base: int, records: int = 1, kind: int = wire.MESSAGES) -> Delivery:
    last = 0 if kind == wire.VOLATILE_MESSAGES else base + records - 1
    return Delivery(room, batch(base, records=records, kind=kind), base, last, 100)


def handed(progress: Progress, *items: Any) -> tuple[int, int]:
    """Where the cursor is to be once all of these were handed over."""
    for item in items:
        progress.take(item)
        progress.asks()
    return progress.wanted


def last_commit(progress: Progress, *answers: Answer) -> list[Any]:
    """What it asks in the end, the last of which has no answer here."""
    steps = progress.last_commit("log")
    asked = []
    try:
        step = next(steps)
        for answer in [*answers, None]:
            assert isinstance(step, Ask)
            asked.append(step.request)
            if answer is not None:
                step = steps.send(answer)
    except StopIteration:
        pass
    return asked


# --- where it stands ----------------------------------------------------------------------------


def test_over_one_room_it_follows_what_was_handed_over() -> None:
    progress = Progress(["a"], "x")
    progress.begin(40)
    assert handed(progress, delivery("a", 41, 2), delivery("a", 50)) == (0, 50)
    progress.take(delivery("a", 51))
    assert progress.wanted == (0, 50), "it is in hand"


@pytest.mark.parametrize("patterns", [["a", "b"], ["*"]])
def test_over_several_rooms_it_follows_the_marks_alone(patterns: list[str]) -> None:
    progress = Progress(patterns, "x")
    progress.begin(40)
    assert handed(progress, delivery("a", 45), delivery("b", 50)) == (0, 40)
    assert handed(progress, Mark(45), delivery("a", 60)) == (0, 45)


def test_what_was_handed_over_above_a_mark_is_not_forgotten() -> None:
    progress = Progress(["a", "b"], "x")
    handed(progress, delivery("a", 60), Mark(50))
    assert progress.end(None, 0)
    assert last_commit(progress, wire.HeadsAre(1, 60, [("a", 60, 60), ("b", 50, 50)])) == [
        wire.Heads(0, ["a", "b"]),
        wire.SetCursor(0, "x", "log", 60),
    ]


def test_what_is_volatile_has_no_place() -> None:
    progress = Progress(["a"], "x")
    progress.begin(40)
    assert handed(progress, delivery("a", 7, kind=wire.VOLATILE_MESSAGES)) == (0, 40)
    assert progress.at == (0, 0)


def test_another_log_begins_at_0_and_one_that_went_back_where_it_goes_on() -> None:
    progress = Progress(["a"], "x")
    progress.begin(40)
    assert handed(progress, Notice("gap", 41, 0, reason="log"), delivery("a", 3)) == (1, 3)
    assert handed(progress, Notice("gap", 3, 9, reason="log"), delivery("a", 3)) == (2, 3)
    progress = Progress(["a", "b"], "x")
    progress.begin(40)
    assert handed(progress, delivery("a", 41), Notice("gap", 31, 41, reason="log"), delivery("b", 31)) == (1, 30)
    assert handed(progress, Notice("gap", 50, 60, "a", reason="trimmed")) == (1, 30)


def test_who_commits_by_hand_commits_what_has_left_the_buffer() -> None:
    progress = Progress(["a"], "x", follows=False)
    progress.begin(40)
    assert handed(progress, delivery("a", 41), delivery("a", 42)) == (0, 40)
    progress.take(delivery("a", 43, 4))
    progress.commit(left=45)
    assert progress.wanted == (0, 44)
    progress.take(delivery("a", 50))
    assert progress.end(None, 0) and progress.wanted == (0, 44)


# --- when it is stored --------------------------------------------------------------------------


def test_it_is_stored_now_and_then_one_request_at_a_time() -> None:
    progress = Progress(["a"], "x")
    progress.begin(40)
    assert progress.due(0, at(0)) is None
    handed(progress, delivery("a", 41))
    assert progress.due(0, at(0)) == 41
    progress.number = 7
    handed(progress, delivery("a", 42))
    assert progress.due(0, at(9)) is None
    progress.answered(is_done=True)
    assert progress.committed == (0, 41) and progress.due(0, at(COMMIT_SECONDS - 0.1)) is None
    assert progress.due(0, at(COMMIT_SECONDS)) == 42
    progress.number = 8
    progress.answered(is_done=False)
    assert progress.committed == (0, 41) and progress.due(0, at(9)) == 42


def test_one_that_could_not_be_stored_where_it_begins_is_due() -> None:
    progress = Progress(["a"], "x")
    progress.begin(0, is_stored=False)
    assert progress.due(0, at(0)) == 0


def test_a_place_of_another_log_is_not_stored_and_without_a_cursor_none_is() -> None:
    progress, nameless = Progress(["a"], "x"), Progress(["a"])
    handed(progress, delivery("a", 41)), handed(nameless, delivery("a", 41))
    assert progress.due(1, at(0)) is nameless.due(0, at(0)) is None
    assert not progress.end(None, 1) and progress.repeats_after is None
    assert not nameless.end(None, 0, taken=1) and nameless.repeats_after is None


# --- its end ------------------------------------------------------------------------------------


def test_what_cannot_be_stored_in_the_end_comes_again() -> None:
    progress = Progress(["a"], "x")
    progress.begin(40)
    progress.take(delivery("a", 41, 2))
    assert progress.end(42, 0)
    with pytest.raises(Refused):
        last_commit(progress, wire.Error("request", 1, "log-full", ""))
    assert progress.repeats_after == 40
    assert last_commit(progress, wire.Done(1)) == [wire.SetCursor(0, "x", "log", 41)]
    assert progress.repeats_after is None


@pytest.mark.parametrize(
    "answers", [[wire.Done(1)], [wire.HeadsAre(1, 60, [("a", 60, 60), ("b", 50, 50)]), wire.Done(1)]]
)
def test_an_answer_of_another_kind_is_an_error(answers: list[Answer]) -> None:
    progress = Progress(["a", "b"], "x")
    handed(progress, delivery("a", 60))
    assert progress.end(None, 0)
    with pytest.raises(WireError):
        last_commit(progress, *answers)
    assert progress.repeats_after == 0


def test_the_message_in_hand_when_an_exception_ends_it_comes_again() -> None:
    progress = Progress(["a"], "x")
    progress.begin(40)
    progress.take(delivery("a", 41, 3))
    assert progress.end(43, 0, taken=2)
    assert last_commit(progress, wire.Done(1)) == [wire.SetCursor(0, "x", "log", 41)]
    assert progress.repeats_after == 41
    progress = Progress(["a"], "x")
    progress.begin(40)
    progress.take(delivery("a", 41, 3))
    assert not progress.end(43, 0, taken=1), "one of them was left out, and nobody knows which"
    assert progress.repeats_after == 40


def test_within_a_batch_it_follows_up_to_before_the_message_in_hand() -> None:
    progress = Progress(["a"], "x")
    progress.begin(40)
    takes = iter([0, 1, 4])
    progress.look = lambda: progress.taken(next(takes))
    progress.take(delivery("a", 41, 10))
    assert [progress.due(0, at(0)) for _ in range(3)] == [None, None, 43]
    assert progress.at == (0, 43)
    progress.answered(is_done=True)
    progress.asks()
    assert progress.due(0, at(9)) == 50
    by_hand = Progress(["a"], "x", follows=False)
    by_hand.begin(40)
    by_hand.look = lambda: by_hand.taken(4)
    by_hand.take(delivery("a", 41, 10))
    assert by_hand.due(0, at(0)) is None


def test_what_was_dropped_on_the_way_in_another_room_is_looked_for() -> None:
    progress = Progress(["*"], "x")
    progress.begin(40)
    handed(progress, delivery("a", 45), delivery("b", 60))
    assert progress.end(None, 0)
    heads = wire.HeadsAre(1, 60, [("a", 55, 55), ("b", 60, 60), ("c", 35, 35)])
    joins = ("a", batch(50, kind=wire.PRESENCE))
    found = page(joins, ("a", batch(52)), upto=60)
    assert last_commit(progress, heads, found, wire.Done(1)) == [
        wire.Heads(0, ["*"]),
        wire.Fetch(0, ["a"], 45, 60),
        wire.SetCursor(0, "x", "log", 51),
    ]
    assert progress.repeats_after == 51


def test_a_gap_that_was_not_told_is_not_passed_over_and_one_that_was_is() -> None:
    for is_told in (False, True):
        progress = Progress(["*"], "x")
        progress.begin(40)
        gap = [Notice("gap", 46, 55, "a", reason="trimmed")] if is_told else []
        handed(progress, delivery("a", 45), *gap, delivery("b", 60))
        assert progress.end(None, 0)
        trimmed = page(gaps=[("a", 46, 55, "trimmed")], upto=60)
        heads = wire.HeadsAre(1, 60, [("a", 55, 55), ("b", 60, 60)])
        answers = [heads] if is_told else [heads, trimmed]
        stored = last_commit(progress, *answers)[-1]
        assert stored == wire.SetCursor(0, "x", "log", 60 if is_told else 45)


# --- any order ----------------------------------------------------------------------------------

ROOMS = ("a", "b", "c")


class AnyConsumer(RuleBasedStateMachine):
    """A log, an ordering that delivers in order of each room, and a progress, beside a set of what was handed over."""

    @initialize(patterns=st.sampled_from([["a"], ["a", "b"], ["*"]]), follows=st.booleans())
    def begin(self, patterns: list[str], follows: bool) -> None:
        self.patterns, self.follows = patterns, follows
        self.matches = matcher(patterns)
        self.progress = Progress(patterns, "x", follows=follows)
        self.logs = 0
        self.begin_log()

    def begin_log(self) -> None:
        self.head = 0
        self.stored: list[Delivery] = []
        self.coming: dict[str, list[Delivery]] = {room: [] for room in ROOMS}
        self.buffer: list[int] = []
        self.handed: set[int] = set()
        self.gone: set[int] = set()  # was delivered, and is for nobody: it has expired, or is the consumer's own
        self.count, self.is_exact = 0, True  # of the last delivery
        self.in_hand = 0  # the last message that was handed over, until the next one is asked for

    @rule(room=st.sampled_from(ROOMS), records=st.integers(1, 3))
    def write(self, room: str, records: int) -> None:
        new = delivery(room, self.head + 1, records)
        self.head = new.last
        self.stored.append(new)
        if self.matches(room):
            self.coming[room].append(new)

    @rule(count=st.integers(1, 4))
    def hand_over(self, count: int) -> None:
        for _ in range(min(count, len(self.buffer))):
            self.in_hand = self.buffer.pop(0)
            self.handed.add(self.in_hand)

    def ask_for_the_next(self) -> None:
        self.hand_over(len(self.buffer))
        self.progress.asks()
        self.in_hand = 0

    @rule(room=st.sampled_from(ROOMS), kept=st.lists(st.booleans(), min_size=3, max_size=3))
    def deliver(self, room: str, kept: list[bool]) -> None:
        if self.coming[room]:
            self.ask_for_the_next()
            item = self.coming[room].pop(0)
            self.progress.take(item)
            offsets = range(item.first, item.last + 1)
            self.buffer = [each for each, is_kept in zip(offsets, kept, strict=False) if is_kept]
            self.gone.update({*offsets} - {*self.buffer})
            self.count, self.is_exact = len(self.buffer), len(self.buffer) == len(offsets)

    @precondition(lambda self: self.patterns != ["a"])
    @rule()
    def mark(self) -> None:
        self.ask_for_the_next()
        self.progress.take(Mark(min([each[0].first - 1 for each in self.coming.values() if each], default=self.head)))
        self.progress.asks()

    @rule()
    def look(self) -> None:
        self.progress.taken(self.count - len(self.buffer))
        log, offset = self.progress.wanted
        assert log < self.logs or not self.in_hand or not self.follows or offset < self.in_hand

    @precondition(lambda self: not self.follows)
    @rule()
    def commit(self) -> None:
        self.progress.commit(self.buffer[0] if self.buffer else None)

    @rule()
    def other_log(self) -> None:
        self.ask_for_the_next()
        self.logs += 1
        self.progress.take(Notice("gap", self.head + 1, 0, reason="log"))
        self.begin_log()

    def wanted(self) -> list[int]:
        """All messages of the log that the progress is to have."""
        of = [offset for d in self.stored if self.matches(d.room) for offset in range(d.first, d.last + 1)]
        return [offset for offset in of if offset not in self.gone]

    @invariant()
    def it_stands_above_nothing_that_is_still_to_come(self) -> None:
        log, offset = self.progress.wanted
        if log == self.logs:
            assert all(each in self.handed for each in self.wanted() if each <= offset)

    def teardown(self) -> None:
        if not hasattr(self, "progress"):
            return
        counts = self.in_hand % 2 == 0
        before = self.progress.wanted
        taken = None if counts else self.count - len(self.buffer)
        if self.progress.end(self.buffer[0] if self.buffer else None, self.logs, taken=taken):
            steps = self.progress.last_commit("log")
            try:
                step = next(steps)
                while True:
                    assert isinstance(step, Ask)
                    step = steps.send(self.answer(step.request))
            except StopIteration:
                pass
        log, offset = self.progress.wanted
        if log != self.logs:
            return
        # A program that commits by itself may have committed the one in hand.
        done = self.handed if counts or not self.follows else self.handed - {self.in_hand}
        undone = [each for each in self.wanted() if each not in done]
        assert all(each > offset for each in undone) and (log != before[0] or offset >= before[1])
        if self.follows and (counts or self.is_exact):
            assert offset >= min(min(undone, default=self.head + 1) - 1, max(done, default=0)), "as far as it may"
            if self.progress.repeats_after is None:
                assert all(each <= offset for each in self.handed)

    def answer(self, request: Any) -> Answer:
        if isinstance(request, wire.Heads):
            heads = {each.room: each.last for each in self.stored if self.matches(each.room)}
            return wire.HeadsAre(1, self.head, [(room, last, last) for room, last in heads.items()])
        if isinstance(request, wire.Fetch):
            is_asked = matcher(request.patterns)
            found = [each for each in self.stored if is_asked(each.room) and each.last > request.after]
            first = [(each.room, each.batch) for each in found if each.first <= request.until][:1]
            if not first:
                return page(upto=request.until)
            upto = min(first[0][1].base - 1 + len(first[0][1].entries[0].records), request.until)
            return page(*first, upto=upto, more=upto < request.until)
        assert isinstance(request, wire.SetCursor) and request.offset <= self.head
        return wire.Done(1)


AnyConsumer.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestAnyConsumer = AnyConsumer.TestCase
