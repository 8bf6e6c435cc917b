"""Rows and spans of a text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zchat.chat.core.wrapping import rows_of, spans_of
from zchat.printable import cells


def rows(text: str, width: int) -> list[str]:
    return [text[row.begin : row.end] for row in rows_of(text, width, cells)]


def test_words_are_kept_whole_where_they_can_be() -> None:
    assert rows("one two three", 7) == ["one two", "three"]
    assert rows("one", 7) == ["one"] and rows("", 7) == [""]
    assert rows("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert rows("a\n\nb", 7) == ["a", "", "b"]
    assert rows("漢字漢字", 5) == ["漢字", "漢字"]


def test_code_is_not_broken_at_spaces_and_its_fences_are_not_shown() -> None:
    text = "look:\n```python\nif x:\n    y()\n```\nwell"
    found = rows_of(text, 40, cells)
    assert [(text[row.begin : row.end], row.is_code) for row in found] == [
        ("look:", False),
        ("if x:", True),
        ("    y()", True),
        ("well", False),
    ]
    assert rows("```", 9) == ["```"] and rows("```\n```", 9) == [""] and rows("``` x ``` y", 20) == ["``` x ``` y"]


@given(st.text(st.characters(categories=["L", "M", "N", "Z", "S"]) | st.just("\n"), max_size=200), st.integers(2, 30))
def test_no_row_is_too_wide_and_nothing_is_lost(text: str, width: int) -> None:
    found = rows_of(text, width, cells)
    assert all(cells(text[row.begin : row.end]) <= width for row in found)
    shown = "".join(text[row.begin : row.end] for row in found)
    assert sorted(shown.replace(" ", "")) == sorted(text.replace(" ", "").replace("\n", ""))


def test_links_code_and_names() -> None:
    text = "see https://example.com/a_(b)?x=1. `rm -rf #x` @ben, #ops.web and mail@x.org a#b"
    assert [(text[span.begin : span.end], span.kind) for span in spans_of(text)] == [
        ("https://example.com/a_(b)?x=1", "link"),
        ("`rm -rf #x`", "code"),
        ("@ben", "name"),
        ("#ops.web", "name"),
    ]
    assert spans_of("nothing here") == []
    assert [text[s.begin : s.end] for text in ("(https://x.org/),",) for s in spans_of(text)] == ["https://x.org/"]
