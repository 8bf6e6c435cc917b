"""Where a trial takes place: hosts with a link between them that can be cut, and a disk that can be full.

    near: the broker, most clients, and the trial itself        far: clients behind a link
    lo 127.0.0.1, 10.77.0.1 (broker), 10.77.0.2 (relay)  <--veth-->  10.77.1.2

Near and far are network namespaces of their own with small TCP buffers, so that who does not read is at the
broker's high-water mark soon. Without root there is only this host, and no link and no disk.
The broker's address is on `lo`, so that cutting the link cuts off those behind it and nobody else.
"""

from __future__ import annotations

import ctypes
import os
import random
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

BROKER_HOST, RELAY_HOST, FAR_HOST, NEAR_HOST = "10.77.0.1", "10.77.0.2", "10.77.1.2", "10.77.1.1"
BUFFERS = {"tcp_rmem": "4096 16384 32768", "tcp_wmem": "4096 16384 32768"}
CLONE_NEWNET = 0x40000000


class Network:
    """This host as it is: everything on loopback."""

    broker_host, relay_host = "127.0.0.1", "127.0.0.2"
    far: tuple[str, ...] = ()  # what a command behind the link starts with; empty: there is no link

    def cut(self) -> None:
        """Nothing passes the link."""
        raise NotImplementedError

    def mend(self) -> None:
        """It does again."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing behind."""


class Namespaces(Network):
    """Two hosts; this process is on the near one from now on. Needs root and `ip`."""

    broker_host, relay_host = BROKER_HOST, RELAY_HOST

    def __init__(self) -> None:
        self._near, self._far = f"zt{os.getpid()}n", f"zt{os.getpid()}f"
        self.far = ("ip", "netns", "exec", self._far)
        self._links = ("near0", "far0")
        try:
            for name in (self._near, self._far):
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("link", "add", "near0", "netns", self._near, "type", "veth", "peer", "far0", "netns", self._far)
            for host in (BROKER_HOST, RELAY_HOST):
                _ip("-n", self._near, "address", "add", f"{host}/32", "dev", "lo")
            _ip("-n", self._near, "address", "add", f"{NEAR_HOST}/24", "dev", "near0")
            _ip("-n", self._far, "address", "add", f"{FAR_HOST}/24", "dev", "far0")
            _ip("-n", self._near, "link", "set", "near0", "up")
            _ip("-n", self._far, "link", "set", "far0", "up")
            _ip("-n", self._far, "route", "add", "10.77.0.0/24", "via", NEAR_HOST)
            _enter(self._near)
            for name in (self._near, self._far):
                for file, value in BUFFERS.items():
                    write = ["sh", "-c", f"echo {value} >/proc/sys/net/ipv4/{file}"]
                    subprocess.run(["ip", "netns", "exec", name, *write], check=True)
        except BaseException:
            self.close()
            raise

    def cut(self) -> None:
        """The near end goes down."""
        _ip("-n", self._near, "link", "set", "near0", "down")

    def mend(self) -> None:
        """And up again."""
        _ip("-n", self._near, "link", "set", "near0", "up")

    def close(self) -> None:
        """The namespaces go when the last process in them ends; their names go now."""
        for name in (self._near, self._far):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Disk:
    """A small file system of its own in memory, that can be filled up. Needs root."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        folder.mkdir()
        options = f"size={size_bytes},mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "zchat-trial", str(folder)], check=True)
        self._ballast = folder / "ballast"

    def fill(self, left_bytes: int) -> None:
        """Somebody else's file takes all but so much."""
        file = os.open(self._ballast, os.O_WRONLY | os.O_CREAT)
        try:
            free = os.statvfs(self.folder)
            take = free.f_bavail * free.f_frsize - left_bytes
            if take > 0:
                os.posix_fallocate(file, 0, take)
        except OSError:
            pass  # the broker was faster: it is as full as it gets
        finally:
            os.close(file)

    def free(self) -> None:
        """It goes."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing behind."""
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True)


def free_port(network: Network) -> int:
    """Below the ports that clients are given: one could connect to itself while the broker is down."""
    for port in random.sample(range(20_000, 32_000, 2), 100):
        with ExitStack() as stack:
            try:
                for host in (network.broker_host, network.relay_host):
                    for each in (port, port + 1):
                        stack.enter_context(socket.create_server((host, each)))
            except OSError:
                continue
            return port
    raise SystemExit("no free ports")


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True, capture_output=True, text=True)


def _enter(namespace: str) -> None:
    """This thread, and all that it starts (Python 3.12 has os.setns)."""
    file = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(file)
