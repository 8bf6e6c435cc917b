"""A broker's process in the simulation: the loop that ships, on a port that is simulated, with a log that is.

Rules of this file: nothing of the loop is here. A process polls and acts; it stalls, stops, and is killed.
"""

from __future__ import annotations

from functools import partial
from itertools import count

from tests.simulation.broker_port import SimulatedPort, unwrapped
from tests.simulation.logs import SimulatedLog
from tests.simulation.network import Port, World
from tests.simulation.pair import log_facts
from tests.simulation.process import Process
from zchat import wire
from zchat.address import Published
from zchat.core import Instant
from zchat.core.broker import BrokerCore
from zchat.core.broker_loop import BrokerLoop
from zchat.core.log import Log
from zchat.settings import Settings

SILENCE_SECONDS = 2.0
GATHERED_BYTES_MAX = 4_000  # 128 MiB in truth; small enough to be reached here


class WatchedCore(BrokerCore):
    """The core; what is told before it is true is caught, and repeats are counted."""

    world: World
    log: SimulatedLog

    def received(self, connection: bytes, frame: bytes, now: Instant, address: str = "", key: str = "") -> None:
        """Count."""
        self.world.counts["messages received"] += 1
        message, session = wire.decode_client(frame), self.registry.of(connection)
        if isinstance(message, wire.Publish) and session is not None and message.seq <= session.last_seq:
            self.world.counts["repeats"] += 1
        super().received(connection, frame, now, address, key)

    def take_replies(self) -> list[tuple[bytes, bytes]]:
        """Look at the ACKs."""
        replies = super().take_replies()
        for _, frame in replies:
            reply = unwrapped(frame)
            for _, first in reply.pairs if isinstance(reply, wire.Ack) else ():
                if first > self.log.memory.head():
                    raise AssertionError(f"an ACK for {first} before its commit")
        return replies


class SimulatedBroker(Process[int]):
    """One broker process."""

    core_type: type[WatchedCore] = WatchedCore  # for sabotage.py, as are these
    loop_type: type[BrokerLoop] = BrokerLoop

    def __init__(self, world: World, port: Port, log: SimulatedLog, settings: Settings, number: int) -> None:
        super().__init__(world)
        self.log = log
        self._port = port
        self.port = SimulatedPort(world, port, self.wake, log.lie_of)
        session_ids = (f"s{number}-{at}" for at in count(1))
        facts = log_facts(log.memory, settings, f"{log.name}/{number}")
        self.core = self.core_type(settings, facts, session_ids, Published(1), world.now)
        self.core.world, self.core.log = world, log
        self.loop = self.loop_type(self.core, self.log_of_loop(), self.port, self._tell)
        self.loop.gathered_bytes_max = min(GATHERED_BYTES_MAX, self.loop.gathered_bytes_max)
        self.wake()

    def log_of_loop(self) -> Log:
        """What the loop has for its log."""
        return self.log

    # --- its life ---------------------------------------------------------------------------

    def kill(self) -> None:
        """As kill -9 does."""
        self._die(lingers=False)

    def stall(self, seconds: float) -> None:
        """As SIGSTOP does, and SIGCONT later. Clients give up connections in which they hear nothing."""
        self.stalled_until = self._world.seconds + seconds
        if seconds > SILENCE_SECONDS:
            for socket in (self.port.router, self.port.xpub):
                for connection in list(socket.connections.values()):
                    self._world.after(SILENCE_SECONDS, partial(connection.cut, seconds - SILENCE_SECONDS))
        self.wake()

    def stop(self) -> None:
        """As SIGTERM does."""
        self.loop.stop()

    def _die(self, *, lingers: bool) -> None:
        self.is_alive = False
        if self._port.sockets is not None and self._port.sockets["dealer"] is self.port.router:
            self._port.sockets = None
        self.port.close(lingers=lingers)
        self.log.killed()

    def _tell(self, text: str) -> None:
        self._world.note("told", text)

    # --- turns ------------------------------------------------------------------------------

    def poll(self) -> int:
        """What can be read."""
        return self.port.poll(0.0, receives=self.loop.receives)

    def act(self, polled: int) -> float | None:
        """One turn, which takes its time."""
        self.port.spent = 0.0
        self.loop.turn(polled)
        if self.loop.is_over:
            self._die(lingers=True)
            return None
        if not self.loop.receives:
            self._world.counts["publishers held back"] += 1
        now = self._world.seconds
        self.stalled_until = max(self.stalled_until, now + self.port.spent)
        rest = self.loop.rest()
        return now + rest if rest else None
