"""A publish that was sent before: its outcome is told again, from memory as far as that goes, else from the log.

Spec: docs/protocol.md, "Publish once". Tests: tests/core/test_repeats.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core.reads import Reads
from zchat.core.replies import Replies
from zchat.core.session import PENDING, Session


def repeat(session: Session, message: wire.Publish, reads: Reads, replies: Replies) -> None:
    """Tell it again; one that is not known yet is told when it is."""
    seq = message.seq
    if not seq:
        replies.refuse(session.connection, "publish", 0, "bad-request", "seq begins with 1")
        return
    outcome = session.outcomes.get(seq)
    if outcome is None:
        reads.look_up(session, message)
    elif isinstance(outcome, str):
        replies.refuse(session.connection, "publish", seq, outcome)
    elif outcome != PENDING:
        replies.ack(session.connection, seq, outcome)
