"""The visitors in one room: what comes there is taken once, made into bytes once, and written to each.

    listen(room) ──► messages that are there ──► bytes, one for each `Rendering` ──► every transport

Rules of this file
1. No work for each visitor and message but one `write`: what differs between visitors is a `Rendering`.
2. A slice of visitors is written to at a time, then other tasks have their turn, and slow readers are waited for.

Tests: tests/tcp/test_gateway.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from zchat.core.gaps import Notice
from zchat.errors import Refused
from zchat.message import Message
from zchat.printable import printable
from zchat.tcp import shown

if TYPE_CHECKING:
    from zchat.aio.client import Client
    from zchat.aio.subscription import Subscription
    from zchat.tcp.gateway import Gateway
    from zchat.tcp.visitor import Visitor

SLICE_VISITORS = 256  # written to before other tasks have their turn; fewer where messages are large:
SLICE_BYTES = 1 << 20
BATCH_BYTES = 256 << 10  # of messages that are written together
LINE_BYTES = 64  # what a message has beside its body, about


class Rendering(NamedTuple):
    """What is the same of visitors who are written the same bytes."""

    is_elsewhere: bool = False  # it types in another room
    has_crlf: bool = False  # its lines end so


class Audience:
    """Of one room. It is live once `opened` is done."""

    def __init__(self, gateway: Gateway, room: str, client: Client) -> None:
        self.room = room
        self._client = client  # whose listener it is: the gateway's, or where tokens are needed each user's own
        self.members: dict[Visitor, None] = {}
        self.delivered = 0  # the highest offset that was written to all
        self._gateway = gateway
        self._messages: Subscription | None = None
        self.opened = asyncio.ensure_future(self._open())  # who enters waits for it

    async def close(self) -> None:
        """Nobody is in it any more."""
        self.opened.cancel()
        if self._messages is not None:
            await self._messages.close()

    async def _open(self) -> None:
        gateway = self._gateway
        presence = not gateway.options.is_raw
        self._messages = await self._client.listen(self.room, join=False, presence=presence, on_notice=self._notice)
        gateway.run(self._deliver(self._messages))

    # --- what comes -------------------------------------------------------------------------

    async def _deliver(self, messages: Subscription) -> None:
        try:
            await self._deliver_all(messages)
        except Refused as error:
            if self._client is self._gateway.client:
                raise
            for visitor in list(self.members):
                visitor.tell(f"nothing of {self.room} reaches you any more: {error}")

    async def _deliver_all(self, messages: Subscription) -> None:
        async for message in messages:
            batch, size = [message], len(message.body)
            while size < BATCH_BYTES and messages.pending():
                batch.append(await messages.get())
                size += len(batch[-1].body)
            await self._write(batch, size)
            self.delivered = max(self.delivered, batch[-1].offset)
            self._gateway.has_news()

    def _notice(self, notice: Notice) -> None:
        if notice.kind == "gap":
            for visitor in self.members:
                visitor.tell(f"messages of {self.room} are missing here ({notice.reason})")

    async def _write(self, batch: Sequence[Message], size: int) -> None:
        """To each member. Its own join it is not told, nor what it said, where there is no echo."""
        made = dict[Rendering, bytes]()
        writers = {message.session for message in batch}
        members = list(self.members)
        step = max(1, min(SLICE_VISITORS, SLICE_BYTES // (size + len(batch) * LINE_BYTES)))
        for at in range(0, len(members), step):
            for visitor in members[at : at + step]:
                rendering = visitor.rendering_in(self.room)
                if visitor.participant.session_id in writers:
                    visitor.write(self._bytes(self._heard_by(visitor.participant.session_id, batch), rendering))
                    continue
                data = made.get(rendering)
                if data is None:
                    data = made[rendering] = self._bytes(batch, rendering)
                visitor.write(data)
            await self._gateway.take_turns()

    def _heard_by(self, session: str, batch: Sequence[Message]) -> list[Message]:
        """What the writer of some of them is shown."""
        echoes = self._gateway.options.echoes
        return [
            message
            for message in batch
            if message.session != session or (echoes and message.event not in shown.PRESENCE_EVENTS)
        ]

    def _bytes(self, batch: Sequence[Message], rendering: Rendering) -> bytes:
        if self._gateway.options.is_raw:
            return b"".join(map(shown.raw, batch))
        prefix = f"#{printable(self.room)} " if rendering.is_elsewhere else ""
        end = "\r\n" if rendering.has_crlf else "\n"
        return "".join(f"{line}{end}" for line in shown.lines(batch, prefix)).encode()
