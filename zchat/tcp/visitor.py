"""One visitor's connection: bytes that come become lines or chunks, and what it is to read is written.

    bytes ─► telnet.py ─► typed.py ─► participant.py: said, or a /command

Rules of this file
1. While a command runs, or too much of what was said is not stored, little is read: memory stays bounded.
2. What was typed before the connection ended is said all the same.
3. With --raw a visitor is told nothing: it gets the chunks of the room, and no other byte.
4. Who types faster than a visitor may is read slower, and nobody else is: it waits in its own connection.

Docs: docs/doors.md. Tests: tests/tcp/test_gateway.py, tests/tcp/test_hostile.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, cast

from zchat.bucket import Bucket
from zchat.errors import UsageError, ZchatError
from zchat.printable import printable
from zchat.tcp.audience import Rendering
from zchat.tcp.keepalive import keep_alive
from zchat.tcp.participant import Participant
from zchat.tcp.telnet import Telnet
from zchat.tcp.typed import TooLongLine, Typed, TypedChunks, TypedLine, TypedLines

if TYPE_CHECKING:
    from zchat.tcp.gateway import Gateway

WAITING_BYTES_MAX = 1 << 20  # that a visitor has not read: above it, it is cut off
AHEAD_BYTES = 16 << 10  # that are read although they wait: who goes right after typing is reset, and loses the rest
SEEN_BYTES = 4 << 10  # what is less is not worth to be counted
AT_ONCE = 10  # times the lines of a second
LINE_BYTES = 1_024  # of a line count as one line more
CLOSE_SECONDS = 2.0  # for the last line to be read


class Visitor(asyncio.BufferedProtocol):
    """See above. It is in `Gateway.visitors` from when it comes to the end of its session."""

    def __init__(self, gateway: Gateway) -> None:
        self.peer = ""
        self.participant = Participant(gateway, self)
        self._gateway = gateway
        self._is_raw = gateway.options.is_raw
        self._transport: asyncio.Transport | None = None
        self._here, self._elsewhere = Rendering(), Rendering(is_elsewhere=True)
        self._typed = self._nothing_typed()
        self._telnet = Telnet()
        self._silence: asyncio.TimerHandle | None = None
        rate = gateway.options.rate
        self._lines = Bucket(rate, rate * AT_ONCE, time.monotonic())
        self._pause: asyncio.TimerHandle | None = None  # until it may go on, as it was too fast
        self._was_slowed = False
        self._task: asyncio.Task[None] | None = None  # a command, its beginning or its end
        self._has_ended = False  # nothing is typed any more
        self._is_over = False  # nothing is done any more with what was typed

    # --- by asyncio -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=SEEN_BYTES, low=0)
        keep_alive(transport.get_extra_info("socket"))
        peer = transport.get_extra_info("peername") or ("?", 0)
        self.peer = f"{peer[0]} port {peer[1]}"
        if not self._gateway.came(self):
            self.cut_off("there are too many visitors")
            return
        self.do(self.participant.begin())
        asyncio.get_running_loop().call_soon(self._look_after_reading)  # once the transport reads

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into: all visitors have one, as it is taken from at once."""
        return self._gateway.read_buffer

    def buffer_updated(self, count: int) -> None:
        """So much came."""
        data = bytes(self._gateway.read_buffer[:count])
        if not self._is_raw:
            data, answers = self._telnet.take(data)
            if answers:
                self.write(answers)
            if self._telnet.is_abused:
                self.cut_off("that is no telnet")
                return
        self._typed.add(data)
        if self._telnet.leaves:
            self.end_of_input()
        else:
            self.go_on()
            self._await_silence()

    def eof_received(self) -> bool:
        """It will type no more, and may still read."""
        self.end_of_input()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """It is not there any more."""
        self._transport = None
        self._gateway.waiting.pop(self, None)
        self._gateway.has_news()
        self._pause_no_more()
        if self in self._gateway.visitors:
            self.end_of_input()

    def pause_writing(self) -> None:
        """It does not read as fast as it is written to."""
        self._gateway.waiting[self] = None

    def resume_writing(self) -> None:
        """It has read all."""
        self._gateway.waiting.pop(self, None)
        self._gateway.has_news()

    # --- writing ----------------------------------------------------------------------------

    @property
    def is_there(self) -> bool:
        """Whether anybody is at the other end."""
        return self._transport is not None

    @property
    def waiting_bytes(self) -> int:
        """What it has not read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def rendering_in(self, room: str) -> Rendering:
        """How it is written what comes in that room."""
        return self._here if room == self.participant.room else self._elsewhere

    def write(self, data: bytes) -> None:
        """It is to read that."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(data)
            if self in self._gateway.waiting and transport.get_write_buffer_size() > WAITING_BYTES_MAX:
                self.cut_off("you read too slowly")

    def show(self, text: str) -> None:
        """A line, which is printable already."""
        if not self._is_raw:
            self.write(self._line(text))

    def tell(self, text: str) -> None:
        """A line of the gateway for this visitor alone."""
        self.show(f"* {printable(text)}")

    def cut_off(self, why: str) -> None:
        """Tell it why, and end the connection."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._gateway.log(f"{self.peer} is cut off: {why}")
        if not self._is_raw:
            transport.write(self._line(f"* {why}: you are cut off"))
        self.close()

    def say_goodbye(self, why: str) -> None:
        """At the end of the gateway."""
        if self._typed.size:
            self.tell("what you typed last was not sent")
        self.participant.tell_unstored()
        self.tell(f"goodbye: {why}")
        self.close()

    def close(self) -> None:
        """End the connection once what it is to read was read; it has not long for that."""
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """End the connection, whatever it has not read."""
        if self._transport is not None:
            self._transport.abort()

    def _line(self, text: str) -> bytes:
        return text.encode() + (b"\r\n" if self._here.has_crlf else b"\n")

    # --- reading ----------------------------------------------------------------------------

    def go_on(self) -> None:
        """Do what was typed, as far as it may be done now."""
        while self._may_go_on():
            typed = self._typed.take() if self.participant.takes_lines else None
            if typed is None:
                if self._has_ended:
                    self._is_over = True
                    self.do(self.participant.finish())
                break
            self.spend(1 + len(typed.body) // LINE_BYTES if isinstance(typed, TypedLine) else typed.limit // LINE_BYTES)
            try:
                self._understand(typed)
            except ZchatError as error:
                self.tell(str(error))
        self._look_after_reading()

    def spend(self, lines: int) -> None:
        """What it typed counts as so many lines."""
        wait = self._lines.take(time.monotonic(), lines)
        if not wait or self._transport is None:  # of who has gone there is little left
            return
        self._pause_no_more()
        self._pause = asyncio.get_running_loop().call_later(wait, self._may_type)
        if not self._was_slowed:
            self._was_slowed = True
            self._gateway.slowed += 1
            self._gateway.log(
                f"{self.peer} types more than {self._gateway.options.rate:,} lines a second, and is slowed"
            )

    def _may_type(self) -> None:
        self._pause = None
        self.go_on()

    def _pause_no_more(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def do(self, work: Coroutine[None, None, None]) -> None:
        """One thing that takes time; what is typed meanwhile waits."""
        self._task = self._gateway.run(self._done(work))
        self._look_after_reading()

    def end_of_input(self) -> None:
        """What it has typed is all."""
        if not self._has_ended:
            self._has_ended = True
            self._typed.end()
            self.go_on()

    def leave(self) -> None:
        """The same, and what it has typed is not wanted any more."""
        self._typed = self._nothing_typed()
        self._pause_no_more()
        self.end_of_input()

    def stop_reading(self) -> None:
        """At the end of the gateway: nothing is done any more."""
        self._is_over = True
        self._look_after_reading()

    def _may_go_on(self) -> bool:
        is_busy = self._task is not None or self._pause is not None or self._is_over
        return not is_busy and not self.participant.is_held_up()

    def _nothing_typed(self) -> TypedChunks | TypedLines:
        return TypedChunks() if self._is_raw else TypedLines()

    async def _done(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except ZchatError as error:
            self.tell(str(error))
        finally:
            self._task = None
        self.go_on()

    def _look_after_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self._is_over and (self._typed.size < AHEAD_BYTES or self._may_go_on()):
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _await_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        if self._typed.has_rest and not self._is_over:
            self._silence = asyncio.get_running_loop().call_later(self._typed.SILENCE_SECONDS, self._is_silent)

    def _is_silent(self) -> None:
        self._silence = None
        self._typed.silence()
        if self._typed.HINT:
            self.tell(self._typed.HINT)
        self.go_on()
        self._await_silence()

    def _understand(self, typed: Typed) -> None:
        if isinstance(typed, TooLongLine):
            raise UsageError(f"a line has more than {typed.limit:,} bytes, and was not sent")
        if self._is_raw:
            self.participant.say(typed.body, typed.end)
            return
        has_crlf = typed.end != b"\n" or self._telnet.is_seen
        if has_crlf != self._here.has_crlf:
            self._here, self._elsewhere = Rendering(False, has_crlf), Rendering(True, has_crlf)
        self.participant.typed(typed.body)
