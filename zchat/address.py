"""Where a broker is: the addresses that people write, parsed and made canonical.

Rules of this file
1. It is pure: no name is looked up, no port is tried. Whether the host exists, `sockets/` finds out.
2. A broker has two endpoints. An address names the first (ROUTER), and the second (XPUB) where it is not to be found
   by what the broker tells of it: `publisher`.
3. What is no address raises BadAddress, whose `why` says what is wrong.

    written                     means
    tcp://chat.example:6000     itself
    chat.example:6000           tcp://chat.example:6000
    chat.example                tcp://chat.example:5555
    ::1   [::1]:6000            tcp://[::1]:5555   tcp://[::1]:6000
    fe80::1%eth0                tcp://[fe80::1%eth0]:5555, by that interface
    ipc:///run/zchat            itself; the XPUB is at /run/zchat.pub
    host:7555,9000              the ROUTER at tcp://host:7555, the XPUB at tcp://host:9000
    host:7555,other:9000        the same with the XPUB on another host

    to bind only
    *   0.0.0.0   ::            all interfaces; `*` is IPv4 and IPv6
    eth0:6000                   the address of that interface
    127.0.0.1:0                 any two free ports

Tests: tests/test_address.py.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from zchat.errors import BadAddress

DEFAULT_PORT = 5555
PORT_MAX = 65535
HOST_CHARACTERS_MAX = 253  # of a name in the DNS, …
LABEL_CHARACTERS_MAX = 63  # … and of each of its parts
IPC_PATH_BYTES_MAX = 103  # 107 are what Linux takes for a socket; the XPUB's ends with ".pub"

ALL_INTERFACES = ("*", "0.0.0.0", "::")

_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?")  # names in any script, interfaces (`eth0.100`, `br-lan`)
_DIGITS = re.compile(r"[0-9]+")
_DOTTED = re.compile(r"[0-9.]+")


class Published(NamedTuple):
    """Where a broker says that it publishes."""

    port: int
    host: str = ""  # empty: the one that was dialled
    beside: int = 0  # the port that was dialled, if nothing leads on to it; 0: `port` is right wherever one comes from


class Address(NamedTuple):
    """One endpoint: `tcp` with host and port, or `ipc` with a path; and the second one, where it is named."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    publish_host: str = ""  # empty: the same
    publish_port: int = 0  # 0: it is not named

    def __str__(self) -> str:
        """Canonical: `tcp://host:port`, IPv6 in brackets, `ipc://path`."""
        if not self.publish_port:
            return self.endpoint
        host = f"{_bracketed(self.publish_host)}:" if self.publish_host else ""
        return f"{self.endpoint},{host}{self.publish_port}"

    @property
    def endpoint(self) -> str:
        """What libzmq binds and connects to."""
        return f"ipc://{self.path}" if self.scheme == "ipc" else f"tcp://{_bracketed(self.host)}:{self.port}"

    def at(self, number: str) -> Address:
        """The same with a number for its host's name."""
        return self if self.scheme == "ipc" else self._replace(host=number)

    @property
    def is_local(self) -> bool:
        """True when nobody can reach it from another machine: ipc and loopback."""
        return self.scheme == "ipc" or is_this_machine(self.host)

    def publisher(self, told: Published) -> Address:
        """Where the XPUB of the broker is that was dialled here; for ipc beside it.

        Who dialled another port than the broker has comes through a tunnel, or from outside of a container: what
        leads on its two ports has them as far from each other, if nobody says otherwise.
        """
        if self.scheme == "ipc":
            return Address("ipc", path=f"{self.path}.pub")
        if self.publish_port:
            return Address("tcp", self.publish_host or self.host, self.publish_port)
        moved = told.port + self.port - told.beside if told.beside else told.port
        return Address("tcp", told.host or self.host, moved if 0 < moved <= PORT_MAX else told.port)


def is_this_machine(host: str) -> bool:
    """Whether nobody can reach it from another one; a name that only begins as such an address is any name."""
    return host in ("localhost", "::1") or (host.startswith("127.") and _is_ipv4(host))


def parse(text: str) -> Address:
    """The address of a broker to connect to. Raises BadAddress."""
    first, comma, second = text.partition(",") if _is_tcp(text) else (text, "", "")
    address = _parsed(first, text)
    if address.scheme == "ipc":
        return address
    published = parse_published(second, text) if comma else Published(0)
    return address._replace(
        host=_dialled(text, address.host, address.port), publish_host=published.host, publish_port=published.port
    )


def parse_published(text: str, whole: str = "") -> Published:
    """Where clients find an XPUB, as `PORT` or `HOST:PORT`, a part of `whole`. Raises BadAddress."""
    host, port = ("", text) if _DIGITS.fullmatch(text) else _split(whole or text, text)
    if port is None:
        raise BadAddress(whole or text, f'"{text}" names no port, such as 5556 or host:5556')
    number = _checked_port(whole or text, port)
    if not host and not _DIGITS.fullmatch(text):
        raise BadAddress(whole or text, "no host")
    name = _dialled(whole or text, _checked_host(whole or text, host) if host else "", number)
    return Published(number, name)


def parse_bind(text: str) -> Address:
    """The address for a broker to bind. Port 0 is any free port. Raises BadAddress."""
    address = _parsed(text, text)
    if address.scheme == "tcp":
        if address.port == PORT_MAX:
            raise BadAddress(text, f"port {PORT_MAX} has no next one, and a broker needs two")
        if address.host.lower() == "localhost":
            return address._replace(host="127.0.0.1")  # libzmq looks no name up for a bind
    return address


def parse_listen(text: str) -> Address:
    """Where a gateway listens: `HOST:PORT`; `*` as host is all interfaces, port 0 any free one. Raises BadAddress."""
    host, port = _split(text, text.removeprefix("tcp://"))
    if not host or port is None:
        raise BadAddress(text, "no host and port, such as 127.0.0.1:8000, [::1]:8000 or *:8000")
    return Address("tcp", _checked_host(text, host), _checked_port(text, port))


def _is_tcp(text: str) -> bool:
    if not isinstance(text, str):
        raise BadAddress(repr(text), "an address is text")
    return not text.startswith("ipc://")


def _dialled(text: str, host: str, port: int) -> str:
    """A host as clients dial it; the interface of a link-local address keeps its case."""
    if host in ALL_INTERFACES:
        raise BadAddress(text, f"{host} is all interfaces of a broker, a client needs one host")
    if port == 0:
        raise BadAddress(text, f"port 0 is not in 1..{PORT_MAX}")
    name, zone, interface = host.partition("%")
    return name.lower() + zone + interface


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _parsed(part: str, text: str) -> Address:
    """What a part of that text is, or all of it."""
    _is_tcp(text)
    scheme, separator, rest = part.partition("://")
    if not separator:
        scheme, rest = "tcp", part
    if scheme == "ipc":
        return Address("ipc", path=_checked_path(text, rest))
    if scheme != "tcp":
        raise BadAddress(text, f'scheme "{scheme}" is neither tcp nor ipc')
    host, port = _split(text, rest)
    if not host:
        raise BadAddress(text, "no host")
    return Address("tcp", _checked_host(text, host), DEFAULT_PORT if port is None else _checked_port(text, port))


def _split(text: str, rest: str) -> tuple[str, str | None]:
    """Host without brackets, and the port's text where there is one."""
    if rest.startswith("["):
        host, closed, after = rest[1:].partition("]")
        if not closed:
            raise BadAddress(text, "no ] after [")
        if ":" not in host:
            raise BadAddress(text, f'"{host}" in brackets is no IPv6 address')
        if after and not after.startswith(":"):
            raise BadAddress(text, f'"{after}" after ] is no port')
        return host, after[1:] if after else None
    if rest.count(":") > 1:  # IPv6 without brackets has no port
        return rest, None
    host, colon, port = rest.partition(":")
    return host, port if colon else None


def _checked_host(text: str, host: str) -> str:
    if ":" in host:
        return _checked_ipv6(text, host)
    if host == "*":
        return host
    if _DIGITS.fullmatch(host):
        raise BadAddress(text, f"{host} is a number, not a host")
    if _DOTTED.fullmatch(host) and not _is_ipv4(host):
        raise BadAddress(text, f"{host} is no IPv4 address")
    if not _HOST.fullmatch(host):
        raise BadAddress(text, f'"{host}" is no host name')
    if not any(character.isalnum() for character in host):
        raise BadAddress(text, f'"{host}" is no host name')
    if len(host) > HOST_CHARACTERS_MAX:
        raise BadAddress(text, f"host is {len(host)} characters, limit {HOST_CHARACTERS_MAX}")
    if max(map(len, host.split("."))) > LABEL_CHARACTERS_MAX:
        raise BadAddress(text, f"a part of the host has more than {LABEL_CHARACTERS_MAX} characters")
    return host


def _checked_ipv6(text: str, host: str) -> str:
    from ipaddress import AddressValueError, IPv6Address  # 2 ms that only IPv6 pays

    try:
        return str(IPv6Address(host))
    except AddressValueError as error:
        raise BadAddress(text, f"{host} is no IPv6 address") from error


def _checked_port(text: str, port: str) -> int:
    if not port:
        raise BadAddress(text, "no port after the colon")
    if not _DIGITS.fullmatch(port):
        raise BadAddress(text, f'port "{port}" is not a number')
    if len(port) > 5 or int(port) > PORT_MAX:
        raise BadAddress(text, f"port {port} is not in 0..{PORT_MAX}")
    return int(port)


def _checked_path(text: str, path: str) -> str:
    if not path or path.endswith("/"):
        raise BadAddress(text, "no path to a socket")
    if path == "*":
        raise BadAddress(text, "ipc needs a path, * is none")
    if "\0" in path:
        raise BadAddress(text, "path has a NUL")
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > IPC_PATH_BYTES_MAX:
        raise BadAddress(text, f"path is {size} bytes, limit {IPC_PATH_BYTES_MAX}")
    return path


def _is_ipv4(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and all(_DIGITS.fullmatch(part) and part == str(int(part[:4]) & 255) for part in parts)
