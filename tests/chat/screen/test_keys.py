"""The table of keys is that of the docs."""

from __future__ import annotations

import re
from pathlib import Path

from zchat.chat.screen.keys import IN_FIELD, KEYS, bindings, help_of_keys

DOCS = Path(__file__).parent.parent.parent.parent / "docs" / "chat.md"


def test_the_docs_have_each_key() -> None:
    table = DOCS.read_text().partition("| key |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.M)[1:]
    assert rows == [*((key.shown, key.sentence) for key in KEYS), *IN_FIELD]
    assert len(help_of_keys()) == len(rows) and len(bindings()) > len(KEYS)
