"""What is said of keys: a client hands over a new one, the broker tells of its own next one.

Spec: docs/protocol.md, "Keys". Tests: tests/test_wire.py.
"""

import msgspec

from zchat.wire.records import Natural


class Enroll(msgspec.Struct, array_like=True, tag=22):
    """Let this public key in, too, as the one of this connection is; answered by DONE once that is written."""

    request: Natural
    key: bytes  # 32, as CURVE has it
    keep: Natural = 0  # seconds for which the key of the connection stays; an invite is used up at once


class NextKey(msgspec.Struct, array_like=True, tag=60):
    """The broker is about to have this public key: let it count beside the present one."""

    key: bytes
