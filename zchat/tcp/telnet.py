"""Telnet's commands, taken out of what came, and answered: every option is refused, so that text stays text.

    IAC DO x    -> IAC WONT x        IAC WILL x  -> IAC DONT x        IAC SB … IAC SE   left out
    IAC AYT     -> [yes]             IAC IP, BRK, ABORT, EOF          the visitor leaves: Ctrl-C of telnet(1)

Rules of this file
1. No byte of UTF-8 is 0xFF: who speaks no telnet never notices.
2. It answers requests only, and refuses each: nothing can go round in circles (RFC 854).
3. A command may be cut anywhere; what is held of it is two bytes at most. More than `COMMANDS_MAX` are no people.

Spec: RFC 854, RFC 855. Tests: tests/tcp/test_telnet.py.
"""

from __future__ import annotations

COMMANDS_MAX = 1_000  # of one connection: a client sends some ten

IAC, DONT, DO, WONT, WILL, SB, SE = 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0xFA, 0xF0
AYT, LEAVES = 0xF6, frozenset({0xF4, 0xF3, 0xEE, 0xEC})  # interrupt process, break, abort, end of file
HERE = b"[yes]\r\n"


class Telnet:
    """Of one connection."""

    def __init__(self) -> None:
        self.leaves = False  # the visitor wants to
        self.is_seen = False  # a command came: this is a telnet client
        self._commands = 0
        self._held = b""  # the beginning of a command
        self._is_negotiating = False  # between SB and SE

    @property
    def is_abused(self) -> bool:
        """Whether so many commands came that this is no telnet."""
        return self._commands > COMMANDS_MAX

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What was typed of it, and what is to be answered."""
        if not self._held and not self._is_negotiating and IAC not in data:
            return data, b""
        data, self._held = self._held + data, b""
        typed, answers, at = bytearray(), bytearray(), 0
        while at < len(data) and not self.is_abused:
            found = data.find(IAC, at)
            if not self._is_negotiating:
                typed += data[at:] if found < 0 else data[at:found]
            if found < 0:
                break
            command = data[found : found + 3]
            size = self._size(command)
            if len(command) < size:
                self._held = command
                break
            at = found + size
            self._commands += 1
            self.is_seen = True
            self._understand(command, typed, answers)
        return bytes(typed), bytes(answers)

    def _size(self, command: bytes) -> int:
        """How many bytes it has, as far as can be told."""
        return 3 if len(command) > 1 and command[1] >= WILL and command[1] != IAC and not self._is_negotiating else 2

    def _understand(self, command: bytes, typed: bytearray, answers: bytearray) -> None:
        code = command[1]
        if self._is_negotiating:
            self._is_negotiating = code != SE
        elif code == SB:
            self._is_negotiating = True
        elif code == IAC:  # a byte of the text
            typed.append(IAC)
        elif code in (DO, WILL):
            answers += bytes((IAC, WONT if code == DO else DONT, command[2]))
        elif code == AYT:
            answers += HERE
        elif code in LEAVES:
            self.leaves = True
