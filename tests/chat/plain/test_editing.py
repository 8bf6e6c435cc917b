"""The line that is typed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zchat.chat.core.completion import Offer
from zchat.chat.plain.editing import Drawn, LineEditor, drawn_anew
from zchat.printable import cells


def typed(text: str, *keys: str) -> LineEditor:
    editor = LineEditor()
    editor.insert(text)
    for key in keys:
        assert editor.press(key), key
    return editor


def test_keys_edit() -> None:
    for keys, text, at in (
        (["left", "backspace"], "one two thre"[:-1] + "e", 11),
        (["ctrl+w"], "one two ", 8),
        (["ctrl+w", "ctrl+y"], "one two three", 13),
        (["ctrl+u"], "", 0),
        (["home", "ctrl+k"], "", 0),
        (["home", "alt+f", "ctrl+k"], "one", 3),
        (["ctrl+left", "ctrl+left", "delete"], "one wo three", 4),
        (["home", "left", "end", "right"], "one two three", 13),
    ):
        editor = typed("one two three", *keys)
        assert (editor.text, editor.at) == (text, at), keys
    assert not LineEditor().press("f12")


def test_what_was_typed_before_comes_back() -> None:
    editor = typed("one")
    assert editor.taken() == "one" and editor.text == ""
    editor.insert("dra")
    editor.press("up")
    assert editor.text == "one"
    editor.press("down")
    assert editor.text == "dra"


def test_completion_goes_round() -> None:
    editor = typed("hi @a")
    found = [Offer(3, "@ann ", ""), Offer(3, "@alice ", "")]
    texts = []
    for step in (1, 1, 1, -1):
        editor.complete(found, step)
        texts.append(editor.text)
    assert texts == ["hi @ann ", "hi @alice ", "hi @ann ", "hi @alice "]
    editor.insert("!")
    editor.complete([])
    assert editor.text == "hi @alice !"


def test_one_more_character_writes_that_and_nothing_else() -> None:
    assert drawn_anew(Drawn("> he", 4), Drawn("> hel", 5)) == "l"
    assert drawn_anew(Drawn("> he", 3), Drawn("> hle", 4)) == "\r> hle\x1b[K\x1b[1D"
    assert drawn_anew(Drawn("", 0), Drawn("> ", 2)) == "\r> \x1b[K"


@given(st.text(max_size=200), st.integers(0, 200), st.integers(20, 60))
def test_it_is_one_row_without_control_characters(text: str, at: int, width: int) -> None:
    editor = LineEditor()
    editor.insert(text.encode(errors="replace").decode())
    editor.at = min(at, len(editor.text))
    drawn = editor.drawn("#general> ", width)
    assert cells(drawn.text) < width and 0 <= drawn.column <= cells(drawn.text)
    assert "\x1b" not in drawn.text and "\n" not in drawn.text
