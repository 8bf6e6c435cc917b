"""Who is here, by the registry alone: what WHO tells, in one piece."""

from __future__ import annotations

from zchat.core.registry import Registry
from zchat.core.session import member_of
from zchat.wire import Member


def who(registry: Registry, room: str) -> list[Member]:
    """The members of a room; with no room every session, and the users who have gone."""
    here = [member_of(session, room) for session in registry.sessions_in(room)]
    return here if room else here + registry.users_gone()
