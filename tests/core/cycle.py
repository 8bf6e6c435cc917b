"""A broker core and the log that a shell would give it: tests feed frames and take what comes out, one step at a time.

Rules of this file: it calls the public methods of BrokerCore only, and in no other order than a shell could. Nothing
is taken that the test does not ask for, so that a test sees what was there and what was not.
"""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

import msgspec

from tests.core.presence import who
from zchat import wire
from zchat.address import Published
from zchat.core import Instant
from zchat.core.broker import BrokerCore
from zchat.core.identity import Identities
from zchat.core.log import Append, facts_of, whole
from zchat.core.rights import Rights, Rules
from zchat.errors import LogError, WireError
from zchat.log.memory import MemoryLog
from zchat.names import room_of
from zchat.settings import Settings

BEGIN = Instant(1_000.0, 1_700_000_000_000_000)
PORT, PUBLISH_PORT = 5555, 5556


class Heard(NamedTuple):
    """One batch as a listener decodes it, its records by writer: `user: body` or `user event: body`."""

    room: str
    kind: int
    base: int
    prev: int
    records: list[str]


class Cycle:
    """One broker. `take_…` gives decoded what the core wants done, once."""

    def __init__(
        self,
        log: MemoryLog | None = None,
        rules: Rules | None = None,
        identities: Identities | None = None,
        **settings: Any,
    ) -> None:
        self.rules, self._identities = rules, identities
        self.now = BEGIN
        self.log = log or MemoryLog()
        self.settings = Settings(**settings)
        self._session_ids = (f"s{number}" for number in count(1))
        self._numbers = count(1)
        self.append: Append | None = None  # under way
        self.window = 0  # in the last ACK
        self.start()

    def start(self) -> None:
        """The broker starts on the log as it is."""
        facts = facts_of(self.log, self.settings.users_seen_max)
        self.core = BrokerCore(
            self.settings,
            facts,
            self._session_ids,
            Published(PUBLISH_PORT, "there", PORT),
            self.now,
            None if self.rules is None else Rights(self.rules),
            self._identities,
        )
        self.append = None

    # --- what clients send ------------------------------------------------------------------

    def send(self, connection: bytes, *messages: wire.ClientMessage) -> None:
        for message in messages:
            self.core.received(connection, wire.encode(message), self.now, "127.0.0.1")

    def hello(self, user: str, connection: bytes = b"", session: str = "", token: bytes = b"") -> wire.Welcome:
        """Say hello on that connection, else on one named like the user, and take the answer. A former one is told."""
        connection = connection or user.encode()
        self.send(connection, wire.Hello(wire.VERSION, user, session, token))
        *told, (to, welcome) = self.take_replies()
        assert to == connection and isinstance(welcome, wire.Welcome), welcome
        for former, error in told:
            assert former != connection and isinstance(error, wire.Error) and error.code == "session-taken", told
        return welcome

    def clients(self, *users: str) -> tuple[bytes, ...]:
        """Sessions of these users; their connections are named like them."""
        for user in users:
            self.hello(user)
        return tuple(user.encode() for user in users)

    def publish(self, connection: bytes, seq: int, room: str, *records: wire.RecordOrBody, flags: int = 0) -> bytes:
        """One PUBLISH; returns its frame."""
        publish = wire.Publish(seq, room, flags, msgspec.Raw(wire.encode_records(records)))
        self.send(connection, publish)
        return wire.encode(publish)

    def ask(self, connection: bytes, message: wire.ClientMessage) -> Any:
        """The one reply to a request."""
        self.send(connection, message)
        ((to, answer),) = self.take_replies()
        assert to == connection
        return answer

    def ask_for(self, connection: bytes, message: wire.ClientMessage) -> list[tuple[bytes, Any]]:
        """All that is said to anybody because of it."""
        self.send(connection, message)
        return self.take_replies()

    # --- what the shell does ----------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Time passes; the core is told when it wants to be."""
        self.now = Instant(self.now.seconds + seconds, self.now.micros + round(seconds * 1e6))
        deadline = self.core.next_deadline()
        if deadline is not None and deadline <= self.now.seconds:
            self.core.elapsed(self.now)

    def begin_commit(self) -> Append | None:
        """Give the log what gathered; `end_commit` says what became of it."""
        assert self.append is None
        self.append = self.core.take_append(self.now)
        return self.append

    def end_commit(self, error_code: str = "") -> None:
        append, self.append = self.append, None
        assert append is not None
        if error_code:
            self.core.committed(LogError(error_code, f"no, {error_code}"), self.now)
        else:
            self.log.append(append, lambda error: None)
            self.core.committed(None, self.now)

    def commit(self) -> None:
        """All that gathered is kept."""
        while self.append is not None or self.begin_commit() is not None:
            self.end_commit()

    def fail(self, error_code: str = "log-full") -> None:
        """What gathered is refused by the log."""
        if self.append is None:
            assert self.begin_commit() is not None
        self.end_commit(error_code)

    def disconnect(self, connection: bytes) -> None:
        self.core.disconnected(connection, self.now)

    # --- what comes out ---------------------------------------------------------------------

    def take_replies(self) -> list[tuple[bytes, wire.BrokerMessage]]:
        """All of them, and the answers to all that was asked. The windows in ACKs are left out: see `window`."""
        while self.core.answer(()):
            pass
        replies = [(connection, wire.decode_broker(frame)) for connection, frame in self.core.take_replies()]
        for _, reply in replies:
            if isinstance(reply, wire.Ack):
                self.window, reply.window = reply.window, 0
        return replies

    def take_errors(self) -> list[tuple[bytes, str, int, str]]:
        """(connection, about, number, code) of the replies, which all are refusals."""
        told = []
        for connection, reply in self.take_replies():
            assert isinstance(reply, wire.Error), reply
            told.append((connection, reply.about, reply.number, reply.code))
        return told

    def take_broadcasts(self) -> list[tuple[str, wire.Batch | wire.Watermark | wire.Sync]]:
        """The room of each, with a `+` in front where it went to who hears joins and leaves alone."""
        return [
            (topic_text(topic), wire.decode_broadcast(frame)) for topic, frame in self.core.take_broadcasts(self.now)
        ]

    def take_heard(self) -> list[Heard]:
        """The batches that were broadcast; WATERMARKs are passed over."""
        heard = []
        for room, batch in self.take_broadcasts():
            if isinstance(batch, wire.Batch):
                assert room.startswith("+") == (batch.kind == wire.PRESENCE)
                heard.append(heard_of(room.removeprefix("+"), batch))
        return heard

    def history(self, room: str = "**") -> list[Heard]:
        """What the log has."""
        page = whole(self.log.read([room], 0, 0, 0, 1 << 40))
        return [heard_of(name, wire.decode_batch(frame)) for name, frame in page.batches]

    def presence(self, room: str) -> list[str]:
        """The joins and leaves that the room's log has."""
        return [text for heard in self.history(room) if heard.kind == wire.PRESENCE for text in heard.records]

    def facts(self, connection: bytes = b"") -> object:
        """All that can be seen of the core from outside, but for what it wants done and each session's `seq`."""
        core = self.core
        here = who(core.registry, "")
        sessions = [core.registry.find(member.session) for member in here]
        kept = [(each.rooms.copy(), each.written.copy(), list(each.listens)) for each in sessions if each is not None]
        rooms = {room: who(core.registry, room) for room in core.registry.rooms()}
        answers = []
        if core.registry.of(connection) is not None:
            answers = [self.ask(connection, each) for each in (wire.Heads(0, ["**"]), wire.Rooms(0), wire.Cursors(0))]
        flags = core.gathered_bytes, core.is_committing, core.next_deadline(), core.head
        return here, kept, core.registry.connections(), rooms, answers, flags


def topic_text(topic: bytes) -> str:
    if topic.startswith(wire.PRIVATE_TOPIC):
        return topic.hex()
    return "+" + room_of(topic[1:]) if topic.startswith(wire.PRESENCE_TOPIC) else room_of(topic)


def heard_of(room: str, batch: wire.Batch) -> Heard:
    records = []
    for entry in batch.entries:
        for record in entry.records:
            if isinstance(record, bytes):
                records.append(f"{entry.user}: {record.decode()}")
            else:
                records.append(f"{entry.user} {record.event}: {record.body.decode()}")
    return Heard(room, batch.kind, batch.base, batch.prev, records)


def is_message(frame: bytes) -> bool:
    """Whether it is one of the protocol's."""
    try:
        wire.decode_client(frame)
    except WireError:
        return False
    return True


def refused(cycle: Cycle, connection: bytes, message: wire.ClientMessage | bytes, code: str) -> wire.Error:
    """The message is refused with that code, and nothing else happens: state and outputs are as before.

    A refused publish uses its `seq` up, so that its refusal is told again when it is repeated; not one that is none.
    """
    session = cycle.core.registry.of(connection)
    last_seq = session.last_seq if session else 0
    before = cycle.facts(connection)
    frame = message if isinstance(message, bytes) else wire.encode(message)
    cycle.core.received(connection, frame, cycle.now, "127.0.0.1")
    ((to, error),) = cycle.take_replies()
    assert isinstance(error, wire.Error), error
    assert (to, error.code) == (connection, code) and error.text
    assert cycle.facts(connection) == before
    if session is not None:
        is_used_up = error.about == "publish" and is_message(frame)
        assert session.last_seq == (error.number if is_used_up else last_seq)
    assert cycle.core.take_append(cycle.now) is None
    assert cycle.take_broadcasts() == [] and cycle.core.take_reads() == []
    return error
