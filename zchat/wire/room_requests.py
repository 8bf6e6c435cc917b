"""What is asked of the records of rooms beside reading on: the last of each, and to remove them.

Spec: docs/protocol.md, "Messages". Tests: tests/test_wire.py.
"""

import msgspec

from zchat.wire.records import Names, Natural


class Latest(msgspec.Struct, array_like=True, tag=20):
    """The last messages of each room that matches, of those with `after < offset <= until`; answered by PAGE."""

    request: Natural
    patterns: Names
    after: Natural
    until: Natural  # 0: as far as there is
    count: Natural  # of each room


class Purge(msgspec.Struct, array_like=True, tag=21):
    """Remove what a room has up to an offset; answered by DONE once that has begun."""

    request: Natural
    room: str
    upto: Natural = 0  # 0: as far as there is
