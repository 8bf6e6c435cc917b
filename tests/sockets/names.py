"""A name server of a test's own, and commands that ask it, in a mount namespace with another /etc/resolv.conf.

names = Names(folder)
names.known["broker.test"] = ["127.0.0.1"]
… start_zchat("listen", "den", env={"ZCHAT_BROKER": "broker.test"}, run=names.run) …
names.close()
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from pathlib import Path

from tests.conftest import COMMAND

ADDRESS = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 255}"  # of this process: tests run side by side
A, IN, TTL = 1, 1, 0
HEADER = struct.Struct("!HHHHHH")
NAME_ERROR, ANSWERED = 0x8183, 0x8180  # flags

UNSHARE = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-rm")
IN_PLACE = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


def why_not() -> str:
    """Why there can be no such name server here; empty when there can."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((ADDRESS, 53))
        done = subprocess.run([*UNSHARE, "sh", "-c", IN_PLACE, "/dev/null", "true"], capture_output=True, text=True)
    except OSError as error:
        return f"no name server here: {error}"
    return "" if done.returncode == 0 else f"no mount namespaces here: {done.stderr.strip()}"


class Names:
    """It knows names as `known` says, and of no other anything; while `is_silent` it answers nothing."""

    def __init__(self, folder: Path) -> None:
        self.known: dict[str, list[str]] = {}
        self.is_silent = False
        self.asked = 0
        configuration = folder / "resolv.conf"
        configuration.write_text(f"nameserver {ADDRESS}\n")
        self.run = (*UNSHARE, "sh", "-c", IN_PLACE, str(configuration), *COMMAND)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ADDRESS, 53))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (ADDRESS, 53))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, peer = self._socket.recvfrom(1500)
            if not query:
                return
            self.asked += 1
            if not self.is_silent:
                self._socket.sendto(self._answer(query), peer)

    def _answer(self, query: bytes) -> bytes:
        number, *_ = HEADER.unpack_from(query)
        parts, at = [], HEADER.size
        while query[at]:
            parts.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[HEADER.size : at + 5]
        (kind,) = struct.unpack_from("!H", query, at + 1)
        numbers = self.known.get(".".join(parts).lower())
        found = numbers if numbers and kind == A else []
        header = HEADER.pack(number, NAME_ERROR if numbers is None else ANSWERED, 1, len(found), 0, 0)
        rows = [struct.pack("!HHHIH4s", 0xC00C, A, IN, TTL, 4, socket.inet_aton(each)) for each in found]
        return header + question + b"".join(rows)
