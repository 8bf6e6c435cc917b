"""The messages of requests that one server answers: who serves, what is asked of whom, what the answer is.

Spec: docs/protocol.md, "Requests". Tests: tests/test_wire.py.
"""

import msgspec

from zchat.wire.records import Natural

CALL_SECONDS_MAX = 3_600  # that a request may wait for its reply
REPLIES_MAX = 1_024  # that one may ask for


class Serve(msgspec.Struct, array_like=True, tag=30):
    """Answer requests to a room, or do no more; answered by DONE."""

    request: Natural
    server: Natural  # what the client calls it
    room: str
    group: str = ""
    max_in_flight: Natural = 1  # requests that it has at a time; 0: it serves no more


class Call(msgspec.Struct, array_like=True, tag=28):
    """Ask those who serve a room; answered by a REPLIED for each reply."""

    request: Natural
    room: str
    record: msgspec.Raw
    timeout: Natural  # milliseconds until nobody waits for it any more
    replies: Natural = 1  # so many servers are asked
    retry: bool = False  # where one goes before it has replied, another is asked


class Reply(msgspec.Struct, array_like=True, tag=29):
    """What a server says to a request; not answered."""

    call: Natural
    record: msgspec.Raw
    error: str = ""  # why it could not be done; empty: it was


class Called(msgspec.Struct, array_like=True, tag=48):
    """A request for one server."""

    server: Natural
    call: Natural  # to be named in the REPLY
    room: str
    user: str  # who asks
    session: str
    time: Natural  # microseconds since 1970
    record: msgspec.Raw


class Replied(msgspec.Struct, array_like=True, tag=49):
    """A reply to CALL."""

    request: Natural
    user: str  # whose it is
    session: str
    time: Natural
    record: msgspec.Raw
    error: str = ""
    left: Natural = 0  # replies that are still to come
