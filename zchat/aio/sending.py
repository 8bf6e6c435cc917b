"""What a program of asyncio sends: messages, files, and answers to their senders alone.

Rules of this file: it holds no protocol, and blocks no event loop. What waits for nothing is in publisher.py.
Spec: docs/client.md, "Publishing". Tests: tests/test_client.py, tests/test_files.py, tests/aio.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from zchat.aio.connection import DRAINED_BYTES, LoopConnection
from zchat.aio.publication import Publication
from zchat.arguments import function_of, text_of
from zchat.expiry import Life
from zchat.files import PIECES_OUT_MAX, OutgoingFile
from zchat.handlers import reply_to
from zchat.message import Message
from zchat.publisher import Publisher
from zchat.sockets.clock import waitable


class LoopSending(Publisher[Publication]):
    """A session with a broker: what it sends."""

    _connection: LoopConnection

    async def send(
        self,
        room: str,
        body: bytes | str,
        *,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
        volatile: bool = False,
        expire: Life | None = None,
        timeout: float | None = None,
    ) -> int:
        """Publish and wait for the ack: the message's offset (0 when volatile).

        Raises Refused; and TimedOut: then it may still be sent, so do not send it again. The same holds when it is
        cancelled.
        """
        seconds = waitable(timeout)  # before anything is sent
        if self._connection.outbox.is_full:
            await self._connection.drain(seconds)
        publication = self.publish(room, body, event=event, headers=headers, volatile=volatile, expire=expire)
        return await publication.result(seconds)

    async def send_file(
        self,
        room: str,
        path: str | os.PathLike[str],
        *,
        headers: Mapping[str, str] | None = None,
        on_progress: Callable[[int, int], object] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Send a file, in pieces where it is larger than a message may be: the offset of its last message.

        `FileReceiver` makes a file of them again. `on_progress` is called with how far it is, in bytes, and how
        far it goes. Raises Refused; TimedOut where no ack came for `timeout` seconds; UsageError, OSError.
        """
        seconds, told = waitable(timeout), function_of("on_progress", on_progress)
        unacked: deque[Publication] = deque()
        offset = 0
        with OutgoingFile(path, self._connection.record_bytes_max(text_of("room", room)), headers) as file:
            for piece in file:
                if self._connection.outbox.is_full:
                    await self._connection.drain(seconds)
                unacked.append(self.publish(room, piece.body, event=piece.event, headers=piece.headers))
                if len(unacked) > PIECES_OUT_MAX:
                    offset = await unacked.popleft().result(seconds)
                if told is not None:
                    told(piece.end, file.size)
            for publication in unacked:
                offset = await publication.result(seconds)
        return offset

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until everything published is acked. Raises the first Refused since the last flush, TimedOut."""
        await self._connection.flush(waitable(timeout))

    def drain(self, timeout: float | None = None) -> Awaitable[None]:
        """Wait until there is room for more: at once, where little waits to be sent. For loops of `publish`.

        Awaiting it raises TimedOut, Closed.
        """
        connection = self._connection
        if timeout is None and connection.outbox.bytes_waiting <= DRAINED_BYTES:
            return connection.drained  # a coroutine for each message would be a third of what that costs
        return connection.drain(waitable(timeout))

    def reply(
        self,
        message: Message,
        body: bytes | str,
        *,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
    ) -> Publication:
        """Publish an answer to a message, for its sender alone: to his inbox. Headers say what it answers.

        Raises as `publish` does.
        """
        room, answers = reply_to(message)
        return self.publish(room, body, event=event, headers=answers | dict(headers or {}))
