"""Every setting and limit of a broker, declared once: its default, its unit, whom it protects.

A limit that a client must know is told in WELCOME under the same name. docs/settings.md lists them; a
test compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from zchat import wire


class RetentionRule(NamedTuple):
    """How much of the rooms that match is kept; 0: no bound. Several that match a room all hold."""

    pattern: str
    age_seconds: float = 0.0
    records: int = 0
    bytes: int = 0
    upto: int = 0  # an offset: nothing up to it is kept; of one room, which is purged


@dataclass(frozen=True)
class Settings:
    """What one broker runs with."""

    # Presence, in seconds.
    grace_seconds: float = 3.0  # a lost connection may resume this long before its leave is written
    restart_grace_seconds: float = 10.0  # the same for members found in the log when the broker starts
    session_kept_seconds: float = wire.SESSION_KEPT_SECONDS  # told; one that left can come back to its `seq` this long
    crowd_members: int = 1_000  # a room above this size writes no joins: a crowd would cost its own square

    # Limits, told in WELCOME. They protect the broker's memory and the other members.
    record_bytes_max: int = wire.RECORD_BYTES_MAX
    publish_bytes_max: int = wire.PUBLISH_BYTES_MAX
    publish_records_max: int = wire.PUBLISH_RECORDS_MAX
    in_flight_max: int = wire.IN_FLIGHT_MAX
    window_bytes: int = wire.WINDOW_BYTES
    page_bytes_max: int = wire.PAGE_BYTES_MAX
    session_rooms_max: int = 1_024  # rooms that one session is a member of

    # Limits that only the broker acts on.
    log_bytes_max: float = inf  # of the log's files: above it, what is sent is refused
    user_cursors_max: int = 1_000  # cursors that the broker keeps for one user
    connection_reads_max: int = 32  # FETCH, SEEK, LATEST and SEARCH of one connection that wait for a reader
    reads_max: int = 1_024  # that wait of all connections; above it, who has most of them is refused
    connection_subscriptions_max: int = 4_096  # of one subscriber,
    connection_topic_bytes_max: int = 160 << 10  # which have so many bytes: each costs 48 bytes of memory
    topic_bytes_max: int = 2 << 20  # of all different topics: above it, the subscriber with most is cut off
    connection_unread_bytes_max: int = 4 << 20  # of answers: then a client gets no more until it has read some
    connection_questions_max: int = 256  # HEADS, WHO, ROOMS and CURSORS of one connection that wait
    address_silent_max: int = 512  # connections of one address, on either port, that have not said a word
    silent_max: int = 8_192  # of all addresses
    address_connections_max: int = 32_768  # that come of one address at once: thousands of clients come back
    address_connections_a_second_max: float = 200.0
    address_failures_max: int = 256  # of these, that end without a word, with keys by a handshake that fails, at once
    address_failures_a_second_max: float = 50.0
    failures_max: int = 1_024  # of all addresses: then one failure is enough to shut an address for a while
    failures_a_second_max: float = 200.0
    memory_watch_bytes: int = 320 << 20  # of memory in use: above it, the peers that take most of it are cut off
    batch_bytes_max: int = 128 * 1024  # records joined into one batch; SNDHWM counts batches, so it bounds memory
    users_seen_max: int = 10_000  # users who have gone of whom `who` tells when they were last seen
    address_users_seen_max: int = 1_000  # of these, whose last session came from one address

    # What a user may do, over all of its sessions.
    user_records_max: int = 10_000  # records that a user publishes at once,
    user_records_a_second_max: float = inf  # and so many more a second
    user_bytes_max: int = 16 << 20  # the same of the bytes of its PUBLISH frames
    user_bytes_a_second_max: float = inf
    user_day_bytes_max: float = inf  # bytes that a user stores in a day
    user_read_seconds_max: float = 10.0  # of readers' time that a user's reads take at once,
    user_read_seconds_a_second_max: float = inf  # and so many more a second
    user_sessions_max: int = 16_384  # live and lost sessions of one user
    user_new_rooms_max: int = 65_536  # new rooms of one user at once: as many as of one address,
    user_new_rooms_a_second_max: float = 100.0  # and so many more a second

    user_memberships_max: int = 32_768  # rooms that its sessions are members of, together
    user_subscriptions_max: int = 262_144  # topics that its sessions have on the ROUTER, together
    user_groups_max: int = 1_000  # groups that it has made and that are there
    user_group_members_max: int = 8_192  # its sessions that take part in groups, as often as they do
    user_servers_max: int = 8_192  # its sessions that serve rooms, as often as they do
    user_calls_max: int = 16_384  # its requests that have no reply
    user_scheduled_max: int = 10_000  # its messages that are to be sent later,
    user_scheduled_bytes_max: int = 8 << 20  # and their bytes

    # What a stranger can make the broker keep: so much at once, and so much more a second (core/allowances.py).
    address_makings_max: int = (
        65_536  # new sessions, rooms, cursors and groups of one address: a program makes 50,000 rooms at once
    )
    address_makings_a_second_max: float = 100.0
    connection_sessions_max: int = 64  # new sessions of one connection itself; a client of ours begins one
    connection_sessions_a_second_max: float = 1.0
    connection_channels_max: int = 16_384  # its channels that have a session; so many may begin at once
    connection_channels_a_second_max: float = 100.0
    sessions_max: int = 131_072  # live and lost ones, in all: about 200 MB
    address_sessions_max: int = 65_536  # of one address
    connection_joins_max: int = (
        2_048  # rooms joined on one connection, each a record: twice what a session is a member of
    )
    connection_joins_a_second_max: float = 100.0
    address_joins_max: int = 16_384  # of all connections of one address
    address_joins_a_second_max: float = 2_000.0
    memberships_max: int = 262_144  # rooms that all sessions are members of, together: about 100 MB
    address_memberships_max: int = 65_536  # of the sessions of one address
    listens_bytes_max: int = 32 << 20  # of what sessions tell of their listeners, together
    address_listens_bytes_max: int = 8 << 20  # of the sessions of one address
    gone_sessions_max: int = 100_000  # sessions that have gone and can come back to their `seq`: about 60 MB
    address_gone_sessions_max: int = 20_000  # of these, who came from one address
    rooms_max: int = 262_144  # in all: about 200 MB
    cursors_max: int = 100_000  # in all: about 40 MB
    groups_max: int = 10_000  # in all
    address_groups_max: int = 5_000  # of these, that were made from one address
    group_members_max: int = 65_536  # sessions that take part in groups, as often as they do, in all
    address_group_members_max: int = 16_384  # of the sessions of one address
    scheduled_max: int = 100_000  # messages that are to be sent later, in all,
    scheduled_bytes_max: int = 64 << 20  # and their bytes
    address_scheduled_max: int = 20_000  # of these, that came from one address
    address_scheduled_bytes_max: int = 16 << 20
    session_calls_max: int = 1_024  # requests of one session that have no reply,
    calls_max: int = 65_536  # of all,
    address_calls_max: int = 32_768  # and of the sessions of one address
    servers_max: int = 65_536  # sessions that serve rooms, as often as they do, in all
    address_servers_max: int = 16_384  # of the sessions of one address
    subscriptions_max: int = 1_048_576  # topics that sessions have on the ROUTER, together: about 100 MB
    address_subscriptions_max: int = 524_288  # of the sessions of one address
    group_runs_max: int = 262_144  # runs of records that are pending, of all groups: about 60 MB

    # What is kept of rooms; of those that no rule names, all is.
    retention: tuple[RetentionRule, ...] = ()
    trim_seconds: float = 5.0  # what no rule keeps is removed this often

    # Watermarks, in seconds: how long a room is quiet before the first, doubling up to the last.
    watermark_first_seconds: float = 1.0
    watermark_last_seconds: float = 64.0

    def told(self) -> dict[str, int]:
        """The limits that WELCOME carries."""
        return {
            "record_bytes_max": self.record_bytes_max,
            "publish_bytes_max": self.publish_bytes_max,
            "publish_records_max": self.publish_records_max,
            "in_flight_max": self.in_flight_max,
            "window_bytes": self.window_bytes,
            "page_bytes_max": self.page_bytes_max,
            "session_rooms_max": self.session_rooms_max,
            "session_kept_seconds": int(self.session_kept_seconds),
        }
