"""What a program sends: messages, files, and answers to their senders alone.

Rules of this file: it holds no protocol. `publish`, which waits for nothing but room, is in publisher.py.
Spec: docs/client.md, "Publishing". Tests: tests/test_client.py, tests/test_files.py.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping

from zchat.arguments import function_of, text_of
from zchat.expiry import Life
from zchat.handlers import reply_to
from zchat.message import Message
from zchat.publisher import Publisher
from zchat.sockets.client import Connection
from zchat.sockets.clock import waitable
from zchat.sockets.publication import Publication


class SendingClient(Publisher[Publication]):
    """A session with a broker: what it sends."""

    _connection: Connection

    def send(
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

        Raises Refused; and TimedOut: then it may still be sent, so do not send it again.
        """
        seconds = waitable(timeout)  # before anything is sent
        return self.publish(room, body, event=event, headers=headers, volatile=volatile, expire=expire).result(seconds)

    def send_file(
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
        from zchat.files import PIECES_OUT_MAX, OutgoingFile  # only who sends files pays for it

        seconds, told = waitable(timeout), function_of("on_progress", on_progress)
        unacked: deque[Publication] = deque()
        offset = 0
        with OutgoingFile(path, self._connection.record_bytes_max(text_of("room", room)), headers) as file:
            for piece in file:
                unacked.append(self.publish(room, piece.body, event=piece.event, headers=piece.headers))
                if len(unacked) > PIECES_OUT_MAX:
                    offset = unacked.popleft().result(seconds)
                if told is not None:
                    told(piece.end, file.size)
            for publication in unacked:
                offset = publication.result(seconds)
        return offset

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything published is acked. Raises the first Refused since the last flush, TimedOut."""
        self._connection.flush(waitable(timeout))

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
