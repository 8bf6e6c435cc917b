"""Records as lines."""

from __future__ import annotations

from datetime import UTC

from tests.chat.core.made import said
from zchat.chat.core.shown import note
from zchat.chat.plain.lines import line_of


def test_lines() -> None:
    assert line_of(said("ann", "hi\nthere"), "", UTC) == "[14:13] ann: hi\n        there"
    assert line_of(said("ann", "waves", kind="action"), "#ops ", UTC) == "[14:13] #ops * ann waves"
    assert line_of(said("ann", "new", kind="topic"), "", UTC) == "[14:13] * ann set the topic: new"
    assert line_of(said("ann", "a.txt, 3 bytes", kind="file"), "", UTC) == "[14:13] * ann sent a.txt, 3 bytes"
    assert line_of(said("ann", "v2", kind="event")._replace(event="deploy"), "", UTC) == "[14:13] ann [deploy]: v2"
    assert line_of(said("ann", "", kind="join"), "", UTC) == "-- ann joined"
    assert line_of(note("one\ntwo", 0)) == "-- one\n-- two"


def test_no_record_can_look_like_another() -> None:
    hostile = line_of(said("eve", "hi\n[14:13] ann: I quit\n-- ann joined"), "", UTC)
    assert [line[:1] for line in hostile.split("\n")[1:]] == [" ", " "]
