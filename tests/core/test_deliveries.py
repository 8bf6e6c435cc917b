"""What a listener is handed are plain values."""

from __future__ import annotations

import pytest

from zchat import wire
from zchat.core.deliveries import Mark, Start
from zchat.errors import Refused


def test_what_is_not_said_has_its_default() -> None:
    assert Start() == (None, None, None, None) and Mark(4).offset == 4


def test_where_it_is_the_broker_says_unless_it_is_an_offset() -> None:
    position = wire.Position(1, 40, 90)
    assert Start(last=3).found(position) == Start(since=3).found(position) == 40
    assert (Start().found(position), Start(after=7).found(position), Start(after=90).found(position)) == (0, 7, 90)
    with pytest.raises(Refused):
        Start(after=91).found(position)
