"""What a listener is handed are plain values."""

from __future__ import annotations

from zchat.core.deliveries import Mark, Start


def test_what_is_not_said_has_its_default() -> None:
    assert Start() == (None, None, None) and Mark(4).offset == 4
