"""Who is spoken to."""

from __future__ import annotations

import pytest

from zchat.chat.core.mentions import mentions


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("@ann: hi", True),
        ("hi Ann!", True),
        ("ask ANN.", True),
        ("ann's", True),
        ("annika", False),
        ("joann", False),
        ("ann-marie", False),
        ("mail x.ann", False),
        ("", False),
    ],
)
def test_a_name_is_a_word(text: str, is_named: bool) -> None:
    assert mentions(text, "Ann") is is_named


def test_names_of_any_script_and_with_signs() -> None:
    assert (
        mentions("好 李明", "李明")
        and mentions("ci.bot-7 failed", "ci.bot-7")
        and mentions("straße ist STRASSE", "strasse")
    )
