"""`zchat replay`: what was recorded, or what a room has, sent again."""

from __future__ import annotations

import sys
import time
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from zchat.cli import completion, exit_status, options, streams
from zchat.cli.connecting import connect
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat import Notice
    from zchat.cli.sender import Sender

LINES_AT_ONCE = 1_000
WAITED_AT_ONCE = 0.5  # seconds, so that acks are seen to meanwhile
AS_FAST_AS_IT_GOES = "max"


def speed(text: str) -> float:
    """How many times as fast as it was; 0: without any wait."""
    try:
        times = 0.0 if text == AS_FAST_AS_IT_GOES else float(text)
    except ValueError:
        times = -1.0
    if not (times > 0 or text == AS_FAST_AS_IT_GOES) or times > 1e9:
        raise typer.BadParameter(f'"{text}" is no speed, such as 1, 0.5, 10 or max')
    return times


def replay(
    source: Annotated[
        str,
        typer.Argument(metavar="FILE|ROOM", help="A file, - or a room.", autocompletion=completion.path),
    ],
    *,
    beginning: options.Beginning,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="ROOM", help="Send all to this room.", autocompletion=completion.targets),
    ] = None,
    times: Annotated[
        float, typer.Option("--speed", metavar="X", parser=speed, help="So many times as fast; max: without waits.")
    ] = 1.0,
    connecting: options.ToBroker,
) -> None:
    """Send what was recorded, or what a room has, as it came.

    The pauses are those that were between, divided by --speed. Without --to, what a file has goes to the
    rooms that it came from. Bodies, events and headers are as they were; the user is who replays.

    Examples:
      zchat replay ops.jsonl
      zchat replay ops.jsonl --to lab --speed 10
      zchat replay ops --since 1d --to lab --speed max
      xzcat old.jsonl.xz | zchat replay - --to lab
    """
    begin, is_file = beginning.checked(), source == "-" or Path(source).is_file()
    if is_file and any(value is not None for value in begin.values()):
        raise UsageError("where to begin is said of a room: a file is replayed from its beginning")
    if not is_file and to is None:
        raise UsageError(f"there is no file {source}; a room is replayed to another one, with --to ROOM")
    from zchat.cli import bodies, inboxes
    from zchat.cli.output import KnownLog, counted, json_lines
    from zchat.cli.sender import Sender as MessageSender
    from zchat.names import room_name

    target = "" if to is None else room_name(to)
    room = "" if is_file else room_name(source)
    if room and room == target:
        raise UsageError(f"{room} is replayed to another room, not to itself")
    broker, user, wait = connecting
    with connect(broker, user, wait=wait) as client:
        publish = partial(bodies.publish_json, client, inboxes.of(client.user, target), {})
        sender = MessageSender(client, publish, wait, "")
        if is_file:
            lines = _lines_of(source)
        else:
            options.check_log(beginning.after, client.log_id)
            past = client.history(inboxes.of(client.user, room), **begin, on_notice=_tell_gap)
            lines = map(json_lines(KnownLog(client.log_id)), past)
        _send(sender, lines, times)
        sender.finish()
    if sys.stderr.isatty():
        exit_status.tell(f"{counted(sender.sent, 'message')} replayed")
    raise typer.Exit(1 if sender.left_out else 0)


# --- parts ------------------------------------------------------------------------------------------


def _tell_gap(notice: Notice) -> None:
    """What is not replayed, as it cannot be had."""
    from zchat.cli.output import notice_text

    exit_status.tell(notice_text(notice))


class TimedLine(msgspec.Struct):
    """When a line of `listen --json` was a message."""

    time: str = ""


def _send(sender: Sender, lines: Iterable[bytes], times: float) -> None:
    """Each line when it is its turn; without a speed, as fast as it goes."""
    if not times:
        for block in batched(lines):
            sender.takes(len(block))
            sender.lines(block)
        return
    began, first = time.monotonic(), None
    for line in lines:
        at = _time_of(line)
        if at is not None:
            first = at if first is None else first
            while (left := began + (at - first) / times - time.monotonic()) > 0:
                sender.take_acks(min(left, WAITED_AT_ONCE))
                time.sleep(max(0.0, min(left, WAITED_AT_ONCE, began + (at - first) / times - time.monotonic())))
        sender.takes(1)
        sender.lines([line])


def batched(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Some at a time."""
    each = iter(lines)
    while block := list(islice(each, LINES_AT_ONCE)):
        yield block


def _lines_of(source: str) -> Iterator[bytes]:
    with streams.standard_input() if source == "-" else Path(source).open("rb") as file:
        for line in file:
            yield line.rstrip(b"\r\n")


_decode = msgspec.json.Decoder(TimedLine).decode


def _time_of(line: bytes) -> float | None:
    """Seconds since 1970; None where the line does not say."""
    try:
        return datetime.fromisoformat(_decode(line.removeprefix(BOM_UTF8)).time).timestamp()
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, OverflowError):
        return None
