"""Records as lines of plain text.

    [12:34] alice: hello              in the room that one types in
    [12:34] #ops alice: hello         in another one
    [12:34] (private) alice: lunch?   a direct message
    [12:34] * alice waves             /me waves
    -- ann and ben joined             what is not said

Rules of this file: a record that has several lines has them indented, so that none can look like another record.
Tests: tests/chat/plain/test_lines.py.
"""

from __future__ import annotations

from datetime import tzinfo

from zchat.chat.core.grouping import clock_of, folded
from zchat.chat.core.shown import PRESENCE, Shown

INDENT = "        "
ASIDE = "-- "


def line_of(record: Shown, prefix: str = "", zone: tzinfo | None = None) -> str:
    """The record; `prefix` says where, and ends with a space."""
    if record.kind in PRESENCE:
        return f"{ASIDE}{prefix}{folded([record])}"
    if record.kind in ("gap", "note"):
        return aside(prefix + record.text)
    return f"[{clock_of(record.time, zone)}] {prefix}{said(record)}".replace("\n", f"\n{INDENT}")


def said(record: Shown) -> str:
    """Who, and what."""
    if record.kind == "action":
        return f"* {record.user} {record.text}"
    if record.kind == "topic":
        return f"* {record.user} set the topic: {record.text}"
    if record.kind == "file":
        return f"* {record.user} sent {record.text}"
    if record.kind == "event":
        return f"{record.user} [{record.event}]: {record.text}"
    return f"{record.user}: {record.text}"


def aside(text: str) -> str:
    """A line of the chat's own."""
    return "\n".join(f"{ASIDE}{line}" for line in text.split("\n"))
