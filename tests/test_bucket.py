"""A rate, by a clock that the test holds."""

from __future__ import annotations

import pytest

from zchat.bucket import Bucket


def test_a_bucket_grants_so_many_at_once_and_then_so_many_a_second() -> None:
    bucket = Bucket(10.0, 3.0, 100.0)
    assert [bucket.take(100.0) for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])
    assert bucket.take(100.3) == pytest.approx(0)
    assert [bucket.take(1_000.0) for _ in range(4)] == pytest.approx([0, 0, 0, 0.1]), "it holds no more"
    assert bucket.take(1_000.0, 20) == pytest.approx(2.1) == bucket.wait(1_000.0), (
        "what costs more is waited for as long"
    )


def test_what_is_tried_is_granted_at_once_or_nothing_is_taken() -> None:
    bucket = Bucket(10.0, 2.0, 100.0)
    assert [bucket.try_take(100.0) for _ in range(4)] == pytest.approx([0, 0, 0.1, 0.1])
    assert bucket.try_take(100.2) == 0
