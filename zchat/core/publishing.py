"""What one session has published and does not know the outcome of.

Rules of this file
1. A publish is kept, frame and all, until the broker says what became of it. A repeat is the same frame.
2. What has no outcome has a bound in bytes, the window. WELCOME tells the first one, and each ACK the next, which ends
   when nothing was unacked for a moment: in between, a stream of publishes keeps it. One frame may always be out. All
   sessions of a connection share it, and none takes more than half of it from the others.
3. A small volatile publish may be quiet: it asks for no ACK, which spares everybody a hop. The ACK of a
   later one tells of it too, and whoever waits for it has the newest one repeated, which is answered. Where sessions
   share a window, none is: an ACK tells of its own session alone, and the others would wait.
4. Who is told of an outcome notes it, and does nothing else: it is called in the middle of a turn.

Spec: docs/protocol.md, "Publish once". Tests: tests/core/test_publishing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from zchat import wire
from zchat.core import Instant
from zchat.errors import Refused

IN_FLIGHT_FRAMES_MAX = 32  # unacked PUBLISH frames; what waits meanwhile makes the next ones larger
QUIET_FRAMES_MAX = 15  # quiet ones in a row: flow control needs an ACK now and then
WINDOW_KEPT_SECONDS = 0.1  # nothing was unacked: then the first window holds again
QUIET_BYTES = 4096  # larger ones are no round trips, and to repeat them would cost more than an ACK
QUIET_SECONDS = 0.5  # then the outcome is asked for, so that nothing stays open
KEPT_SHARE = 0.9  # of the time for which a session is kept may pass: two clocks never agree
NEVER = Instant(0.0, 0)
REPEAT_SECONDS = 3.0  # without an answer a publish is sent again: the broker may drop replies


class Chunk:
    """Records for one room that travel as one PUBLISH, and what became of them."""

    __slots__ = (
        "_calls",
        "count",
        "error",
        "first",
        "flags",
        "frame",
        "is_quiet",
        "is_sealed",
        "keys",
        "left",
        "records",
        "room",
        "sent",
        "seq",
        "size",
    )

    def __init__(self, room: str, flags: int) -> None:
        self.room = room
        self.flags = flags
        self.records: list[wire.RecordOrBody] = []
        self.size = 0  # bytes of the outbox that are granted to it,
        self.left = 0  # and how many of them are free
        self.is_sealed = False  # nothing is added any more that counts,
        self.count = -1  # and so many records travel
        self.keys: set[str] = set()  # names under which the outbox finds it while it is open
        self.seq = 0
        self.sent = NEVER  # when it was first
        self.is_quiet = False  # sent without asking for an ACK
        self.frame = b""  # kept until it is settled
        self.first = -1  # offset of the first record (0: volatile), once it is acked
        self.error: Exception | None = None  # why it was not kept, or is not known to be
        self._calls: list[Callable[[], object]] = []  # once one of both is known

    @property
    def is_settled(self) -> bool:
        """Whether its outcome is known."""
        return self.first >= 0 or self.error is not None

    def settle(self, first: int, error: Exception | None = None) -> None:
        """Its outcome is known: who waits for it is told."""
        self.first, self.error = first, error
        self._tell()

    def when_settled(self, call: Callable[[], object]) -> None:
        """Have it called once the outcome is known: by whoever drives the engine, or at once. By any thread."""
        self._calls.append(call)
        if self.is_settled:
            self._tell()

    def waits_no_more(self, call: Callable[[], object]) -> None:
        """Whoever gave `call` to `when_settled` does not wait any more."""
        try:
            self._calls.remove(call)
        except ValueError:
            pass  # it was called

    def _tell(self) -> None:
        """Each is taken out by one step, so that of two threads one calls it."""
        try:
            while self._calls:
                self._calls.pop(0)()
        except IndexError:
            pass  # the other thread was quicker


class Window:
    """What all sessions of a connection may have without an outcome."""

    def __init__(self) -> None:
        self.sessions = 0  # that share it
        self.frames = 0  # that have no outcome,
        self.bytes = 0  # and their bytes
        self.frames_max = IN_FLIGHT_FRAMES_MAX  # of one session
        self.size = self._first = wire.WINDOW_BYTES
        self._all_frames_max = wire.IN_FLIGHT_MAX
        self._idle_since = 0.0  # when nothing was left unacked

    @property
    def has_room(self) -> bool:
        """Whether one of the sessions may send another one."""
        return self.frames < self._all_frames_max and self.bytes < self.size

    def told(self, limits: dict[str, int]) -> None:
        """What WELCOME says."""
        self._first = self.size = max(1, limits.get("window_bytes", wire.WINDOW_BYTES))
        self._all_frames_max = max(1, limits.get("in_flight_max", wire.IN_FLIGHT_MAX))
        self.frames_max = min(IN_FLIGHT_FRAMES_MAX, self._all_frames_max)

    def acked(self, size: int, now: Instant) -> None:
        """What an ACK says; what it acks is given back before."""
        self.size = size or self._first
        if not self.frames:
            self._idle_since = now.seconds

    def begin(self, now: Instant) -> None:
        """A frame is to be sent, and none has no outcome."""
        if now.seconds - self._idle_since > WINDOW_KEPT_SECONDS:
            self.size = self._first


class Publishing:
    """The publishes of one session, in order of their `seq`."""

    def __init__(self, window: Window | None = None) -> None:
        """The window of its connection, or its own."""
        self.window = Window() if window is None else window
        self.window.sessions += 1
        self._seq = 0
        self._unacked: dict[int, Chunk] = {}
        self._unacked_bytes = 0
        self._heard = 0.0  # when the oldest of them became that, or all were sent again
        self._quiet = 0  # in a row
        self._former_session = 0  # publishes up to this `seq` were sent in another session, too
        self._former_log = 0  # publishes up to this `seq` were sent to a broker with another log, too
        self._wanted = 0  # publishes up to this `seq` are not to be quiet

    @property
    def has_room(self) -> bool:
        """Whether another one may be sent now."""
        window = self.window
        if len(self._unacked) >= window.frames_max:
            return False
        if window.sessions == 1:
            return window.bytes < window.size
        return window.has_room and self._unacked_bytes < window.size // 2

    @property
    def is_idle(self) -> bool:
        """Whether every publish has an outcome."""
        return not self._unacked

    @property
    def settled_upto(self) -> int:
        """All up to this `seq` are settled."""
        return next(iter(self._unacked)) - 1 if self._unacked else self._seq

    def begin(self, seq: int) -> None:
        """The next one follows on that `seq`, which a process before had."""
        self._seq = seq

    def add(self, chunk: Chunk, now: Instant) -> bytes:
        """The frame to send."""
        self._seq += 1
        chunk.seq, chunk.sent = self._seq, now
        records = wire.raw(wire.encode_records(chunk.records[: chunk.count] if chunk.is_sealed else chunk.records))
        chunk.frame = wire.encode(wire.Publish(chunk.seq, chunk.room, chunk.flags, records))
        if not self._unacked:
            self._heard = now.seconds
        window, size = self.window, len(chunk.frame)
        if not window.frames:
            window.begin(now)
        window.frames += 1
        window.bytes += size
        self._unacked[chunk.seq] = chunk
        self._unacked_bytes += len(chunk.frame)
        may_be_quiet = chunk.flags & wire.VOLATILE and len(chunk.frame) < QUIET_BYTES and chunk.seq > self._wanted
        if not may_be_quiet or self.window.sessions > 1 or self._quiet == QUIET_FRAMES_MAX:
            self._quiet = 0
            return chunk.frame
        self._quiet += 1
        chunk.is_quiet = True
        return wire.encode(wire.Publish(chunk.seq, chunk.room, chunk.flags | wire.QUIET, records))

    def acked(self, ack: wire.Ack, now: Instant) -> bool:
        """These are stored, or broadcast. Returns whether anything was settled by it."""
        settled = False
        oldest = next(iter(self._unacked), 0)
        for seq, first in ack.pairs:
            chunk = self._unacked.pop(seq, None)
            if chunk is None:
                continue
            settled = True
            self._settle(chunk, first)
            for before in [before for before in self._unacked.values() if before.is_quiet and before.seq < seq]:
                del self._unacked[before.seq]
                self._settle(before, 0)
        self.window.acked(ack.window, now)
        if not self._unacked:
            self._quiet = 0
        if next(iter(self._unacked), 0) != oldest:  # the others' ACKs say nothing of one whose own was lost
            self._heard = now.seconds
        return settled

    def refused(self, seq: int, error: Refused) -> Refused | None:
        """That one was not kept. Returns what its publisher is told; None when it is settled already."""
        chunk = self._unacked.pop(seq, None)
        if chunk is None:
            return None
        if seq <= self._former_log and error.definite:
            error = Refused("repeat-unknown", f"{error}; the log that the broker had before may have it")
        self._settle(chunk, -1, error)
        return error

    def other_log(self, *, resumed: bool) -> list[Refused]:
        """The broker has another log, or it went back: of what is unacked, nobody knows whether the former one has it.

        What was first sent in a session before this one is not sent again: if it is in this log after all, nobody
        could tell that it is a repeat. Returns what their publisher is told.
        """
        error = Refused("repeat-unknown", "the broker's log was another one when this was sent")
        told = [self.refused(seq, error) or error for seq in list(self._unacked) if seq <= self._former_session]
        self._former_log = self._seq
        if not resumed:
            self._former_session = self._seq
        return told

    def forgotten(self, kept_seconds: float, now: Instant) -> list[Refused]:
        """The session was not resumed. What was sent before the broker may have forgotten it is not sent again: it
        may be there, and nobody could tell that it is a repeat. Returns what their publisher is told.
        """
        told = []
        for seq, chunk in list(self._unacked.items()):
            age = max(now.seconds - chunk.sent.seconds, (now.micros - chunk.sent.micros) / 1e6)
            if age > KEPT_SHARE * kept_seconds:
                error = Refused("repeat-unknown", "the broker was away for longer than it keeps sessions")
                told.append(self.refused(seq, error) or error)
        self._former_session = self._seq
        return told

    def want(self, seq: int) -> list[bytes]:
        """Somebody waits for those up to this `seq`: the frames to send, so that they are told of."""
        self._wanted = max(self._wanted, seq)
        newest = next(reversed(self._unacked.values()), None)
        if newest is None or not newest.is_quiet or not self._quiet:
            return []
        self._quiet = 0
        return [newest.frame]

    def elapsed(self, now: Instant) -> Iterable[bytes]:
        """The frames to send again, when it is time."""
        if not self._unacked:
            return ()
        waited = now.seconds - self._heard
        if waited > REPEAT_SECONDS:
            return self.again(now)
        return self.want(0) if waited > QUIET_SECONDS else ()

    def again(self, now: Instant) -> list[bytes]:
        """All that is unacked, in order: after a break, and when no answer comes."""
        self._heard = now.seconds
        return [chunk.frame for chunk in self._unacked.values()]

    def close(self, error: Exception) -> None:
        """Whatever is unacked stays unknown."""
        self.window.sessions -= 1
        for chunk in self._unacked.values():
            self._settle(chunk, -1, error)
        self._unacked.clear()

    def _settle(self, chunk: Chunk, first: int, error: Exception | None = None) -> None:
        self.window.frames -= 1
        self.window.bytes -= len(chunk.frame)
        self._unacked_bytes -= len(chunk.frame)
        chunk.frame = b""
        chunk.settle(first, error)
