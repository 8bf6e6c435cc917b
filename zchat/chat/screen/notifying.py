"""What a terminal is told when somebody speaks to the user: a bell, or a notification of the desktop.

Rules of this file: what others wrote is in it without control characters, and cut.
"""

from __future__ import annotations

from zchat.printable import printable

TEXT_CHARACTERS = 120


def notification(by: str, title: str, text: str) -> str:
    """What to write: by `bell`, `osc9` or `osc777`; empty for anything else."""
    title, text = printable(title), printable(text.replace("\n", " "))[:TEXT_CHARACTERS]
    if by == "bell":
        return "\a"
    if by == "osc9":
        return f"\x1b]9;{title}: {text}\a"
    if by == "osc777":
        return f"\x1b]777;notify;{title.replace(';', ',')};{text.replace(';', ',')}\a"
    return ""
