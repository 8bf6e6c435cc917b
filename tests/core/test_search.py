"""A search finds what looking at every message finds, whatever the index knows, has forgotten, or makes up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.log.contract import SECOND, Scribe
from zchat import wire
from zchat.core import search as module
from zchat.core.answers import EMPTY_PAGES_MAX
from zchat.core.log import Sliced, whole
from zchat.core.search import search, searching
from zchat.core.steps import Ask
from zchat.core.words import Finder, Phrase, asked_for
from zchat.errors import LogError, WireError
from zchat.log.memory import MemoryLog
from zchat.message import Message, messages
from zchat.names import matcher, user_key

MEGABYTE = 1 << 20
TEXTS = st.sampled_from(["red fish", "blue fish", "red car", "会议 red", "nothing", "\udcff"])
WRITTEN = st.tuples(
    st.sampled_from(["den", "build.a", "build.b", "@bob"]),
    st.sampled_from(["Alice", "bob"]),
    st.lists(TEXTS, min_size=1, max_size=5),
)


class Index:
    """One that knows a part, and names what it was told to."""

    def __init__(self, upto: int, offsets: Sequence[int], *, fails: bool = False) -> None:
        self._upto = upto
        self._offsets = sorted(offsets, reverse=True)
        self._fails = fails

    def upto(self) -> int:
        return self._upto

    def find(
        self, phrases: Sequence[Phrase], patterns: list[str], user: str, after: int, below: int, count: int
    ) -> Sliced[list[int]]:
        yield
        if self._fails:
            raise LogError("log-failed", "torn")
        return [offset for offset in self._offsets if after < offset < below and offset <= self._upto][:count]


class Filled(NamedTuple):
    """A log, and all of its messages, newest first."""

    log: MemoryLog
    messages: list[Message]


def filled(written: Sequence[tuple[str, str, list[str]]]) -> Filled:
    log = MemoryLog()
    scribe = Scribe(log)
    kept: list[Message] = []
    for room, user, texts in written:
        bodies = [text.encode(errors="surrogateescape") for text in texts]
        entry = wire.RawEntry(user, "s", 1, wire.raw(wire.encode_records(bodies)))
        batch = scribe.batch_of(room, [entry], len(bodies))
        scribe.keep(batch)
        kept += messages(room, wire.decode_batch(batch.frame), batch.base)
    scribe.write("den", b"", kind=wire.PRESENCE)
    return Filled(log, kept[::-1])


def asked(words: str = "red", *patterns: str, last: int = 20, **more: int | str) -> wire.Search:
    return wire.Search(1, words, list(patterns or ["**"]), last, **more)  # type: ignore[arg-type]


def found(log: MemoryLog, index: Index | None, question: wire.Search, bytes_max: int = MEGABYTE) -> list[Message]:
    """All of it, as a client asks for it."""
    steps = searching(question)
    step = next(steps)
    while True:
        assert isinstance(step, Ask) and isinstance(step.request, wire.Search)
        answer = whole(search(log, index, step.request, log.head(), bytes_max))
        try:
            step = steps.send(wire.decode_broker(wire.encode(answer)))  # type: ignore[arg-type]
        except StopIteration as end:
            return list(end.value)


def expected(all_of: Filled, question: wire.Search) -> list[Message]:
    finds, fits = Finder(asked_for(question.words)).finds, matcher(question.patterns)
    return [
        message
        for message in all_of.messages
        if fits(message.room) and finds(message.body) and message.time >= question.since
        if not question.user or user_key(message.user) == user_key(question.user)
    ][: question.last]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dict(WINDOW_OFFSETS=7, WINDOWS_MAX=3, NAMED_MAX=4, LOOKED_AT_MAX=9, RECORDS_A_SLICE=3).items():
        monkeypatch.setattr(module, name, value)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(WRITTEN, max_size=25),
    st.sampled_from(["red", "fish", "red fish", '"red car"', "re*", "会议", "absent"]),
    st.lists(st.sampled_from(["**", "den", "build.*", "@bob"]), min_size=1, max_size=2),
    st.integers(1, 8),
    st.sampled_from(["", "alice", "BOB"]),
    st.integers(0, 20),
    st.data(),
)
def test_what_is_found_is_what_is_there(
    written: list[tuple[str, str, list[str]]],
    words: str,
    patterns: list[str],
    last: int,
    user: str,
    since: int,
    data: st.DataObject,
) -> None:
    all_of = filled(written)
    question = asked(words, *patterns, last=last, user=user, since=since * SECOND)
    wanted = expected(all_of, question)
    assert found(all_of.log, None, question) == wanted
    upto = data.draw(st.integers(0, all_of.log.head()))
    right = [message.offset for message in expected(all_of, asked(words, "**", "@bob", last=1000))]
    wrong = data.draw(st.lists(st.integers(1, all_of.log.head() + 3), max_size=6))
    assert found(all_of.log, Index(upto, list({*right, *wrong})), question) == wanted
    assert found(all_of.log, Index(upto, right, fails=True), question, bytes_max=1) == wanted


def test_an_answer_is_bounded_and_says_down_to_where_it_looked() -> None:
    log = filled([("den", "alice", ["red"] * 100)]).log
    few = whole(search(log, None, asked(last=3), log.head(), MEGABYTE))
    assert [wire.decode_batch(frame).base for _, frame in few.batches] == [100, 99, 98]
    assert (few.downto, few.more, few.indexed) == (97, True, 0)
    looked = whole(search(log, None, asked("absent"), log.head(), MEGABYTE))
    assert (looked.batches, looked.downto, looked.more) == ([], log.head() - 3 * 7, True)
    one = whole(search(log, Index(log.head(), range(1, 101)), asked("absent"), log.head(), MEGABYTE))
    assert (one.batches, one.more, one.indexed) == ([], True, log.head()) and one.downto >= log.head() - 13


def test_what_is_not_broadcast_yet_is_not_found() -> None:
    log = filled([("den", "alice", ["red"]), ("den", "alice", ["red"])]).log
    assert [wire.decode_batch(frame).base for _, frame in whole(search(log, None, asked(), 1, MEGABYTE)).batches] == [1]


def test_a_long_search_gives_way() -> None:
    log = filled([("den", "alice", ["red"] * 5)] * 4).log
    sliced = search(log, None, asked("absent"), log.head(), MEGABYTE)
    assert sum(1 for _ in sliced) >= 3


def test_a_broker_that_lies_is_not_asked_for_ever() -> None:
    def answer(base: int, downto: int, room: str = "den") -> wire.Found:
        frame = wire.encode(wire.Batch(wire.MESSAGES, base, 0, 1, [wire.Entry("a", "s", 1, [b"red"])]))
        return wire.Found(0, [(room, wire.raw(frame))] if base else [], downto, True, 0)

    for lies in (
        [answer(9, 8), answer(9, 7)],  # the same again
        [answer(9, 8), answer(0, 8), answer(0, 8)],  # it does not go on
        [answer(9, 8, "other.room")],
        [answer(0, 10**9 - step) for step in range(EMPTY_PAGES_MAX + 2)],
    ):
        steps = searching(asked("red", "den"))
        next(steps)
        with pytest.raises(WireError):
            for lie in lies:
                steps.send(lie)
