"""The broker's one loop, without what drives it: a turn takes what the port has, and does what BrokerCore says.

    port --frames, ends, subscriptions-->  BrokerCore  --append-->  Log (commits beside the loop)
         <--batches, acks, answers-------              <--kept-----

Rules of this file
1. It never sleeps, and has neither thread nor clock: whoever drives it polls the port for as long as `rest` says, and
   then takes a turn.
2. It decides nothing that a client can see: BrokerCore does. What is here is order of work, and its bounds.
3. An end counts only when all that came before it was received: see `_take_ends`.
4. What a turn does is bounded by time and bytes, not by messages: everybody's answers go out after each.

It has more than 300 lines because a turn is read best in one piece.
The port is made of ZeroMQ's sockets, or of the simulator's network: see `core/broker_port.py`.
Spec: docs/design.md, "The cycle". Tests: tests/core/test_broker_loop.py, tests/simulation.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from math import inf

from zchat import wire
from zchat.core import Instant
from zchat.core.broker import BrokerCore, Read
from zchat.core.broker_port import ENDS, FRAMES, SUBSCRIPTIONS, WOKEN, BrokerPort
from zchat.core.clocks import NOTICED_SECONDS, Clocks
from zchat.core.identity import KeyStore
from zchat.core.key_worker import KeyWorker
from zchat.core.log import Append, Log, WordIndex
from zchat.core.read_worker import Later, ReadWorker
from zchat.core.rights import Rules
from zchat.errors import LogError

DRAIN_SECONDS = 0.01  # of a turn: then it is time to commit and answer
DRAINED_BYTES_MAX = 4 << 20
DRAINED_UNTIMED = 4  # messages, small ones: so often is the clock looked at
SMALL_BYTES = 1_024  # a larger one may be work
LONE_BYTES = 4_096  # of a commit that this thread may make itself
ANSWER_SECONDS = 0.01  # of a turn
ANSWER_BYTES_MAX = 4 << 20
GATHERED_BYTES_MAX = 128 << 20  # waiting for the commit under way: the windows of honest clients allow a quarter of it
ENDED_WAIT_SECONDS = 1.0  # for the frames that ended connections have left in a port that is never dry,
ENDED_WAIT_MESSAGES = 10_000  # and so many: a machine may be slow, and each connection has its turns
ENDED_LOOK_SECONDS = 0.02  # whether it is
STOP_SECONDS = 5.0  # to commit what had arrived
BUSY_SECONDS = 0.005  # while frames come, what is due is looked up only so often, and so much late
LOOK_SECONDS = 0.5  # whether the clock was set, and there are other rules: they hold when two looks saw the same
LIMITS_SECONDS = 60.0  # between two lines on limits that were met
PROBE_SECONDS = 30.0  # a connection whose end was missed is found by a send that fails


class BrokerLoop:
    """One broker. `turn` what `BrokerPort.poll` returned, `rest`, poll for so long, and again, until `is_over`."""

    gathered_bytes_max = GATHERED_BYTES_MAX

    def __init__(
        self,
        core: BrokerCore,
        log: Log,
        port: BrokerPort,
        tell: Callable[[str], object],
        index: WordIndex | None = None,
        changed_rules: Callable[[], Rules | None] | None = None,
        keys: KeyStore | None = None,
        other_key: Callable[[], object] | None = None,
    ) -> None:
        """`tell` is given one line for the operator; searches look through the log where there is no `index`.
        `changed_rules` is asked twice a second; None: there never are any. Without `keys` everybody is let in.
        `other_key` is called when the broker's own key is another."""
        self.core = core
        self.is_over = False
        self.failure: LogError | None = None  # the log keeps nothing more
        self._log = log
        self._port = port
        self._tell = tell
        self._changed_rules = changed_rules
        self._read_worker = ReadWorker(log, core, port, self.later, tell, index)
        self._key_worker: KeyWorker | None = None
        if keys is not None:
            self._key_worker = KeyWorker(keys, core.admission, port, self.later, tell, other_key or (lambda: None))
        self._finished: deque[Later] = deque()  # from other threads
        self._receives = True
        self.is_alone = True  # as of the last `rest`: no commit is under way in the log's thread
        self._more = False  # may be there to be received
        self._had_one = False  # the last turn for which frames came had one
        self._received = 0  # messages,
        self._marks: deque[tuple[float, int]] = deque()  # and when there were how many, while ends are to be told
        self._due = inf  # when the core is to be told at the latest that time has passed,
        self._due_until = 0.0  # and until when that need not be found out anew
        self._took, self._turned_at = 0, 0.0  # whether frames came for the last turn, and when it began
        self._pass_at = 0.0  # when something is due that is no matter of the core
        self._trouble = ""  # code of what the log said last, empty when it works
        self._is_stopping = False
        self._stop_at = inf  # at the latest
        self._has_all = False  # that it takes before it stops
        now = port.now()
        self._clocks = Clocks(now)
        self._trim_at = self._look_at = now.seconds
        self._probe_at = now.seconds + PROBE_SECONDS
        self._limits_at, self._told_met = now.seconds, Counter[str]()
        if ahead := self._ahead(now):
            tell(f"the clock is behind{ahead}")

    # --- by any thread ----------------------------------------------------------------------

    def later(self, finished: Later) -> None:
        """Have it done in the next turn."""
        self._finished.append(finished)
        self._port.wake()

    def stop(self) -> None:
        """End soon: what was accepted is committed and told first. Safe in a signal handler."""
        self._is_stopping = True
        self._port.wake()

    # --- by whoever drives it ---------------------------------------------------------------

    @property
    def receives(self) -> bool:
        """Whether to poll for frames, as of the last `rest`. What gathers has a bound; then senders have to wait."""
        return self._receives

    def rest(self) -> float:
        """For how many seconds to poll."""
        core, port = self.core, self._port
        self._receives = core.gathered_bytes < self.gathered_bytes_max and not self._has_all
        self.is_alone = not core.is_committing
        is_busy = (
            self._finished
            or (self._more and self._receives)
            or (core.groups.rooms and core.groups.is_eager)
            or (core.questions and core.may_answer(port.full))
            or (self._is_stopping and self._stop_at == inf)
        )
        if self._took and self._turned_at < self._due_until:
            return 0.0 if is_busy else BUSY_SECONDS
        now, due = port.now(), core.next_deadline()
        self._due, self._due_until = inf if due is None else due, now.seconds + BUSY_SECONDS
        if is_busy:
            return 0.0
        until = min(self._due, self._stop_at, port.due(now))
        if port.ends:
            until = min(until, now.seconds + ENDED_LOOK_SECONDS)
        if self._changed_rules is not None:
            until = min(until, self._look_at)
        if self._key_worker is not None:
            until = min(until, self._key_worker.due)
        return max(0.0, until - now.seconds)

    def turn(self, ready: int) -> None:
        """Take what is there, and do what the core says."""
        port, now = self._port, self._port.now()
        if ready & ENDS:
            port.read_ends(now)
        if ready & SUBSCRIPTIONS:
            self._take_subscriptions(now)
        receives = self._receives
        # What one sent before its end was read may have come since the poll.
        may_have = self._more or ready & FRAMES or port.ends or self._is_stopping
        self._took, self._turned_at = ready & FRAMES, now.seconds
        self._more = bool(receives and may_have and self._drain(now))
        now = port.now()  # what was sent since the turn began is not stored as older than its sending
        dry = receives and not self._more
        port.elapsed(now, dry=dry)
        if port.ends:
            self._take_ends(now, dry=dry)
        if ready & WOKEN:
            self._take_finished(now)
        if self._key_worker is not None:
            self._key_worker.turn(now)
        self._cycle(now)
        if now.seconds >= self._pass_at or self.core.purges.upto:
            self._pass_time(now)
        if self._is_stopping:
            self._stop(now, dry=dry)

    # --- a turn's steps ---------------------------------------------------------------------

    def _take_subscriptions(self, now: Instant) -> None:
        deadline = self._port.seconds() + DRAIN_SECONDS
        for topic in self._port.granted(now):
            if topic.startswith(wire.PRIVATE_TOPIC):
                self.core.subscribed(topic, now)
            if self._port.seconds() > deadline:
                break
        self.core.refuse_subscriptions(self._port.refusals)

    def _drain(self, now: Instant) -> bool:
        """Take what clients sent, up to a bound. Returns whether there may be more.

        Where frames come one by one, what a frame brings goes out before the port is asked for the next one.
        """
        received, seconds, has_one = self.core.received, self._port.seconds, self._had_one
        many, taken, untimed, more, deadline = 0, 0, DRAINED_UNTIMED, False, seconds() + DRAIN_SECONDS
        for connection, frame, size, address in self._port.received(now):
            many += 1
            if frame is not None and address is None:
                received(connection, frame, now)
            elif frame is not None:
                received(connection, frame, now, address or "", self._port.key_of(connection))
                session = self.core.registry.of(connection)
                self._port.spoke(connection, None if session is None else session.ttl_ms)
            if has_one and many == 1:
                self._send(now)
            taken += size
            untimed -= 1 + size // SMALL_BYTES
            if untimed < 0:
                if taken >= DRAINED_BYTES_MAX or seconds() > deadline:
                    more = True
                    break
                untimed = DRAINED_UNTIMED
        self._received += many
        self._had_one = many == 1 if many else self._had_one
        return more

    def _take_ends(self, now: Instant, *, dry: bool) -> None:
        """Tell the core who has ended and has nothing left to be received.

        An end comes beside the frames, not behind them: so it counts when all that was there is received, or once so
        much was, and for so long. What one has left then is passed over: it would be taken for a new connection's.
        """
        ends, marks = self._port.ends, self._marks
        marks.append((now.seconds, self._received))
        while len(marks) > 1 and self._received - marks[1][1] >= ENDED_WAIT_MESSAGES:
            marks.popleft()
        long_ago = marks[0][0] if self._received - marks[0][1] >= ENDED_WAIT_MESSAGES else -inf
        until = inf if dry else min(long_ago, now.seconds - ENDED_WAIT_SECONDS)
        for connection, _ in list(takewhile(lambda end: end[1] <= until, ends.items())):
            self._port.forget(connection, now, dry=dry)
            self.core.disconnected(connection, now)
        if not ends:
            marks.clear()

    def _take_finished(self, now: Instant) -> None:
        self._port.woken()
        while self._finished:
            self._finished.popleft()(now)

    def _cycle(self, now: Instant) -> None:
        """Append, broadcast, ack, answer."""
        core, port = self.core, self._port
        if self._due <= now.seconds:
            core.elapsed(now)
        append = core.take_append(now)
        if append is not None and not self._is_lone(append):
            self._append(append)
            append = None
            if self._finished:  # a log that commits at once has called back already
                self._take_finished(now)
        self._send(now)
        if append is not None:
            self._append_now(append, now)
            self._send(now)
            if (following := core.take_append(now)) is not None:
                self._append(following)
        full = port.full
        if core.questions and core.may_answer(full):
            self._answer(now)
        for read in core.take_reads(full, now):
            self._read_worker.submit(read)
        if core.groups.rooms:
            for stock_read in core.groups.take_reads(now):
                self._read_worker.submit(Read(b"", stock_read))
        if core.replies.cutoffs:
            for connection in core.replies.take_cutoffs():
                port.cut_off(connection, now)

    def _send(self, now: Instant) -> None:
        """What somebody waits for goes first: of a round trip, the message, and then its ack."""
        core, port = self.core, self._port
        if core.groups.rooms and core.groups.is_eager:
            core.groups.hand_out(port.full, now)
        broadcasts, direct = core.take_broadcasts(now), core.take_direct()
        if broadcasts or direct:
            patient = core.is_patient(now)
            refused = port.broadcast(broadcasts, patient=patient) | port.deliver(direct, now, patient=patient)
            core.broadcast(refused, now)
        if replies := core.take_replies():
            port.send(replies, now)
        if broadcasts or direct or replies:
            port.let_others()

    def _is_lone(self, append: Append) -> bool:
        """Whether one waits for it, and nobody for anything else."""
        if self._more or self._finished or len(append.sessions) > 1 or len(append.batches) > 1:
            return False
        return not append.batches or len(append.batches[0].frame) <= LONE_BYTES

    def _append(self, append: Append) -> None:
        self._log.append(append, partial(self._committed, bool(append.batches)))

    def _append_now(self, append: Append, now: Instant) -> None:
        """In this thread: to hand it over, and to be told, takes longer than what could be done meanwhile."""
        error = None
        try:
            if not self._log.append_now(append):
                self._append(append)
                return
        except LogError as refusal:
            error = refusal
        self._on_commit(bool(append.batches), error, now)

    def _answer(self, now: Instant) -> None:
        """Questions, as long as there is time."""
        core, port, made = self.core, self._port, 0
        deadline = port.seconds() + ANSWER_SECONDS
        while made < ANSWER_BYTES_MAX and core.answer(port.full):
            replies = core.take_replies()
            made += sum(len(frame) for _, frame in replies)
            port.send(replies, now)
            if port.seconds() > deadline:
                return

    def _pass_time(self, now: Instant) -> None:
        retention = self.core.settings.retention
        if purges := self.core.purges.take(now.seconds):
            self._log.trim(purges, self._clocks.for_ages(now))
        if now.seconds >= self._probe_at:
            self._probe_at = now.seconds + PROBE_SECONDS
            nothing = wire.encode(wire.Ack([]))
            self._port.send([(connection, nothing) for connection in self.core.registry.connections()], now)
        if now.seconds >= self._look_at or (retention and now.seconds >= self._trim_at):
            self._look_at = now.seconds + LOOK_SECONDS
            self._look_at_the_clock(now)
            self._look_at_limits(now)
            if self._changed_rules is not None and (rules := self._changed_rules()) is not None:
                self.core.rules_changed(rules, now)
                self._port.wake()  # what ends is written and told in the next turn, and that is now
        if retention and now.seconds >= self._trim_at:
            self._trim_at = now.seconds + self.core.settings.trim_seconds
            self._log.trim(list(retention), self._clocks.for_ages(now))
        self._pass_at = min(self._probe_at, self._look_at, self._trim_at if retention else inf)

    def _look_at_limits(self, now: Instant) -> None:
        """Count those for which the port cut peers off; tell once a minute which were met since the last time."""
        limits = self.core.limits
        for (limit, address), times in self._port.take_met().items():
            limits.note(limit, "", address, times)
        for who, times in limits.take(now.seconds):
            self.core.admission.limited(who, times, now)
        met = limits.counts
        if now.seconds < self._limits_at or met == self._told_met:
            return
        self._limits_at = now.seconds + LIMITS_SECONDS
        since, self._told_met = met - self._told_met, met.copy()
        self._tell(
            f"limits were met: {', '.join(f'{limit} {times:,} times' for limit, times in sorted(since.items()))}"
        )

    def _stop(self, now: Instant, *, dry: bool) -> None:
        """Once what had arrived is taken and committed, say goodbye, and end."""
        self._has_all |= dry
        self._stop_at = min(self._stop_at, now.seconds + STOP_SECONDS)
        if now.seconds < self._stop_at and (self.core.is_committing or not self._has_all):
            return
        self.core.stopping()
        self._cycle(now)
        self._port.flushed()
        self.is_over = True

    # --- the log ----------------------------------------------------------------------------

    def _committed(self, had_records: bool, error: LogError | None) -> None:
        """Called by the log, from any thread."""
        self.later(lambda now: self._on_commit(had_records, error, now))

    def _on_commit(self, had_records: bool, error: LogError | None, now: Instant) -> None:
        self.core.committed(error, now)
        if error is not None and error.is_final:
            # To go on would refuse everything for ever. What is started next opens the log anew, and reads what it has.
            self.failure, self._is_stopping = error, True
        elif error is not None and error.code != self._trouble:
            self._trouble = error.code
            cure = "; stop the broker and run `zchat log repair`" if error.code == "log-damaged" else ""
            self._tell(f"{error}: what is sent is refused{cure}")
        elif error is None and self._trouble and had_records:  # a damaged log may still take rows of sessions
            self._trouble = ""
            self._tell("the log can be written again")

    # --- the clock --------------------------------------------------------------------------

    def _look_at_the_clock(self, now: Instant) -> None:
        by = self._clocks.look(now)
        if by > 0:
            self._tell(f"the clock went forward by {by:,.0f} s: it was set, or the machine slept")
        elif by < 0:
            self._tell(f"the clock was set back by {-by:,.0f} s{self._ahead(now)}")

    def _ahead(self, now: Instant) -> str:
        """What is to be said of a log whose last record is of a time that is still to come."""
        ahead = (self._log.last_time() - now.micros) / 1e6
        if ahead < NOTICED_SECONDS:
            return ""
        return f": the log's last record is {ahead:,.0f} s ahead of it, and new ones get its time until then"
