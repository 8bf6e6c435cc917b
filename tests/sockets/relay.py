"""A way to a broker that can be cut, as a tunnel is: ports of 127.0.0.2, led on to those of 127.0.0.1."""

from __future__ import annotations

import socket
import threading

from tests.conftest import BrokerProcess


class Relay:
    """Leads every connection on, until it is cut or stalled."""

    def __init__(self, broker: BrokerProcess, *ways: tuple[int, int]) -> None:
        """`ways`: (port here, port there); else the broker's own two. The address is that of the first."""
        own = [port_of(broker.address), port_of(broker.publish_address)]
        self.ways = dict(ways or zip(own, own, strict=True))
        self.address = f"tcp://127.0.0.2:{next(iter(self.ways))}"
        self.connections = 0  # so far
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listeners = []
        for port in self.ways:
            listener = socket.create_server(("127.0.0.2", port), backlog=128)
            self._listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()

    def cut(self) -> None:
        """End every connection, as a router does that was switched off and on."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for each in pair:
                _end(each)

    def stall(self, stalls: bool) -> None:
        """Hold back what is sent, or lead it on again."""
        (self._flowing.clear if stalls else self._flowing.set)()

    def close(self) -> None:
        """End all of it."""
        self.stall(False)
        for listener in self._listeners:
            _end(listener)
        self.cut()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return  # closed
            try:
                far = socket.create_connection(("127.0.0.1", self.ways[port]))
            except OSError:
                near.close()
                continue
            self.connections += 1
            self._pairs.append((near, far))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._lead_on, args=(source, target), daemon=True).start()

    def _lead_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := source.recv(65536):
                self._flowing.wait()
                target.sendall(data)
        except OSError:
            pass
        _end(source)
        _end(target)


def port_of(address: str) -> int:
    """Of `tcp://host:port`."""
    return int(address.rpartition(":")[2])


def _end(each: socket.socket) -> None:
    """Close it, and wake the thread that waits for it."""
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    each.close()
