"""Host names, resolved before libzmq gets them: its own resolver freezes every socket of the process.

Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

import socket

from zchat.address import Address
from zchat.errors import Unreachable


def resolved(address: Address, wait: float) -> Address:
    """The address with a number for its host. Of several numbers, the first that accepts a connection."""
    if address.scheme != "tcp":
        return address
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(str(address), 0.0, f"the host name is not known: {error}") from error
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)  # where none answers yet: most brokers listen there
    numbers = list(dict.fromkeys(entry[4][0] for entry in found))
    if len(numbers) > 1:
        for number in numbers:
            try:
                socket.create_connection((str(number), address.port), timeout=min(wait, 1.0)).close()
            except OSError:
                continue
            return address._replace(host=str(number))
    return address._replace(host=str(numbers[0]))
