"""The bytes of ZMTP 1.0, 2.0, 3.0 and 3.1 (RFC 13, 15, 23, 37), for those who keep to them and those who do not.

Rule of this file: a function makes what its arguments say, also what no peer should send. Nothing is checked.
"""

from __future__ import annotations

SOCKET_TYPES = (b"DEALER", b"REQ", b"ROUTER", b"REP", b"SUB", b"XSUB", b"PUB", b"XPUB", b"PAIR", b"PUSH", b"PULL")
TYPE_NUMBERS = {  # of ZMTP 2.0
    name: number
    for number, name in enumerate(
        (b"PAIR", b"PUB", b"SUB", b"REQ", b"REP", b"DEALER", b"ROUTER", b"PULL", b"PUSH", b"XPUB", b"XSUB")
    )
}
MECHANISMS = (b"NULL", b"PLAIN", b"CURVE", b"GSSAPI", b"", b"NULL\0x", b"\xff" * 20)
GREETING_BYTES = 64
MORE, LONG, COMMAND = 1, 2, 4


def greeting(minor: int = 0, mechanism: bytes = b"NULL", *, major: int = 3, as_server: int = 0) -> bytes:
    """Of ZMTP 3."""
    return (
        b"\xff"
        + bytes(8)
        + b"\x7f"
        + bytes([major, minor])
        + mechanism.ljust(20, b"\0")
        + bytes([as_server])
        + bytes(31)
    )


def greeting_2(socket_type: bytes, name: bytes = b"") -> bytes:
    """Of ZMTP 2.0: signature, revision, type of the socket, and the name in a frame."""
    return b"\xff" + bytes(7) + b"\x01\x7f\x01" + bytes([TYPE_NUMBERS.get(socket_type, 99)]) + frame(name)


def greeting_1(name: bytes = b"") -> bytes:
    """Of ZMTP 1.0: the name in a frame is all."""
    return frame_1(name)


def frame(body: bytes, flags: int = 0, *, length: int | None = None, is_long: bool | None = None) -> bytes:
    """Of ZMTP 2 and 3; `length` and `is_long` may lie."""
    size = len(body) if length is None else length
    if is_long is None:
        is_long = size > 255
    if is_long:
        return bytes([flags | LONG]) + size.to_bytes(8, "big") + body
    return bytes([flags, size & 0xFF]) + body


def frame_1(body: bytes, flags: int = 0, *, length: int | None = None) -> bytes:
    """Of ZMTP 1.0: the length counts the flags too."""
    size = len(body) + 1 if length is None else length
    head = bytes([size]) if size < 255 else b"\xff" + size.to_bytes(8, "big")
    return head + bytes([flags]) + body


def command(name: bytes, body: bytes = b"", flags: int = COMMAND, *, name_length: int | None = None) -> bytes:
    """A command's frame."""
    size = len(name) if name_length is None else name_length
    return frame(bytes([size & 0xFF]) + name + body, flags)


def ready(socket_type: bytes, name: bytes | None = None, *more: tuple[bytes, bytes]) -> bytes:
    """READY with its properties."""
    properties = [(b"Socket-Type", socket_type), *more]
    if name is not None:
        properties.append((b"Identity", name))
    return command(
        b"READY", b"".join(bytes([len(key) & 0xFF]) + key + _length(value) + value for key, value in properties)
    )


def ping(ttl: int = 0, context: bytes = b"") -> bytes:
    """`ttl` in tenths of a second."""
    return command(b"PING", ttl.to_bytes(2, "big") + context)


def pong(context: bytes = b"") -> bytes:
    """The answer to it."""
    return command(b"PONG", context)


def multipart(*parts: bytes, ends: bool = True) -> bytes:
    """A message of several frames; one that does not end says that there is more."""
    last = len(parts) - 1
    return b"".join(frame(part, MORE if number < last or not ends else 0) for number, part in enumerate(parts))


def handshake(socket_type: bytes, name: bytes | None = None, minor: int = 0) -> bytes:
    """All that a peer of ZMTP 3 with NULL sends before its first message."""
    return greeting(minor) + ready(socket_type, name)


def _length(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big")
