"""A process that relays the broker's two ports, and stalls or resets connections when it is told.

Words on stdin, with a port (0: the clients' port, 1: the publisher's, 2: both) and a way (up, down, both):

    stall PORT WAY      nothing passes that way; the connections stay, and the kernels on both sides are told nothing
    go                  everything passes again
    reset PORT          every connection ends with a RST

Rule of this file: its buffers are small, so that a stall reaches the sender soon.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys

BUFFER_BYTES = 16 << 10
BOTH_PORTS = 2
WAYS = {"up": ("up",), "down": ("down",), "both": ("up", "down")}


class Relay:
    """Both ports."""

    def __init__(self, listen: str, target: str, port: int) -> None:
        self._listen, self._target, self._port = listen, target, port
        self._gates = {(index, way): asyncio.Event() for index in (0, 1) for way in ("up", "down")}
        self._links: dict[int, set[asyncio.StreamWriter]] = {0: set(), 1: set()}
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until stdin ends."""
        self._go()
        for index in (0, 1):
            await asyncio.start_server(
                lambda reader, writer, index=index: self._relay(reader, writer, index),  # type: ignore[misc]
                self._listen,
                self._port + index,
                limit=BUFFER_BYTES,
            )
        print("ready", flush=True)
        words = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
        while line := await words.readline():
            self._told(*line.decode().split())
        os._exit(0)

    def _told(self, word: str, *more: str) -> None:
        if word == "go":
            self._go()
        elif word == "stall":
            for index in self._ports(more[0]):
                for way in WAYS[more[1]]:
                    self._gates[index, way].clear()
        elif word == "reset":
            for index in self._ports(more[0]):
                for writer in list(self._links[index]):
                    _reset(writer)

    def _go(self) -> None:
        for gate in self._gates.values():
            gate.set()

    def _ports(self, text: str) -> tuple[int, ...]:
        return (0, 1) if int(text) == BOTH_PORTS else (int(text),)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(self._target, self._port + index, limit=BUFFER_BYTES)
        except OSError:
            _reset(writer)
            return
        writers = {writer, up_writer}
        for each in writers:
            each.transport.set_write_buffer_limits(BUFFER_BYTES)
        self._links[index] |= writers
        try:
            pumps = [
                asyncio.create_task(self._pump(reader, up_writer, (index, "up"))),
                asyncio.create_task(self._pump(up_reader, writer, (index, "down"))),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
        finally:
            self._links[index] -= writers
            for each in writers:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: tuple[int, str]) -> None:
        gate = self._gates[way]
        try:
            while data := await reader.read(BUFFER_BYTES):
                await gate.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass


def _reset(writer: asyncio.StreamWriter) -> None:
    link = writer.get_extra_info("socket")
    if link is not None and link.fileno() >= 0:  # else it has ended by itself
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def main() -> None:
    """Relay until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    task = json.loads(sys.argv[1])
    asyncio.run(Relay(task["listen"], task["target"], task["port"]).run())


if __name__ == "__main__":
    main()
