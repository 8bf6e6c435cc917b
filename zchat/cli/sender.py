"""Messages on their way to the broker: published, and their acks seen to.

Tests: tests/cli/test_send.py.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

from zchat.cli import exit_status, streams
from zchat.cli.bodies import BODY_BYTES_MAX, LeftOut
from zchat.cli.interrupts import ReaderGone, interrupts
from zchat.cli.progress import ProgressLine
from zchat.errors import Refused, TimedOut, TooLarge, Unreachable, ZchatError
from zchat.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from zchat import Client, Publication

LOOKED_AT = 32  # one of so many is asked what became of it: a broker that refuses does not refuse one alone
LOOK_SECONDS = 0.05  # with --json: how soon an ack is printed while stdin is quiet
REPEATS = 1_000  # published as one block


class Sender:
    """Publishes messages and sees to their acks.

    What was published of a block of lines is kept until the whole block is acked: then its acks are printed, with
    --json; that the broker refuses is noticed while stdin still flows; and at any end it is known what was not stored.
    """

    def __init__(self, client: Client, publish: Callable[[bytes], Publication], wait: float, json_room: str) -> None:
        self._client, self._publish, self._wait, self._json_room = client, publish, wait, json_room
        self._unacked: deque[list[Publication]] = deque()  # blocks
        self._acked = 0
        self._some_refused = False
        self._taken = 0  # messages that were to be sent
        self._lines = 0  # of stdin, so far
        self.left_out = 0

    @property
    def sent(self) -> int:
        """Messages so far."""
        return self._taken - self.left_out

    def single(self, body: bytes) -> None:
        """Send one message. No first signal comes between what may be stored by now and that it is known here."""
        with interrupts.held():
            self._taken += 1
            self._unacked.append([self._publish(body)])

    def repeated(self, body: bytes, times: int, delay: float) -> None:
        """Send one message so many times, with a delay between."""
        if not delay:
            for begin in range(0, times, REPEATS):
                bodies = [body] * min(REPEATS, times - begin)
                self.takes(len(bodies))
                self.lines(bodies)
            return
        for number in range(times):
            if number:
                due = time.monotonic() + delay
                self.take_acks(delay)
                time.sleep(max(0.0, due - time.monotonic()))
            self.single(body)

    def file(self, path: Path, room: str, headers: dict[str, str] | None) -> None:
        """Send a file that is larger than a message, in pieces; how far it is, is shown on a terminal."""
        self._taken += 1
        try:
            with ProgressLine(f"sending {printable(path.name)}") as progress:
                offset = self._client.send_file(room, path, headers=headers, on_progress=progress, timeout=self._wait)
        except TimedOut:
            raise Unreachable(self._client.address, self._wait, f"{path} was not sent to its end") from None
        self._acked += 1
        if self._json_room:
            self._print([offset])

    def takes(self, count: int) -> None:
        """So many lines were read: whatever comes now, they are sent or told of."""
        self._taken += count
        self._lines += count

    def lines(self, lines: list[bytes]) -> None:
        """Send the lines of one block, which were taken; raises Refused when one before them was."""
        publish = self._publish
        block: list[Publication] = []
        self._unacked.append(block)
        add = block.append
        rest = iter(lines)
        number, left_out, passed_over = self._lines - len(lines), self.left_out, 0
        while True:
            try:
                for line in rest:
                    add(publish(line))
                break
            except (TooLarge, LeftOut) as error:
                if not error.args:
                    self._taken -= 1
                    passed_over += 1
                    continue
                self.left_out += 1
                at = number + len(block) + passed_over + self.left_out - left_out
                is_known = isinstance(error, LeftOut) or len(line) <= BODY_BYTES_MAX
                exit_status.tell(f"line {at} left out: {error if is_known else f'longer than {BODY_BYTES_MAX} bytes'}")
        self.take_acks()

    def before_read(self) -> None:
        """Print the acks that come while stdin has nothing."""
        while self._json_room and self._unacked and not select.select([streams.STDIN], [], [], 0)[0]:
            self.take_acks(LOOK_SECONDS)

    def finish(self) -> None:
        """Wait for every ack; the wait time counts anew from each block's."""
        try:
            while self._unacked:
                self.take_acks(self._wait, is_needed=True)
            self._flush()
        except TimedOut:
            raise Unreachable(self._client.address, self._wait, "messages were sent and not acked") from None

    def _flush(self) -> None:
        try:
            self._client.flush(timeout=self._wait)
        except Refused:
            self._some_refused = True
            raise

    def what_is_lost(self) -> str:
        """A sentence on what was not stored, once the client is closed; empty where all was."""
        unknown = self.sent - self._acked - sum(map(len, self._unacked))  # read, and hardly published
        lost = 0
        for publication in chain.from_iterable(self._unacked):
            try:
                publication.result(0)
            except Refused as error:
                lost, unknown = lost + error.definite, unknown + (not error.definite)
            except ZchatError:
                unknown += 1
        if not (lost or unknown or self._some_refused):
            return ""
        from zchat.cli.output import counted  # only who lost something pays for it

        if not lost + unknown:
            return f"some of {counted(self.sent, 'message')} not stored"
        of = f"{lost + unknown} of {counted(self.sent, 'message')}"
        return f"{of} not acknowledged, and perhaps not stored" if unknown else f"{of} not stored"

    def take_acks(self, wait: float = 0.0, *, is_needed: bool = False) -> None:
        """Take the acks that are there, or come within `wait`, in order; raises TimedOut where one is needed."""
        offsets: list[int] = []
        while self._unacked:
            block = self._unacked[0]
            if block and not block[-1].done():
                if not wait or offsets:
                    break
                try:
                    block[-1].result(wait)
                except TimedOut:
                    if is_needed:
                        raise
                    break
            if self._json_room:
                offsets += [publication.result(self._wait) for publication in block]
            else:  # to ask each of them would double the time; what this passes over, `flush` tells
                for publication in block[::LOOKED_AT]:
                    publication.result(self._wait)
            self._acked += len(block)
            self._unacked.popleft()
        if self._json_room and offsets:
            self._print(offsets)

    def _print(self, offsets: list[int]) -> None:
        import json  # only who wants it printed pays for it

        name = json.dumps(self._json_room)  # ASCII, so it suits a terminal too
        log = json.dumps(f"@{self._client.log_id}")[1:]
        lines = [
            f'{{"room":{name},"offset":{offset},"place":"{offset}{log}}}\n'
            if offset
            else f'{{"room":{name},"offset":null,"place":null}}\n'
            for offset in offsets
        ]
        try:
            streams.write("".join(lines).encode())
        except ReaderGone:
            self._json_room = ""  # what is to be sent is sent all the same
