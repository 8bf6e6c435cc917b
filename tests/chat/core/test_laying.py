"""Lines of the screen: those that are laid out bit by bit are those that are laid out at once."""

from __future__ import annotations

from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from tests.chat.core.made import said
from zchat.chat.core.laying import Layout, Shape, shape_of
from zchat.chat.core.window import STEP, LoadedPart
from zchat.printable import cells


def shown_lines(layout: Layout) -> list[str]:
    found = []
    for y in range(layout.height):
        at = layout.line_at(y)
        assert at is not None
        laid, line = at
        text = laid.text[line.row.begin : line.row.end] if line.kind in ("text", "fold") else ""
        found.append(f"{line.kind}: {laid.block.day if line.kind == 'day' else text}".rstrip(": "))
    return found


def test_a_short_talk() -> None:
    window, layout = LoadedPart(), Layout(cells, UTC)
    for number, record in enumerate(
        (
            said("ann", "hello", 1),
            said("ann", "more words", 2, at=1),
            said("ben", "", 3, at=2, kind="join"),
            said("cat", "", 4, at=2, kind="join"),
            said("ben", "waves", 5, at=3, kind="action"),
        )
    ):
        window.add(record, is_followed=True)
        layout.lay(window, Shape(14, 0), 1)
        assert layout.number_at(layout.height - 1)[0] <= number
    assert shown_lines(layout) == [
        "day: Monday, 21 September 2026",
        "name",
        "text: hello",
        "new",
        "name",
        "text: more words",
        "fold: ben and cat",
        "fold: joined",
        "name",
        "text: ben waves",
    ]
    assert layout.line_at(-1) is layout.line_at(99) is None
    assert layout.number_at(6) == (2, 0) and layout.line_of(3) == 6 and layout.line_of(4) == 8


def test_names_stand_beside_the_text_where_there_is_room() -> None:
    assert shape_of(40).name == 0 and shape_of(40).text == 37
    assert shape_of(62).name and shape_of(62).text >= 40
    assert shape_of(100).name > shape_of(62).name


record = st.builds(
    lambda user, kind, at: said(user, f"text of {user}", at=at * 20_000, kind=kind),
    st.sampled_from(["ann", "ben"]),
    st.sampled_from(["said", "join", "leave"]),
    st.integers(0, 20),
)
step = st.tuples(st.sampled_from(["came", "older", "newer", "anew"]), st.lists(record, max_size=12))


@given(st.lists(step, max_size=10), st.sampled_from([30, 80]))
def test_bit_by_bit_is_as_at_once(steps: list, width: int) -> None:  # type: ignore[type-arg]
    window, layout, offset, shape = LoadedPart(30), Layout(cells, UTC), 10_000, shape_of(width)
    low = offset
    for kind, records in steps:
        if kind == "came":
            for each in records:
                offset += 1
                window.add(each._replace(offset=offset), is_followed=True)
        elif kind == "older":
            low -= len(records)
            numbered = [each._replace(offset=low + number) for number, each in enumerate(records)]
            window.add_older(numbered * 9, is_at_beginning=False)
        elif kind == "newer":
            offset += len(records)
            window.add_newer([each._replace(offset=offset) for each in records], is_at_end=True)
        else:
            window.begin_at(records, is_at_end=True)
        layout.lay(window, shape, None)
        whole = Layout(cells, UTC)
        whole.lay(window, shape, None)
        assert layout.laid == whole.laid and layout.height == whole.height
        for number in range(window.first, window.end, 7):
            assert layout.number_at(layout.line_of(number))[0] <= number
    assert len(window.records) <= 30 + STEP + 300
