"""`zchat send`: one message from the arguments, or a message a line from stdin."""

from __future__ import annotations

import json as json_text
import os
import select
import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zchat.cli import ending, options
from zchat.errors import TimedOut, TooLarge, Unreachable, ZchatError

if TYPE_CHECKING:
    from zchat import Client, Publication

STDIN = 0
BLOCK_BYTES = 262_144  # one read: as many lines as are there, a bounded number of publications
LINE_BYTES_MAX = 1 << 20  # a longer line is no message of any broker; it is counted, not kept
LOOK_SECONDS = 0.05  # with --json: how soon an ack is printed while stdin is quiet

OPTION_ALIASES = {"q": "quiet"}


def send(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="Room, or @user.")],
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
    broker: options.Broker = options.DEFAULT_BROKER,
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
    import zchat  # 80 ms of zmq and msgspec, which `zchat send --help` need not wait for
    from zchat.names import room_name

    room = room_name(room)  # before stdin is touched, and as --json prints it
    more: dict[str, Any] = {}  # only what is not the default: it is passed with every message
    if event != "message":
        more["event"] = event
    if header:
        more["headers"] = dict(map(options.header, header))
    if volatile:
        more["volatile"] = True
    with zchat.connect(broker, user, wait=wait) as client:
        publish = partial(client.publish, room, **more)
        sender = Sender(client, publish, wait, room if json else "")
        if text and text != ["-"]:
            sender.single(os.fsencode(" ".join(text)))
        else:
            for lines in read_lines(sender.before_read):
                sender.lines(lines)
        sender.finish()
    if not quiet and not json and sys.stderr.isatty() and sender.sent > 1:
        ending.tell(f"{sender.sent} messages sent")
    raise typer.Exit(1 if sender.left_out else 0)


class Sender:
    """Publishes messages and sees to their acks.

    With --json every publication is kept until its ack is printed; else the last of each block, which
    is enough to notice while stdin still flows that the broker refuses, and that acks come at all.
    """

    def __init__(self, client: Client, publish: Callable[[bytes], Publication], wait: float, json_room: str) -> None:
        self._client, self._publish, self._wait, self._json_room = client, publish, wait, json_room
        self._unacked: deque[Publication] = deque()
        self.sent = 0
        self.left_out = 0

    def single(self, body: bytes) -> None:
        """Send one message."""
        self._unacked.append(self._publish(body))
        self.sent += 1

    def lines(self, lines: list[bytes]) -> None:
        """Send the lines of one block; raises Refused when one before them was."""
        publish = self._publish
        publications: deque[Publication] = deque(maxlen=None if self._json_room else 1)
        rest = iter(lines)
        number = self.sent + self.left_out
        while True:
            try:
                for line in rest:
                    number += 1
                    publications.append(publish(line))
                break
            except TooLarge as error:
                self.left_out += 1
                known = len(line) <= LINE_BYTES_MAX
                ending.tell(f"line {number} left out: {error if known else f'longer than {LINE_BYTES_MAX} bytes'}")
        self.sent = number - self.left_out
        self._unacked.extend(publications)
        self._take_acks()

    def before_read(self) -> None:
        """Print the acks that come while stdin has nothing."""
        while self._json_room and self._unacked and not select.select([STDIN], [], [], 0)[0]:
            self._take_acks(LOOK_SECONDS)

    def finish(self) -> None:
        """Wait for every ack; the wait time counts anew from each block's."""
        try:
            while self._unacked:
                self._unacked[0].result(timeout=self._wait)
                self._take_acks()
            self._client.flush(timeout=self._wait)
        except TimedOut:
            raise Unreachable(self._client.address, self._wait, "messages were sent and not acked") from None

    def _take_acks(self, wait: float = 0.0) -> None:
        """Take the acks that are there, or come within `wait`, in order."""
        offsets: list[int] = []
        while self._unacked:
            if not self._unacked[0].done():
                if not wait or offsets:
                    break
                try:
                    self._unacked[0].result(timeout=wait)
                except TimedOut:
                    break
            offsets.append(self._unacked.popleft().result(timeout=0))
        if self._json_room and offsets:
            name = json_text.dumps(self._json_room)  # ASCII, so it suits a terminal too
            lines = [f'{{"room":{name},"offset":{offset or "null"}}}\n' for offset in offsets]
            sys.stdout.write("".join(lines))
            sys.stdout.flush()


def read_lines(before_read: Callable[[], None]) -> Iterator[list[bytes]]:
    """The lines of stdin without their ends, a list for each read: what is there now is not held back.

    Of a line longer than LINE_BYTES_MAX that many bytes and one more are kept.
    """
    rest = b""
    while True:
        before_read()
        try:
            block = os.read(STDIN, BLOCK_BYTES)
        except BlockingIOError:  # whoever shares the pipe with us made it so
            select.select([STDIN], [], [])
            continue
        except OSError as error:
            raise ZchatError(f"standard input: {error.strerror or error}") from error
        if not block:
            break
        complete, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            if b"\r" in complete:
                complete = complete.replace(b"\r\n", b"\n").removesuffix(b"\r")
            yield complete.split(b"\n")
        rest = rest[: LINE_BYTES_MAX + 1]
    if rest:
        yield [rest.removesuffix(b"\r")]
