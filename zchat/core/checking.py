"""Whether a publish may be taken: its size, how many records it has, and whether they are a client's to write.

Tests: tests/core/test_checking.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core.session import Session
from zchat.errors import WireError, over_limit
from zchat.settings import Settings

RESERVED_EVENTS = frozenset({"join", "leave"})  # the broker's own; nobody can publish them


def checked_publish(session: Session, message: wire.Publish, frame: bytes, settings: Settings) -> int:
    """How many records it has. Raises WireError, also where too many publishes wait already."""
    holder = session.carrier or session
    if holder.waiting_bytes >= wire.WINDOW_BYTES_MAX:  # who keeps to the window is never here
        raise over_limit("window_bytes", "busy", f"{holder.waiting_bytes} bytes wait for the log, more than any window")
    if holder.waiting >= settings.in_flight_max:
        raise over_limit("in_flight_max", "busy", f"{holder.waiting} publishes wait for the log, as many as may")
    return checked_records(message, frame, settings)


def checked_records(message: wire.Publish | wire.Schedule, frame: bytes, settings: Settings) -> int:
    """How many records it has. Raises WireError for what no one may publish."""
    if len(frame) > settings.publish_bytes_max:
        raise over_limit(
            "publish_bytes_max", "too-large", f"publish is {len(frame)} bytes, limit {settings.publish_bytes_max}"
        )
    bodies = wire.decode_bodies(message.records)  # the common case: no look at each record
    records = wire.check_records(message.records, settings.publish_records_max) if bodies is None else bodies
    if not 0 < len(records) <= settings.publish_records_max:
        raise over_limit(
            "publish_records_max", "too-many-records", f"{len(records)} records, limit {settings.publish_records_max}"
        )
    if len(frame) > settings.record_bytes_max:
        largest = max(len(record if isinstance(record, bytes) else record.body) for record in records)
        if largest > settings.record_bytes_max:
            raise over_limit(
                "record_bytes_max", "too-large", f"record is {largest} bytes, limit {settings.record_bytes_max}"
            )
    events = [record.event for record in records if not isinstance(record, bytes)] if bodies is None else ()
    if not RESERVED_EVENTS.isdisjoint(events):
        raise WireError("denied", "join and leave are the broker's events")
    return len(records)
