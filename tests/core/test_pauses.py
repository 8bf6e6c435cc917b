"""The pause that grows: none at first, longer each time, none again after a calm time."""

from __future__ import annotations

from zchat.core.pauses import CALM_SECONDS, PAUSE_SECONDS_MAX, Pause


def test_it_grows_up_to_a_bound_and_begins_anew_when_all_was_calm() -> None:
    pause, now, waits = Pause(), 1000.0, []
    for _ in range(9):
        pause.begin(now)
        waits.append(round(pause.until - now, 3))
        now = pause.until
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, PAUSE_SECONDS_MAX, PAUSE_SECONDS_MAX]
    now += CALM_SECONDS
    pause.begin(now)
    assert pause.until == now + PAUSE_SECONDS_MAX
    now = pause.until + CALM_SECONDS + 0.1
    pause.begin(now)
    assert pause.until == now


def test_before_it_is_begun_nothing_waits() -> None:
    assert Pause().until == 0.0
