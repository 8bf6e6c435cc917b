"""`zchat send`: one message from the arguments, or a message a line from stdin."""

from __future__ import annotations

import json as json_text
import os
import select
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zchat.cli import completion, exit_status, options, streams
from zchat.cli.connecting import connect
from zchat.cli.interrupts import ReaderGone, interrupts
from zchat.errors import Refused, TimedOut, TooLarge, Unreachable, ZchatError

if TYPE_CHECKING:
    from zchat import Client, Notice, Publication

BLOCK_BYTES = 262_144  # one read: as many lines as are there, a bounded number of publications
LINE_BYTES_MAX = 1 << 20  # a longer line is no message of any broker; it is counted, not kept
LOOKED_AT = 32  # one of so many is asked what became of it: a broker that refuses does not refuse one alone
LOOK_SECONDS = 0.05  # with --json: how soon an ack is printed while stdin is quiet

OPTION_ALIASES = {"q": "quiet"}


def send(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="Room, or @user.", autocompletion=completion.rooms)],
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT...]", help="The message; none or - reads stdin, a message a line."),
    ] = None,
    event: Annotated[str, typer.Option("--event", metavar="NAME", help="What kind of message it is.")] = "message",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="K=V", help="A header; may be given several times.")
    ] = None,
    volatile: Annotated[
        bool, typer.Option("--volatile", help="Do not store it; only who listens now gets it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    json: options.Json = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr when the broker is lost and back, as on a terminal.")
    ] = False,
    broker: options.BrokerAddress = options.DEFAULT_BROKER,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Send messages to a room.

    It ends when the broker has stored them all. Stdin is read only once the broker is there.

    Examples:
      zchat send general Hello, world
      seq 100000 | zchat send load
      tail -f app.log | zchat send ops.web --event log -H host=web1
      zchat send --json general hi
    """
    from zchat.names import room_name

    is_watched = sys.stderr.isatty() and not quiet
    room = room_name(room)  # before stdin is touched, and as --json prints it
    more: dict[str, Any] = {}  # only what is not the default: it is passed with every message
    if event != "message":
        more["event"] = event
    if header:
        more["headers"] = dict(map(options.header, header))
    if volatile:
        more["volatile"] = True
    sender = None
    try:
        with connect(broker, user, wait=wait, on_notice=_notice if verbose or is_watched else None) as client:
            publish = partial(client.publish, room, **more)
            sender = Sender(client, publish, wait, room if json else "")
            if is_watched and not json and room.startswith("@"):
                exit_status.tell(f"only {room[1:]} can read this, with: zchat listen {room}")
            with _in_our_words():
                if text and text != ["-"]:
                    sender.single(os.fsencode(" ".join(text)))
                else:
                    if is_watched and os.isatty(streams.STDIN):
                        exit_status.tell(f"each line is a message to {room}; Ctrl-D ends")
                    for lines in read_lines(sender.before_read, sender.takes):
                        sender.lines(lines)
                sender.finish()
    finally:
        is_told = isinstance(sys.exc_info()[1], ZchatError)
        # Of one message the error says it all.
        if sender is not None and (sender.sent > 1 or not is_told) and (lost := sender.what_is_lost()):
            exit_status.tell(lost)
    if is_watched and not json and sender.sent > 1:
        exit_status.tell(f"{sender.sent} messages sent")
    raise typer.Exit(1 if sender.left_out else 0)


@contextmanager
def _in_our_words() -> Iterator[None]:
    """What is lost by an error the client warns of, too: that is for programs."""
    try:
        yield
    except BaseException:
        import logging  # 10 ms

        logging.getLogger("zchat").disabled = True
        raise


def _notice(notice: Notice) -> None:
    """Lost and back, as a listener says it."""
    from zchat.cli.output import notice_text

    exit_status.tell("back, what waited is sent" if notice.kind == "back" else notice_text(notice))


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
        self.left_out = 0

    @property
    def sent(self) -> int:
        """Messages so far."""
        return self._taken - self.left_out

    def single(self, body: bytes) -> None:
        """Send one message."""
        self._taken += 1
        self._unacked.append([self._publish(body)])

    def takes(self, count: int) -> None:
        """So many lines were read: whatever comes now, they are sent or told of."""
        self._taken += count

    def lines(self, lines: list[bytes]) -> None:
        """Send the lines of one block, which were taken; raises Refused when one before them was."""
        publish = self._publish
        block: list[Publication] = []
        self._unacked.append(block)
        add = block.append
        rest = iter(lines)
        number, left_out = self._taken - len(lines), self.left_out
        while True:
            try:
                for line in rest:
                    add(publish(line))
                break
            except TooLarge as error:
                self.left_out += 1
                known = len(line) <= LINE_BYTES_MAX
                at = number + len(block) + self.left_out - left_out
                exit_status.tell(f"line {at} left out: {error if known else f'longer than {LINE_BYTES_MAX} bytes'}")
        self._take_acks()

    def before_read(self) -> None:
        """Print the acks that come while stdin has nothing."""
        while self._json_room and self._unacked and not select.select([streams.STDIN], [], [], 0)[0]:
            self._take_acks(LOOK_SECONDS)

    def finish(self) -> None:
        """Wait for every ack; the wait time counts anew from each block's."""
        try:
            while self._unacked:
                self._take_acks(self._wait, is_needed=True)
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
        from zchat.cli.output import counted

        unknown = self.sent - self._acked - sum(map(len, self._unacked))  # read, and hardly published
        lost = 0
        for publication in chain.from_iterable(self._unacked):
            try:
                publication.result(0)
            except Refused as error:
                lost, unknown = lost + error.definite, unknown + (not error.definite)
            except ZchatError:
                unknown += 1
        if not lost + unknown:
            return f"some of {counted(self.sent, 'message')} not stored" if self._some_refused else ""
        of = f"{lost + unknown} of {counted(self.sent, 'message')}"
        return f"{of} not acknowledged, and perhaps not stored" if unknown else f"{of} not stored"

    def _take_acks(self, wait: float = 0.0, *, is_needed: bool = False) -> None:
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
        name = json_text.dumps(self._json_room)  # ASCII, so it suits a terminal too
        log = json_text.dumps(f"@{self._client.log_id}")[1:]
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


def read_lines(before_read: Callable[[], None], takes: Callable[[int], None]) -> Iterator[list[bytes]]:
    """The lines of stdin without their ends, a list for each read: what is there now is not held back.

    Of a line longer than LINE_BYTES_MAX that many bytes and one more are kept. `takes` is told how many there are, and
    no first signal comes between what is read and that.
    """
    rest = b""
    is_over = False
    while not is_over:
        with interrupts.held():
            with interrupts.passing():
                before_read()
                select.select([streams.STDIN], [], [])
            block = streams.read(BLOCK_BYTES)
            is_over = not block
            complete, newline, rest = (rest + block).rpartition(b"\n")
            if b"\r" in complete:
                complete = complete.replace(b"\r\n", b"\n").removesuffix(b"\r")
            lines = complete.split(b"\n") if newline else []
            if is_over and rest:
                lines = [rest.removesuffix(b"\r")]
            takes(len(lines))
        if lines:
            yield lines
        rest = rest[: LINE_BYTES_MAX + 1]
