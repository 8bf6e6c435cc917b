"""What a terminal is told."""

from __future__ import annotations

from zchat.chat.screen.notifying import notification


def test_each_way_and_no_control_characters_of_others() -> None:
    assert notification("bell", "ben", "hi") == "\a"
    assert notification("osc9", "ben\x1b", "hi\nthere\x07") == "\x1b]9;ben\\x1b: hi there\\x07\a"
    assert notification("osc777", "a;b", "c;d") == "\x1b]777;notify;a,b;c,d\a"
    assert notification("off", "ben", "hi") == ""
    assert len(notification("osc9", "ben", "x" * 10_000)) < 200
