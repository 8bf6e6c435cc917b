"""To whom one has given keys of sealed rooms: told when such a user is let in no more.

Tests: tests/cli/test_keys.py.
"""

from __future__ import annotations

from zchat import profile
from zchat.cli import exit_status
from zchat.errors import UsageError
from zchat.names import user_key
from zchat.ring import KeyRing


def tell(users: set[str]) -> None:
    """Name the rooms whose youngest key one of these users (as `user_key` has them) was given: he keeps it."""
    folder = profile.ring_folder()
    if folder is None or not users:
        return
    ring = KeyRing(folder)
    try:
        found = [(room, ring.of(room)) for room in sorted(ring.rooms())]
    except UsageError as error:
        exit_status.tell(f"{error}: to whom keys of sealed rooms were given is not known")
        return
    for room, keys in found:
        if keys is not None and users & {user_key(user) for user in keys.given}:
            exit_status.tell(f"the key of {room}, which is sealed, was given to such a user: zchat seal rotate {room}")
