"""Rows that prove themselves."""

from __future__ import annotations

from typing import Any

import pytest

from zchat.log.sqlite import stored

ROW = (1, 2, 0, 3, 1_700_000_000_000_000, b"frame")


@pytest.mark.parametrize("at", range(6))
def test_a_change_of_any_part_of_a_row_is_seen(at: int) -> None:
    *place, frame = ROW
    crc = stored.checksum(*ROW)
    row: list[Any] = [*place, crc, frame]
    assert stored.is_sound(*row)
    row[at] ^= 1
    assert not stored.is_sound(*row)


@pytest.mark.parametrize("value", [None, "frame", 3, 2.5, b"", b"framf", b"fram"])
def test_a_frame_of_another_type_or_content_is_seen(value: object) -> None:
    assert not stored.is_sound(*ROW[:5], stored.checksum(*ROW), value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, "1", -1, 1 << 80, b"1", 1.0])
def test_an_offset_of_another_type_or_size_is_seen(value: object) -> None:
    assert not stored.is_sound(value, *ROW[1:5], stored.checksum(*ROW), ROW[5])  # type: ignore[arg-type]


def test_a_sealed_row_shows_a_change() -> None:
    row = stored.sealed("alice", 5, b"{}")
    assert stored.is_sealed(row)
    for changed in (("bob", *row[1:]), ("alice", 6, *row[2:]), (*row[:-1], row[-1] ^ 1), ("alice", 5, "{}", row[-1])):
        assert not stored.is_sealed(changed)
