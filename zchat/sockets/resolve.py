"""Host names become numbers here, in threads of their own: whoever waits for a silent name server waits long.

libzmq's own resolver would freeze every socket of the process, and one that Python waits for no signal interrupts.

Tests: tests/sockets/test_resolve.py.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable

UNANSWERED_MAX = 3  # look-ups that may be waiting for a name server that is silent


class HostNumbers:
    """The numbers of a host; where there are none, `why`."""

    def __init__(self, numbers: list[str], why: str = "") -> None:
        self.numbers, self.why = numbers, why


class Resolver:
    """Looks one host up; `wake` is called when there is an answer to take."""

    def __init__(self, host: str, wake: Callable[[], object]) -> None:
        self._host, self._wake = host, wake
        self._answers: deque[HostNumbers] = deque()
        self._unanswered = 0

    def look_up(self) -> None:
        """Ask, beside what may be waiting already."""
        if self._unanswered < UNANSWERED_MAX:
            self._unanswered += 1
            try:
                threading.Thread(target=self._run, name=f"zchat looks up {self._host}", daemon=True).start()
            except RuntimeError as error:  # Python ends, and begins none any more
                self._answers.append(HostNumbers([], f"the host name {self._host} cannot be looked up: {error}"))

    @property
    def has_answer(self) -> bool:
        """Whether there is one to take."""
        return bool(self._answers)

    def take(self) -> HostNumbers | None:
        """An answer that has come."""
        if not self._answers:
            return None
        self._unanswered -= 1
        return self._answers.popleft()

    def _run(self) -> None:
        self._answers.append(numbers_of(self._host))
        self._wake()


def is_number(host: str) -> bool:
    """Whether there is nothing to look up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # the interface that it names may come and go


def numbers_of(host: str) -> HostNumbers:
    """All numbers of a host, IPv4 first, as most brokers listen there. It may take as long as a name server does."""
    zone = host.rpartition("%")[2] if "%" in host else ""
    try:
        if zone and not zone.isdigit():
            socket.if_nametoindex(zone)
    except OSError:
        return HostNumbers([], f"this machine has no interface {zone}")
    if zone:
        return HostNumbers([host])
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return HostNumbers([], f"the host name {host} is not known: {error.strerror or error}")
    except ValueError:  # what no DNS can carry
        return HostNumbers([], f"the host name {host} is none")
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return HostNumbers(list(dict.fromkeys(_written(*entry[4]) for entry in found)))


def _written(number: str | int, port: str | int = 0, flow: int = 0, scope: int = 0, *_: object) -> str:
    """With the interface, without which a link-local number leads nowhere."""
    return f"{number}%{scope}" if scope and "%" not in str(number) else str(number)
