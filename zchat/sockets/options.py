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
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import zmq

from zchat import wire
from zchat.address import Address
from zchat.errors import BadAddress, StartError
from zchat.sockets import curve

if TYPE_CHECKING:
    from zchat.keys import KeyPair

LIBZMQ_MIN = (4, 3, 5)  # all known CVEs are fixed at or before 4.3.4

HEARTBEAT_IVL_MS = 500  # a client's DEALER pings this often …
HEARTBEAT_TTL_MS = wire.TTL_MS  # … and tells in each ping that it is dead when nothing of it has come for so long,
HEARTBEAT_TIMEOUT_MS = 2000  # while it takes the broker for dead when a ping has no answer for so long
KEEPALIVE_SECONDS = 1  # the kernel asks a silent peer this often …
KEEPALIVE_COUNT = 3  # … and takes it for dead when it did not answer so many times, …
UNACKED_MS_MAX = 4000  # … or took nothing of what was sent to it for so long
HANDSHAKE_IVL_MS = 5000  # a connection that never speaks ZMTP is closed
BACKLOG = 1024  # connections that wait for accept: thousands of clients come back at once after a restart
RECONNECT_NEVER_MS = 1_000_000_000  # 11 days: connector.py dials
CONNECT_TIMEOUT_MS = 3000  # the kernel's own is minutes: a link that comes back would not be noticed
ANSWER_BYTES_MAX = 64 << 20  # a frame to a client: above it the connection is given up; WHO of 100,000 is below
FRAME_BYTES_MAX = 4 << 20  # above it libzmq cuts the sender off unheard; below, it gets an ERROR
SUBSCRIPTION_BYTES_MAX = 192  # a frame to the XPUB: the longest topic of a room has 130 bytes, a tree costs 48 each
SUBSCRIPTIONS_BUFFER_BYTES = 64 << 10  # in the kernel: still read after a cut-off
REPLIES_QUEUED_MAX = 1_024  # per client that does not read: then its replies are dropped, and it asks again
BATCHES_QUEUED_MAX = 400  # per subscriber that does not read: then its batches are dropped, and it fetches them

POLLIN = int(zmq.POLLIN)  # plain numbers: an enum costs a microsecond wherever it is combined or passed
DONTWAIT = int(zmq.DONTWAIT)
SNDMORE = int(zmq.SNDMORE)
RCVMORE = int(zmq.RCVMORE)
EVENTS = int(zmq.EVENTS)

MONITORED = zmq.EVENT_LISTENING | zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED  # narrow: each event is a message
CLIENT_MONITORED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED

_ZERO_COPY_RECV = 10  # zmq_ctx_set(3): pyzmq has no name for it
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


def broker_context() -> zmq.Context[zmq.Socket[bytes]]:
    """The Context of a broker's two sockets."""
    context = new_context()
    # Else a message keeps the 8 KiB that it was received in: small ones that come one by one took 200 times their size.
    context.set(_ZERO_COPY_RECV, 0)
    return context


def broker_router(context: zmq.Context[zmq.Socket[bytes]], keys: KeyPair | None = None) -> zmq.Socket[bytes]:
    """The socket that clients talk to; with `keys` only to those whom zap.py lets in."""
    router = _listener(context, zmq.ROUTER, keys)
    router.router_mandatory = True  # a send to a gone peer says so; only ever used with DONTWAIT
    router.maxmsgsize = FRAME_BYTES_MAX
    router.sndhwm = REPLIES_QUEUED_MAX
    return router


def name_every_peer(router: zmq.Socket[bytes]) -> None:
    """Have a ROUTER give each peer an id of its own, whatever the peer calls itself. Once it is bound.

    A peer may name itself in ZMTP, and libzmq takes it at its word: one that takes the id which ROUTER gives next ends
    the process (`ok`, socket_base.cpp:2113 of libzmq 4.3.5); of one whose name is taken nothing is read, and nothing
    that it sent is ever freed. Where `ROUTER_RAW` was set, ROUTER gives an id to everybody, and passes over the name
    that arrives. Set and taken back after `bind` it does only that: the listener has its options since then, and still
    speaks ZMTP. (Read in router.cpp, `identify_peer` and `xrecv`; it is the same in libzmq's master of 2026.)
    """
    router.setsockopt(zmq.ROUTER_RAW, 1)
    router.setsockopt(zmq.ROUTER_RAW, 0)


def broker_xpub(context: zmq.Context[zmq.Socket[bytes]], keys: KeyPair | None = None) -> zmq.Socket[bytes]:
    """The socket that batches are broadcast on."""
    xpub = _listener(context, zmq.XPUB, keys)
    xpub.setsockopt(zmq.XPUB_MANUAL, 1)  # each subscription is seen, and granted by hand
    xpub.maxmsgsize = curve.HANDSHAKE_BYTES_MAX if keys else SUBSCRIPTION_BYTES_MAX
    xpub.sndhwm = BATCHES_QUEUED_MAX
    xpub.rcvbuf = SUBSCRIPTIONS_BUFFER_BYTES
    return xpub


def client_dealer(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket that a client talks to the broker with."""
    dealer = _connector(context, zmq.DEALER)
    dealer.immediate = True  # nothing waits in libzmq for a broker that is not there: the outbox holds it
    dealer.sndhwm = 64  # the outbox is the queue, with a bound in bytes; this one only bridges the threads
    dealer.rcvhwm = 0  # replies are few, and each was asked for
    # What presence needs. The pings are the client's, and libzmq sends them also while the program computes. A socket
    # that binds has none of its own: see `_listener`. Nor has the SUB: pings of thousands are much work.
    dealer.heartbeat_ivl = HEARTBEAT_IVL_MS
    dealer.heartbeat_ttl = HEARTBEAT_TTL_MS
    dealer.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS
    return dealer


def client_sub(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """The socket that batches arrive on."""
    sub = _connector(context, zmq.SUB)
    _keep_alive(sub)
    sub.sndhwm = 0  # subscriptions above it would be lost
    sub.rcvhwm = BATCHES_QUEUED_MAX
    return sub


def _listener(context: zmq.Context[zmq.Socket[bytes]], kind: int, keys: KeyPair | None) -> zmq.Socket[bytes]:
    listener = context.socket(kind)
    # libzmq 4.3.5 ends its process (`!_io_error`, stream_engine_base.cpp:310) when it has to write to a peer that went
    # while it had stopped reading from it. It stops where a queue is full, and writes by itself where it has
    # heartbeats. So it never stops, and pings nobody; what a peer may have waiting is bounded by meters.py.
    listener.rcvhwm = 0
    # Refuses peers of ZMTP 1 and 2: bytes that do not begin as a greeting are a ZMTP 1 peer to libzmq, and noise can
    # become messages and subscriptions. Without keys no handler is asked.
    listener.zap_domain = curve.SUBSCRIBERS if kind == zmq.XPUB else curve.CLIENTS
    if keys is not None:
        curve.protect(listener, keys)
    _keep_alive(listener)
    listener.ipv6 = True  # before bind; takes IPv4 as well
    listener.backlog = BACKLOG
    listener.handshake_ivl = HANDSHAKE_IVL_MS
    return listener


def _connector(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    connector = context.socket(kind)
    connector.ipv6 = True
    connector.handshake_ivl = HANDSHAKE_IVL_MS
    connector.reconnect_ivl = RECONNECT_NEVER_MS
    connector.connect_timeout = CONNECT_TIMEOUT_MS
    connector.maxmsgsize = ANSWER_BYTES_MAX  # a larger one ends the connection
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
    if not int(pair.getsockopt(zmq.EVENTS)) & POLLIN:
        return None  # an exception would cost several times as much, and this is asked often
    event, _endpoint = pair.recv_multipart(DONTWAIT)
    number, value = _EVENT.unpack(event)
    return number, value


def close_monitor(watched: zmq.Socket[bytes], pair: zmq.Socket[bytes]) -> None:
    """End monitoring first: the I/O thread must never write to a PAIR that is gone."""
    watched.disable_monitor()
    pair.close()


class Waker:
    """Wakes a thread that sleeps on descriptors, of which it has one: from any thread or signal handler."""

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


def descriptor(watched: zmq.Socket[bytes]) -> int:
    """Readable once when something about the socket may be new; what it is, its events tell (ZMQ_FD)."""
    return int(watched.getsockopt(zmq.FD))


def sender(through: zmq.Socket[bytes]) -> Callable[..., object]:
    """Its `send` of bytes or a frame, with flags, and whether to copy. What nobody uses would take as long again."""
    return super(zmq.Socket, through).send


def metadata(frame: zmq.Frame, name: Any) -> Any:
    """A property of the connection that a frame came on; None where libzmq has none."""
    try:
        return frame.get(name)
    except (zmq.ZMQError, ValueError):
        return None
