"""Every libzmq option that zchat sets, each with its reason, and how sockets are bound, woken and cut off.

Rules of this file: nothing is left to a default that matters; options are set before bind or connect.
Source: the libzmq 4.3 manual, zmq_setsockopt(3) and zmq_socket_monitor(3). Tests: tests/sockets/.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from zchat.address import Address
from zchat.errors import BadAddress, StartError

LIBZMQ_MIN = (4, 3, 5)  # all known CVEs are fixed at or before 4.3.4

HEARTBEAT_IVL_MS = 500  # the ROUTER pings this often …
HEARTBEAT_TIMEOUT_MS = 1000  # … and takes a peer for dead this long after an unanswered ping: 1.5 s in all
HEARTBEAT_TTL_MS = 2000  # told in each ping: a client that hears nothing this long drops the connection itself
KEEPALIVE_SECONDS = 1  # the kernel asks a silent SUB or XPUB this often …
KEEPALIVE_COUNT = 3  # … and takes it for dead when it did not answer so many times, …
UNACKED_MS_MAX = 4000  # … or took nothing of what was sent to it for so long
HANDSHAKE_IVL_MS = 5000  # a connection that never speaks ZMTP is closed
BACKLOG = 1024  # connections that wait for accept: thousands of clients come back at once after a restart
RECONNECT_MIN_MS, RECONNECT_MAX_MS = 100, 5000  # doubling in between
CONNECT_TIMEOUT_MS = 3000  # the kernel's own is minutes: a link that comes back would not be noticed
ANSWER_BYTES_MAX = 64 << 20  # a frame to a client: above it the connection is given up; WHO of 100,000 is below
FRAME_BYTES_MAX = 4 << 20  # above it libzmq cuts the sender off unheard; below, it gets an ERROR
SUBSCRIPTION_BYTES_MAX = 512  # on the XPUB: the longest topic is 130 bytes, a trie costs a node a byte
SUBSCRIPTIONS_READ_AHEAD = 1_000  # per subscriber
SUBSCRIPTIONS_BUFFER_BYTES = 64 << 10  # in the kernel: still read after a cut-off
REPLIES_QUEUED_MAX = 128  # per client that does not read: then its replies are dropped, and it asks again
BATCHES_QUEUED_MAX = 400  # per subscriber that does not read: then its batches are dropped, and it fetches them
FRAMES_READ_AHEAD = 64  # per client, more than ours have unacked: what libzmq takes before TCP holds the sender back

POLLIN = int(zmq.POLLIN)  # plain numbers: an enum costs a microsecond wherever it is combined or passed
DONTWAIT = int(zmq.DONTWAIT)
SNDMORE = int(zmq.SNDMORE)
RCVMORE = int(zmq.RCVMORE)

MONITORED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED  # narrow: each event is a message
CLIENT_MONITORED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED

_EVENT = struct.Struct("=HI")  # zmq_socket_monitor(3): event, value; here the value is a descriptor


def check_libzmq() -> None:
    """Raise StartError under a libzmq that is too old to be safe."""
    if zmq.zmq_version_info() < LIBZMQ_MIN:
        raise StartError(f"libzmq {zmq.zmq_version()} is too old, 4.3.5 is needed: pip install --upgrade pyzmq")


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """One Context for a process: its sockets share one I/O thread."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 65_536)  # the default 1023 ends a program with a few hundred clients
    context.linger = 0  # inherited by every socket: the default -1 hangs the program's end for ever
    return context


def broker_router(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket that clients talk to."""
    router = _listener(context, zmq.ROUTER)
    # What presence needs, and only here: each pong costs libzmq's one thread a search of all its timers, and 8,000
    # connections that are pinged twice a second took all of it, so that pings came late and the living were cut off.
    router.heartbeat_ivl = HEARTBEAT_IVL_MS
    router.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    router.heartbeat_ttl = HEARTBEAT_TTL_MS
    router.router_mandatory = True  # a send to a gone peer says so; only ever used with DONTWAIT
    router.maxmsgsize = FRAME_BYTES_MAX
    router.sndhwm = REPLIES_QUEUED_MAX
    router.rcvhwm = FRAMES_READ_AHEAD
    return router


def broker_xpub(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket that batches are broadcast on."""
    xpub = _listener(context, zmq.XPUB)
    _keep_alive(xpub)
    xpub.setsockopt(zmq.XPUB_MANUAL, 1)  # each subscription is seen, and granted by hand
    xpub.maxmsgsize = SUBSCRIPTION_BYTES_MAX
    xpub.sndhwm = BATCHES_QUEUED_MAX
    # None is dropped: libzmq reads no further from a peer that is ahead by so much.
    xpub.rcvhwm = SUBSCRIPTIONS_READ_AHEAD
    xpub.rcvbuf = SUBSCRIPTIONS_BUFFER_BYTES
    return xpub


def client_dealer(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket that a client talks to the broker with."""
    dealer = _connector(context, zmq.DEALER)
    dealer.immediate = True  # nothing waits in libzmq for a broker that is not there: the outbox holds it
    dealer.sndhwm = 64  # the outbox is the queue, with a bound in bytes; this one only bridges the threads
    dealer.rcvhwm = 0  # replies are few, and each was asked for
    return dealer


def client_sub(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket that batches arrive on."""
    sub = _connector(context, zmq.SUB)
    _keep_alive(sub)
    sub.sndhwm = 0  # subscriptions above it would be lost
    sub.rcvhwm = BATCHES_QUEUED_MAX
    return sub


def _listener(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    listener = context.socket(kind)
    listener.ipv6 = True  # before bind; takes IPv4 as well
    listener.backlog = BACKLOG
    listener.handshake_ivl = HANDSHAKE_IVL_MS
    return listener


def _connector(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    connector = context.socket(kind)
    connector.ipv6 = True
    connector.handshake_ivl = HANDSHAKE_IVL_MS
    connector.reconnect_ivl = RECONNECT_MIN_MS
    connector.reconnect_ivl_max = RECONNECT_MAX_MS
    connector.connect_timeout = CONNECT_TIMEOUT_MS
    # No heartbeat of its own: the ROUTER's pings carry the time to live that serves both sides.
    connector.maxmsgsize = ANSWER_BYTES_MAX  # libzmq does not connect again after a larger one; connector.py does
    return connector


def _keep_alive(either: zmq.Socket[bytes]) -> None:
    """Have the kernel find out that the other side is gone, or takes nothing: that costs libzmq's thread nothing."""
    either.tcp_keepalive = 1
    either.tcp_keepalive_idle = either.tcp_keepalive_intvl = KEEPALIVE_SECONDS
    either.tcp_keepalive_cnt = KEEPALIVE_COUNT
    either.tcp_maxrt = UNACKED_MS_MAX


def bind(listener: zmq.Socket[bytes], address: Address) -> Address:
    """Bind, and return the address with the port, and for an interface the number, that it got.

    Raises StartError or BadAddress.
    """
    if address.scheme == "ipc":
        _check_free(address)
    is_interface = any(name == address.host for _, name in socket.if_nameindex())
    listener.ipv6 = not is_interface  # else libzmq takes the interface's IPv6 address, which few clients dial
    try:
        listener.bind(address.endpoint)
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"{address} is in use: is a broker running there already?", is_in_use=True) from error
        if error.errno in (errno.ENODEV, errno.EADDRNOTAVAIL):
            raise StartError(f"{address}: this machine has no such interface or address") from error
        if error.errno == errno.EINVAL:
            raise BadAddress(str(address), "not an address that can be bound") from error
        raise StartError(f"cannot listen on {address}: {os.strerror(error.errno or 0)}") from error
    if address.scheme == "ipc":
        return address
    endpoint = listener.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    host, _, port = endpoint.rstrip(b"\0").decode().removeprefix("tcp://").rpartition(":")
    return address._replace(host=host if is_interface else address.host, port=int(port))


def _check_free(address: Address) -> None:
    """libzmq removes whatever is at an ipc path, a living broker's socket or a file: so look first."""
    try:
        is_socket = stat.S_ISSOCK(os.stat(address.path).st_mode)
    except OSError:
        return
    if not is_socket:
        raise StartError(f"{address}: a file is there, and no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address.path)
        except (ConnectionRefusedError, FileNotFoundError):
            return  # left behind by a broker that was killed
        except OSError:
            pass  # somebody listens, too busy to answer
    raise StartError(f"{address} is in use: is a broker running there already?", is_in_use=True)


def open_monitor(context: zmq.Context[zmq.Socket[bytes]], watched: zmq.Socket[bytes], events: int) -> zmq.Socket[bytes]:
    """The events of a socket, to be read with `read_event` and closed with `close_monitor`.

    A PAIR of our own without a high-water mark: libzmq's I/O thread blocks for ever on a full one.
    """
    name = f"inproc://monitor-{id(watched)}-{watched.underlying}"
    watched.monitor(name, events)
    pair = context.socket(zmq.PAIR)
    pair.rcvhwm = 0
    pair.connect(name)
    return pair


def read_event(pair: zmq.Socket[bytes]) -> tuple[int, int] | None:
    """The next (event, descriptor or error), None when there is none."""
    try:
        event, _endpoint = pair.recv_multipart(DONTWAIT)
    except zmq.Again:
        return None
    number, value = _EVENT.unpack(event)
    return number, value


def close_monitor(watched: zmq.Socket[bytes], pair: zmq.Socket[bytes]) -> None:
    """End monitoring first: the I/O thread must never write to a PAIR that is gone."""
    watched.disable_monitor()
    pair.close()


def cut_off(descriptor: int) -> str | None:
    """End one connection: shut down a duplicate of its descriptor. libzmq sees the end of the stream.

    Returns the peer's address, "" where it has none, None when the connection is gone already.
    """
    try:
        with duplicate_of(descriptor) as duplicate:
            peer = duplicate.getpeername()
            duplicate.shutdown(socket.SHUT_RDWR)
    except OSError:
        return None
    return peer[0].removeprefix("::ffff:") if isinstance(peer, tuple) else ""


@contextmanager
def duplicate_of(descriptor: int) -> Iterator[socket.socket]:
    """Another descriptor of the same connection, which libzmq cannot close meanwhile. Raises OSError."""
    number = os.dup(descriptor)
    try:
        duplicate = socket.socket(fileno=number)
    except OSError:
        os.close(number)  # no socket
        raise
    with duplicate:
        yield duplicate


class Waker:
    """Wakes a thread that sleeps in `zmq.Poller.poll`, from any thread or signal handler."""

    def __init__(self) -> None:
        read, write = os.pipe()  # a third of what a pair of sockets costs
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self._read, self._write = os.fdopen(read, "rb", 0), os.fdopen(write, "wb", 0)

    def fileno(self) -> int:
        """For the poller."""
        return self._read.fileno()

    def wake(self) -> None:
        """Wake it, once or many times: it is the same."""
        try:
            self._write.write(b"\0")
        except (OSError, ValueError):
            pass  # closed: it has ended

    def wait(self, seconds: float) -> None:
        """Sleep until woken, without a poller."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        poll.poll(seconds * 1000)

    def clear(self) -> None:
        """Before looking at what it was woken for."""
        while len(self._read.read(256) or b"") == 256:
            pass

    def close(self) -> None:
        """Close both ends."""
        self._read.close()
        self._write.close()


def metadata(frame: zmq.Frame, name: Any) -> Any:
    """A property of the connection that a frame came on; None where libzmq has none."""
    try:
        return frame.get(name)
    except (zmq.ZMQError, ValueError):
        return None
