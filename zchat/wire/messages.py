"""Every message of the protocol, declared once, with its kind as its tag, and the limits of their fields.

It has more than 300 lines because all messages stand in one place.
Spec: docs/protocol.md, "Messages". Tests: tests/test_wire.py.
"""

from typing import Annotated, TypeAlias

import msgspec

from zchat.wire.calls import Call, Called, Replied, Reply, Serve
from zchat.wire.groups import Deliver, Gap, Groups, GroupsAre, JoinGroup, SetGroup, Settle
from zchat.wire.keys import Enroll, NextKey
from zchat.wire.records import ChannelNumber, Info, Listeners, Names, Natural, TopicList
from zchat.wire.room_requests import Latest, Purge
from zchat.wire.schedule import Cancel, Schedule, Scheduled, ScheduledAre
from zchat.wire.search import Found, Search

VERSION = 1

# Limits of the protocol. The broker says its own in WELCOME; these are the defaults and upper bounds.
RECORD_BYTES_MAX = 1 << 20  # one record as encoded; what is larger belongs in a file (NATS: 1 MiB)
PUBLISH_BYTES_MAX, PUBLISH_RECORDS_MAX = RECORD_BYTES_MAX + 4096, 4096  # of one PUBLISH; its frame, its records
OFFSET_MAX = (1 << 53) - 1  # of offsets, and of whatever is counted: what a number of JavaScript holds exactly
SESSION_KEPT_SECONDS = 86_400  # that a session which has gone is known
STARTS_MAX, TTL_MS = 64, 1500  # starts of the broker on its log, in WELCOME; `ttl` of our own clients
IN_FLIGHT_MAX = 256  # PUBLISH frames of a connection without an outcome
WINDOW_BYTES, WINDOW_BYTES_MAX = 256 << 10, 4 << 20  # of unacked PUBLISH frames: at first, and as ACKs tell at most
PAGE_BYTES_MAX = 1 << 20  # batches in one PAGE (one more when the first alone is larger)
ROOMS_PER_MESSAGE_MAX = 1024  # names in one JOIN, PART, FETCH or HEADS
LATEST_MAX, LISTENERS_TOLD_MAX = 100, 64  # messages of each room in a LATEST; listeners that a REPORT tells of

# Publish.flags
VOLATILE = 1  # not stored: broadcast at once, no offset, no place in the order
QUIET = 2  # of a volatile one: no ACK; a later ACK tells of it too, and so does the answer to its repeat

INFO_CHARACTERS_MAX = 256  # of all names and values in the info of a HELLO

PRIVATE_TOPIC = b"\xff"  # + nonce: the topic of one subscriber's SYNC
INTRODUCTION_TOPIC = b"\0"  # + session and proof: whose the subscriber is, see core/introductions.py
PRESENCE_TOPIC = b"+"  # + a room's topic: joins and leaves in it

# --- client -> broker ---------------------------------------------------------------------------


class Hello(msgspec.Struct, array_like=True, tag=1):
    """First message of a connection. With `session` and `token` it resumes that session."""

    version: Natural
    user: str
    session: str = ""
    token: bytes = b""
    info: Info = {}  # program, host, pid: for operators, never for decisions
    number: Natural = 0  # counts up with each connection: which of two that come out of order is the later one
    ttl: Natural = 0  # milliseconds after which a client that pings is dead when nothing has come of it; 0: it does not


class Publish(msgspec.Struct, array_like=True, tag=2):
    """Records for one room; `seq` counts up per session."""

    seq: Natural
    room: str
    flags: Natural
    records: msgspec.Raw


class Join(msgspec.Struct, array_like=True, tag=3):
    """Become a member of rooms; answered by DONE. Joining again changes nothing."""

    request: Natural
    rooms: Names


class Part(msgspec.Struct, array_like=True, tag=4):
    """Stop being a member of rooms; answered by DONE."""

    request: Natural
    rooms: Names


class Fetch(msgspec.Struct, array_like=True, tag=5):
    """Batches of the rooms that match, with `after < offset <= until`; answered by PAGE."""

    request: Natural
    patterns: Names
    after: Natural
    until: Natural = 0  # 0: as far as there is
    limit: Natural = 0  # records; 0: a full page


class Seek(msgspec.Struct, array_like=True, tag=6):
    """Where to start reading for the last n records, or for a time; answered by POSITION."""

    request: Natural
    patterns: Names
    last: Natural = 0  # records, messages only unless `presence`
    since: Natural = 0  # microseconds since 1970
    presence: bool = False


class Heads(msgspec.Struct, array_like=True, tag=7):
    """The last offset of each room that matches; answered by HEADS_ARE."""

    request: Natural
    patterns: Names


class Who(msgspec.Struct, array_like=True, tag=8):
    """Sessions of a room, or of the broker when `room` is empty; answered by PRESENT."""

    request: Natural
    room: str = ""
    lag: bool = False  # also tell how far each session's listeners are behind


class Rooms(msgspec.Struct, array_like=True, tag=9):
    """Rooms that have a record or a member; answered by ROOMS_ARE."""

    request: Natural


class Report(msgspec.Struct, array_like=True, tag=10):
    """How far this session's listeners have got, each with its patterns; not answered."""

    listeners: Listeners


class Bye(msgspec.Struct, array_like=True, tag=11):
    """The session ends now; answered by GOODBYE."""


class Cursors(msgspec.Struct, array_like=True, tag=12):
    """The cursors that the broker keeps for this user; answered by CURSORS_ARE."""

    request: Natural


class SetCursor(msgspec.Struct, array_like=True, tag=13):
    """Keep a cursor under a name, for this user; answered by DONE once it is stored."""

    request: Natural
    name: str
    log_id: str  # of the log that the offset is of; refused when the broker has another
    offset: Natural


class DropCursor(msgspec.Struct, array_like=True, tag=14):
    """Keep that cursor no longer; answered by DONE, also when there was none."""

    request: Natural
    name: str


class From(msgspec.Struct, array_like=True, tag=15):
    """What the session on a channel of this connection says; answered by FOR."""

    channel: ChannelNumber
    message: msgspec.Raw


class Subscribe(msgspec.Struct, array_like=True, tag=26):
    """The direct topics that are to come on this connection; answered by DONE. It replaces the one before."""

    request: Natural
    topics: TopicList


ClientMessage: TypeAlias = (
    Hello
    | Publish
    | Join
    | Part
    | Fetch
    | Seek
    | Heads
    | Who
    | Rooms
    | Report
    | Bye
    | Cursors
    | SetCursor
    | DropCursor
    | From
    | Latest
    | Purge
    | Enroll
    | Subscribe
    | JoinGroup
    | Settle
    | Groups
    | SetGroup
    | Search
    | Schedule
    | Cancel
    | Scheduled
    | Serve
    | Call
    | Reply
)

# --- broker -> client ---------------------------------------------------------------------------


class Welcome(msgspec.Struct, array_like=True, tag=33):
    """Answer to HELLO. `resumed`: the session went on, no leave was written, its rooms are kept."""

    version: Natural
    session: str
    token: bytes
    resumed: bool
    log_id: str
    head: Natural  # highest offset that was broadcast
    publish_port: Natural  # TCP port of the XPUB; 0 for ipc: path + ".pub"
    limits: dict[str, Natural]
    time: Natural  # the broker's clock, microseconds since 1970
    hello: Natural = 0  # number of the HELLO that this answers
    starts: list[tuple[str, Natural]] = []  # (id, head of the log then), the present one last
    publish_host: str = ""  # of the XPUB; empty: the host that was dialled
    port: Natural = 0  # of the ROUTER: who dialled another one adds the difference to `publish_port`; 0: nobody does


class Ack(msgspec.Struct, array_like=True, tag=34):
    """Publishes that are stored: `(seq, offset of the first record)`; offset 0 for a volatile one.

    It tells of the quiet ones before it too.
    """

    pairs: list[tuple[Natural, Natural]]
    window: Natural = 0  # bytes that may be without an outcome from now on, until none is; 0: as WELCOME says


class Error(msgspec.Struct, array_like=True, tag=35):
    """A refusal. `about`: "publish" (`number` is its seq), "request" (its request), "connection", "subscriptions"."""

    about: str
    number: Natural
    code: str
    text: str


class Done(msgspec.Struct, array_like=True, tag=36):
    """JOIN, PART, SET_CURSOR or DROP_CURSOR is done and stored, or SUBSCRIBE is in place."""

    request: Natural


class Page(msgspec.Struct, array_like=True, tag=37):
    """Answer to FETCH: batches in offset order. Everything up to `upto` is in it or does not exist."""

    request: Natural
    batches: list[tuple[str, msgspec.Raw]]  # room, batch
    upto: Natural
    more: bool  # there is more above `upto`
    gaps: list[Gap]


class Position(msgspec.Struct, array_like=True, tag=38):
    """Answer to SEEK: read what is above `after`."""

    request: Natural
    after: Natural
    head: Natural


class HeadsAre(msgspec.Struct, array_like=True, tag=39):
    """Answer to HEADS."""

    request: Natural
    head: Natural
    rooms: list[tuple[str, Natural, Natural]]  # the last offset of each, and that of its last message


UNKNOWN = -1  # a lag that was not asked for, or that the session has not told: perhaps it listens to nothing


class Member(msgspec.Struct, array_like=True, frozen=True):
    """One session as `who` tells it. `session` is empty for a user who has gone."""

    user: str
    session: str
    state: str  # "live", "lost" (in its grace time) or "gone"
    since: Natural  # microseconds: joined the room, or said hello when no room was asked for
    seen: Natural  # microseconds: last time anything came from it
    rooms: list[str]
    address: str = ""
    lag: Annotated[int, msgspec.Meta(ge=UNKNOWN)] = UNKNOWN  # of its listeners, in offsets: at most so many to come
    info: Info = {}  # of its HELLO, while it is live or lost


class Present(msgspec.Struct, array_like=True, tag=40):
    """Answer to WHO."""

    request: Natural
    members: list[Member]
    met: dict[str, Natural] = {}  # limit -> how often somebody met it, since the broker was started


class Room(msgspec.Struct, array_like=True, frozen=True):
    """One room as `rooms` tells it."""

    name: str
    last: Natural  # offset of its last record, 0 for none
    members: Natural


class RoomsAre(msgspec.Struct, array_like=True, tag=41):
    """Answer to ROOMS."""

    request: Natural
    rooms: list[Room]


class HelloAgain(msgspec.Struct, array_like=True, tag=42):
    """The broker does not know this connection: say HELLO before anything else."""


class Goodbye(msgspec.Struct, array_like=True, tag=43):
    """The session has ended (answer to BYE), or the broker is going: `reason` is "bye" or "stopping"."""

    reason: str


class Cursor(msgspec.Struct, array_like=True, frozen=True):
    """One cursor that the broker keeps."""

    name: str
    offset: Natural  # what is above it is still to come
    time: Natural  # microseconds since 1970: when it was set


class CursorsAre(msgspec.Struct, array_like=True, tag=44):
    """Answer to CURSORS."""

    request: Natural
    cursors: list[Cursor]


class For(msgspec.Struct, array_like=True, tag=45):
    """What is said to the session on a channel of this connection."""

    channel: ChannelNumber
    message: msgspec.Raw


class Direct(msgspec.Struct, array_like=True, tag=55):
    """What would come on the SUB, said to this session alone: a batch or WATERMARK of a topic that it subscribed to."""

    topic: bytes
    message: msgspec.Raw


BrokerMessage: TypeAlias = (
    Welcome
    | Ack
    | Error
    | Done
    | Page
    | Position
    | HeadsAre
    | Present
    | RoomsAre
    | HelloAgain
    | Goodbye
    | NextKey
    | CursorsAre
    | For
    | Direct
    | Deliver
    | GroupsAre
    | Found
    | ScheduledAre
    | Called
    | Replied
)

# --- broker -> every subscriber -----------------------------------------------------------------


class Watermark(msgspec.Struct, array_like=True, tag=66):
    """On a room's topic when nothing came there for a while: what came last. A higher offset than seen is a loss."""

    last: Natural


class Sync(msgspec.Struct, array_like=True, tag=67):
    """On a private topic: subscriptions made before it are live, for everything above `head`."""

    nonce: bytes
    head: Natural
    start: str = ""  # of the broker that says it, as in WELCOME
