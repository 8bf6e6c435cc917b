"""Keys in the bytes that a terminal sends.

    a é       text            ESC [ A          up              CR LF in a paste    text, with newlines
    \\r        enter           ESC [ 1 ; 5 C    ctrl+right      ESC CR              alt+enter

Rules of this file: what is no key that is known is nothing, and what follows is read all the same.
Tests: tests/chat/plain/test_keys.py.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from typing import NamedTuple

_SEQUENCE = re.compile(r"\x1b(?:\[([0-9;?<>=]*)([ -/]*[@-~])|O(.)|([^[O]))", re.S)
_PASTE_BEGIN, _PASTE_END = "\x1b[200~", "\x1b[201~"
_FINALS = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "Z": "shift+tab"}
_TILDES = {"1": "home", "3": "delete", "4": "end", "5": "pageup", "6": "pagedown", "7": "home", "8": "end"}
_META = {"\r": "alt+enter", "\n": "alt+enter", "\x7f": "alt+backspace", "b": "alt+b", "f": "alt+f", "a": "alt+a"}
_CONTROL = {"\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace"}


class PressedKey(NamedTuple):
    """A key, or text that was typed or pasted."""

    name: str  # `text` for text
    text: str = ""


class KeyReader:
    """Makes keys of bytes, however they are cut."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._paste: list[str] | None = None  # what was pasted so far

    def read(self, data: bytes) -> list[PressedKey]:
        """The keys that are whole now."""
        held = self._held + self._decoder.decode(data)
        self._held = ""
        found: list[PressedKey] = []
        at = 0
        while at < len(held):
            if self._paste is not None:
                at = self._read_paste(held, at, found)
            elif held[at] == "\x1b":
                match = _SEQUENCE.match(held, at)
                if match is None:  # the rest is to come, or it was Esc alone
                    self._held = held[at:] if len(held) - at < 32 and held[at:] != "\x1b" else ""
                    break
                at = match.end()
                if match[0] == _PASTE_BEGIN:
                    self._paste = []
                elif name := _name_of(match):
                    found.append(PressedKey(name))
            elif held[at] in _CONTROL:
                found.append(PressedKey(_CONTROL[held[at]]))
                at += 1
            elif held[at] < " ":
                found.append(PressedKey(f"ctrl+{chr(ord(held[at]) + 96)}"))
                at += 1
            else:
                end = next((i for i in range(at, len(held)) if held[i] < " " or held[i] == "\x7f"), len(held))
                found.append(PressedKey("text", held[at:end]))
                at = end
        return found

    def _read_paste(self, held: str, at: int, found: list[PressedKey]) -> int:
        assert self._paste is not None
        end = held.find(_PASTE_END, at)
        if end < 0:
            half = held.rfind("\x1b", max(at, len(held) - len(_PASTE_END) + 1))
            end = len(held) if half < 0 else half
            self._paste.append(held[at:end])
            self._held = held[end:]
            return len(held)
        text = "".join([*self._paste, held[at:end]])
        self._paste = None
        if text:
            found.append(PressedKey("text", text.replace("\r\n", "\n").replace("\r", "\n")))
        return end + len(_PASTE_END)


def _name_of(match: re.Match[str]) -> str:
    parameters, final, other, meta = match.groups()
    if meta is not None:
        return _META.get(meta, "")
    if other is not None:
        return _FINALS.get(other, "")
    number, _, modifier = parameters.partition(";")
    name = _TILDES.get(number, "") if final == "~" else _FINALS.get(final, "")
    return f"ctrl+{name}" if modifier == "5" and name else name
