"""The messages of full text search.

Spec: docs/protocol.md, "Search". Tests: tests/test_wire.py.
"""

import msgspec

from zchat.wire.records import Names, Natural


class Search(msgspec.Struct, array_like=True, tag=27):
    """The last messages that have some words; answered by FOUND."""

    request: Natural
    words: str
    patterns: Names
    last: Natural  # how many
    below: Natural = 0  # this offset; 0: all
    user: str = ""  # who wrote them; empty: anybody
    since: Natural = 0  # microseconds since 1970


class Found(msgspec.Struct, array_like=True, tag=58):
    """Answer to SEARCH: messages, newest first, each in a batch of its own. All above `downto` are in it."""

    request: Natural
    batches: list[tuple[str, msgspec.Raw]]  # room, batch
    downto: Natural
    more: bool  # there may be more at or below `downto`
    indexed: Natural  # what lies above had to be looked through
