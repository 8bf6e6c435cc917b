"""Socket.IO packets as python-socketio encodes and decodes them, with bounds, and with what npm's client recovers by.

Rules of this file
1. What comes from a client is bounded before anything is made of it: binary parts by count and bytes, names, depth.
2. CONNECT carries `pid`, the private id; npm's client brings it back.
3. What goes to many is encoded once.

Source: socket.io-protocol, version 5; engine.io-protocol, version 4. Tests: tests/web/test_socketio.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from engineio import packet as engine
from socketio import packet

from zchat.web.core import events

ID_MAX = 1 << 53  # of an acknowledgement, as JavaScript counts
CONNECTION_NAMES = frozenset({"connect", "disconnect"})  # python-socketio calls its own handlers by these


class JsonText:
    """What python-socketio calls for JSON."""

    @staticmethod
    def dumps(value: Any, **_: object) -> str:
        """As text."""
        return msgspec.json.encode(value).decode()

    @staticmethod
    def loads(text: str | bytes) -> Any:
        """Raises ValueError."""
        try:
            return msgspec.json.decode(text)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


class EventName(str):
    """The name of an event that came, and whether it is to be acknowledged."""

    __slots__ = ("is_awaited",)
    is_awaited: bool


class EncodedPacket(engine.Packet):  # type: ignore[misc]  # python-engineio has no types
    """An Engine.IO packet that is encoded once, whoever it goes to.

    python-engineio keeps one encoding alone: a binary part that went over a WebSocket first came raw to long polling.
    """

    def __init__(self, data: str | bytes) -> None:
        super().__init__(engine.MESSAGE, data)
        self._encoded: dict[bool, str | bytes] = {}

    def encode(self, b64: bool = False) -> Any:
        """For a WebSocket, or for long polling."""
        if b64 not in self._encoded:
            self.encode_cache = None
            self._encoded[b64] = super().encode(b64)
        return self._encoded[b64]


def packet_class(id_of: Callable[[str], str | None], bytes_max: int) -> type:
    """The class of packets of one server. `id_of` tells the private id of a `sid`, where it has one."""

    class Packet(packet.Packet):  # type: ignore[misc]  # python-socketio has no types
        json = JsonText
        data: Any

        def encode(self) -> Any:
            if self.packet_type == packet.CONNECT and isinstance(self.data, dict):
                id = id_of(self.data.get("sid", ""))
                if id is not None:
                    self.data = self.data | {"pid": id}
            return super().encode()

        def decode(self, encoded_packet: Any) -> Any:
            if not isinstance(encoded_packet, str):
                raise ValueError("a packet is text")
            self._bytes = 0
            count = super().decode(encoded_packet)
            if not isinstance(count, int) or count > events.PARTS_MAX or (self.id or 0) > ID_MAX:
                raise ValueError("too many binary parts, or too high a number")
            if self.packet_type in (packet.EVENT, packet.BINARY_EVENT):
                self._check_event()
            elif self.packet_type in (packet.BINARY_ACK, packet.CONNECT_ERROR):
                raise ValueError("nothing that a client of ours sends")
            return count

        def add_attachment(self, attachment: Any) -> bool:
            if not isinstance(attachment, bytes | bytearray):
                raise ValueError("a binary part is binary")
            self._bytes += len(attachment)
            if self._bytes > bytes_max:
                self.attachments.clear()
                raise ValueError("too large")
            return bool(super().add_attachment(attachment))

        def _check_event(self) -> None:
            data = self.data
            if not (isinstance(data, list) and data and isinstance(data[0], str)) or data[0] in CONNECTION_NAMES:
                raise ValueError("no event that anybody may emit")
            name = EventName(data[0])
            name.is_awaited = self.id is not None
            data[0] = name

    return Packet


def event_packets(name: str, args: list[Any]) -> tuple[EncodedPacket, ...]:
    """An event, ready to be queued for any number of clients."""
    encoded = packet.Packet(packet.EVENT, [name, *args], "/")
    encoded.json = JsonText
    made = encoded.encode()
    return tuple(EncodedPacket(part) for part in (made if isinstance(made, list) else [made]))
