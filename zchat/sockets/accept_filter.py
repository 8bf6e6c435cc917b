"""Addresses whose connections the kernel does not even begin: a socket filter on the listener (socket(7), Linux).

    SYN of an address that is shut ──► dropped: no accept, no handshake. Its sender's kernel tries again by itself
    all else ──► as ever

Rules of this file
1. It sees the first packet of a connection only (SYN without ACK): who is connected is never touched.
2. A connection that is accepted inherits its listener's filter, which would look at each of its packets: `release`
   takes that off.
3. Where the system has no such filters, nothing happens: whoever counts cuts off what was accepted.

A filter is a program of classic BPF: no privilege is needed. Tests: tests/sockets/test_arrivals.py.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Sequence

from zchat.sockets.kernel import viewed

ADDRESSES_MAX = 64  # of the newest; a filter may have some thousand steps at most, and each SYN goes through them

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_STEP = struct.Struct("=HBBI")  # struct sock_filter: what, steps to leave out if so, and if not, operand
_PROGRAM = struct.Struct("@HP")  # struct sock_fprog
_LOAD_BYTE, _LOAD_WORD, _AND, _IS, _HAS, _GO, _RETURN = 0x30, 0x20, 0x54, 0x15, 0x45, 0x05, 0x06
_IP_HEADER = 0xFFF00000  # SKF_NET_OFF: from there on, and not from TCP's header
_FLAGS_AT, _ACK, _SOURCE_4, _SOURCE_6 = 13, 0x10, _IP_HEADER + 12, _IP_HEADER + 8
_KEEP, _DROP = (_RETURN, 0, 0, 0xFFFFFFFF), (_RETURN, 0, 0, 0)

FilterStep = tuple[int, int, int, int]


class AcceptFilter:
    """Of one listener."""

    def __init__(self, descriptor: int) -> None:
        """A descriptor of TCP's; one of another kind has no filter."""
        self._descriptor = descriptor if sys.platform == "linux" and _is_tcp(descriptor) else -1
        self.is_on = False

    def drop(self, origins: Sequence[str]) -> None:
        """Begin no connection of these (as `core/allowances.py` writes an origin), and of no others."""
        if self._descriptor < 0:
            return
        steps = program([each for each in origins if each])
        code = ctypes.create_string_buffer(b"".join(_STEP.pack(*step) for step in steps))
        try:
            with viewed(self._descriptor) as listener:
                if origins:
                    attached = _PROGRAM.pack(len(steps), ctypes.addressof(code))
                    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
                elif self.is_on:
                    listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        except OSError:
            return  # as it was
        self.is_on = bool(origins)

    def release(self, descriptor: int) -> None:
        """That connection was accepted while a filter was on."""
        try:
            with viewed(descriptor) as accepted:
                accepted.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        except OSError:
            pass  # it had none, or is gone


def program(origins: Sequence[str]) -> list[FilterStep]:
    """The steps of a filter that drops the SYNs of these."""
    four = [each for each in origins if "." in each]
    six = [bytes.fromhex(each) for each in origins if "." not in each]
    of_four: list[FilterStep] = [(_LOAD_WORD, 0, 0, _SOURCE_4)]
    for address in four:
        of_four += [(_IS, 0, 1, int.from_bytes(socket.inet_aton(address), "big")), _DROP]
    of_four.append(_KEEP)
    of_six: list[FilterStep] = []
    for half in six:
        high, low = int.from_bytes(half[:4], "big"), int.from_bytes(half[4:], "big")
        of_six += [
            (_LOAD_WORD, 0, 0, _SOURCE_6),
            (_IS, 0, 3, high),
            (_LOAD_WORD, 0, 0, _SOURCE_6 + 4),
            (_IS, 0, 1, low),
            _DROP,
        ]
    of_six.append(_KEEP)
    begin: list[FilterStep] = [
        (_LOAD_BYTE, 0, 0, _FLAGS_AT),
        (_HAS, 0, 1, _ACK),
        _KEEP,
        (_LOAD_BYTE, 0, 0, _IP_HEADER),
        (_AND, 0, 0, 0xF0),
        (_IS, 1, 0, 0x40),
        (_GO, 0, 0, len(of_four)),
    ]
    return [*begin, *of_four, *of_six]


def _is_tcp(descriptor: int) -> bool:
    try:
        with viewed(descriptor) as listener:
            return listener.family in (socket.AF_INET, socket.AF_INET6)
    except OSError:
        return False
