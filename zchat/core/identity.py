"""Who each connection is, by its key: the one place that says which user a session may be.

    a handshake --admits--> yes or no      a HELLO --check--> may it be that user?      ENROLL --enrol--> a new line

Rules of this file
1. The user of a session is its key's; the key of a gateway says for whom else it may speak. On an open broker, which
   has no keys, every name is free.
2. A connection keeps its key as long as it lasts. What the key may is looked up each time: the file changes meanwhile.
3. Who is let in with an invite has no session: it may have its own key written in the place of the invite, once.
4. What a message costs has nothing of this: a key is looked at when somebody comes, and when the file has changed.
5. A user who had keys, and has none any more that is let in, is kept out: no gateway may be that user either.

Spec: docs/protocol.md, "Keys". Tests: tests/core/test_identity.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import NamedTuple, Protocol

from zchat.core import Instant
from zchat.core.allowances import Allowance
from zchat.core.audit import Audit
from zchat.errors import WireError, over_limit
from zchat.keys import Grant, KeyList, short
from zchat.names import user_key
from zchat.printable import printable

KEY_BYTES = 32
ENROLMENTS_MAX = 16  # new keys of a user at once, and in a day: each is a line of a file
DAY_SECONDS = 86_400.0
KEEP_SECONDS_MAX = 366 * 86_400  # for which the key before stays: a date that can be written
ADMITTED = ""  # else the code of why not


class Enrolment(NamedTuple):
    """A new line for authorized_keys, and what becomes of the key that it was asked for with."""

    connection: bytes
    request: int
    key: str
    grant: Grant
    by: str  # the key of the connection,
    held: Grant  # what it may while this is asked: if that has changed, nothing is written,
    by_grant: Grant  # and what is kept of it: of an invite nothing
    is_invite: bool


class Standing(NamedTuple):
    """Who there is by the keys that are let in, as long as the time of none of them is over."""

    users: frozenset[str]  # who has such a key, by their own
    out: frozenset[str]  # who has keys, and none of those is let in
    gateways: tuple[Grant, ...]
    since: float  # seconds since 1970
    until: float

    def may_be(self, grant: Grant, user: str) -> bool:
        """Whether who has that grant may be that user."""
        return grant.may_be(user) and user_key(user) not in self.out

    def is_known(self, user: str) -> bool:
        """Whether anybody may be that user."""
        return user_key(user) in self.users or any(self.may_be(grant, user) for grant in self.gateways)


class KeyStore(Protocol):
    """Where the keys of a broker are kept: key_folder.py. Its methods may wait for a disk."""

    def read(self) -> KeyList:
        """All of them. Raises BadKey, OSError."""

    def has_changed(self) -> bool:
        """Whether something is another than was read, and has been since this was asked last."""

    def enrol(self, enrolment: Enrolment) -> KeyList:
        """Write it. Returns what is there then. Raises BadKey, OSError."""


class Identities:
    """Of all connections of a broker; `listed` is None where it has no keys."""

    def __init__(self, listed: KeyList | None = None) -> None:
        self.audit = Audit(is_on=listed is not None)
        self._listed = listed
        self._addresses: dict[bytes, str] = {}  # connection -> where it comes from,
        self._keys: dict[bytes, str] = {}  # and its key
        self._enrolling: dict[str, str] = {}  # the key that is used up -> the one that is written
        self._used: dict[str, str] = {}  # the same of invites, once it is done
        self._rate = Allowance[str](ENROLMENTS_MAX, ENROLMENTS_MAX / DAY_SECONDS)
        self._standing: Standing | None = None  # None: it is to be found out
        self._asked: Standing | None = None  # as it was when it was asked last whether it is another

    @property
    def has_keys(self) -> bool:
        """Whether the broker lets in only who has one."""
        return self._listed is not None

    @property
    def users(self) -> Mapping[str, Grant]:
        """The keys of users, let in or not."""
        return self._listed.users if self._listed is not None else {}

    @property
    def server(self) -> str:
        """The broker's public key, as its file was when it was read."""
        return self._listed.server if self._listed is not None else ""

    @property
    def next_server(self) -> str:
        """The key that the broker is about to have, where that is known."""
        return self._listed.next_server if self._listed is not None else ""

    # --- who may come -----------------------------------------------------------------------

    def admits(self, key: str, seconds: float) -> str:
        """ADMITTED, or the code of why not. `seconds` since 1970."""
        if self._listed is None:
            return ADMITTED
        grant = self._listed.users.get(key)
        if grant is not None:
            return "revoked-key" if grant.is_revoked or grant.is_over(seconds) else ADMITTED
        invite = self._listed.invites.get(key)
        return "unknown-key" if invite is None or invite.is_over(seconds) else ADMITTED

    def hears(self, key: str, seconds: float) -> str:
        """The same of a subscriber: an invite hears nothing."""
        if self._listed is not None and key in self._listed.invites and key not in self._listed.users:
            return "unknown-key"
        return self.admits(key, seconds)

    def came(self, connection: bytes, address: str, key: str) -> None:
        """The connection comes from there, and has that key; empty: none."""
        self._addresses[connection] = address
        if key:
            self._keys[connection] = key

    def disconnected(self, connection: bytes) -> None:
        """It has ended."""
        self._addresses.pop(connection, None)
        self._keys.pop(connection, None)

    def address_of(self, connection: bytes) -> str:
        """Where a connection comes from."""
        return self._addresses.get(connection, "")

    def key_of(self, connection: bytes) -> str:
        """The key of a connection; empty where it has none."""
        return self._keys.get(connection, "")

    def check(self, connection: bytes, user: str, seconds: float) -> None:
        """Raises WireError where no session of that user may be on the connection."""
        if self._listed is None:
            return
        key = self.key_of(connection)
        if code := self.admits(key, seconds):
            raise WireError(code, f"key {short(key)}…: ask who runs the broker")
        grant = self._listed.users.get(key)
        if grant is None:
            raise WireError("unknown-key", "an invite is no key of a user: zchat join makes one of it")
        if not grant.may_be(user):
            raise WireError("wrong-user", f"the key is {printable(grant.user)}'s, and not {printable(user)}'s")
        if not self.standing(seconds).may_be(grant, user):
            raise WireError("revoked-key", f"{printable(user)} has keys, and none is let in any more")

    # --- a new key --------------------------------------------------------------------------

    def enrol(self, connection: bytes, request: int, key: bytes, keep_seconds: int, seconds: float) -> Enrolment | None:
        """A connection has a key to be written. None: it is already. Raises WireError."""
        by = self.key_of(connection)
        if self._listed is None or not by:
            raise WireError("bad-request", "the broker has no keys")
        if len(key) != KEY_BYTES:
            raise WireError("bad-request", f"a key has {KEY_BYTES} bytes")
        if keep_seconds > KEEP_SECONDS_MAX:
            raise WireError("bad-request", f"the key before stays {KEEP_SECONDS_MAX} seconds at most")
        new = key.hex()
        if self._used.get(by) == new:
            return None  # said twice, as the answer was late or lost
        if code := self.admits(by, seconds):
            raise WireError(code, f"key {short(by)}…: ask who runs the broker")
        if by in self._enrolling:
            raise WireError("busy", "a key is being written for this one")
        invite, own = self._listed.invites.get(by), self._listed.users.get(by)
        grant = own or invite
        assert grant is not None, "admitted"
        known = self._listed.users.get(new)
        if known is not None and not (known.user == grant.user and not known.is_revoked):
            raise WireError("bad-request", "the key is there already")
        if not self._rate.take(user_key(grant.user), 1, Instant(seconds, 0)):
            raise over_limit("user_enrolments_max", "busy", "too many new keys of this user: later")
        self._enrolling[by] = new
        expires = int(seconds) + keep_seconds
        kept = grant._replace(expires=min(expires, grant.expires or expires))
        fresh = grant._replace(expires=0 if own is None else own.expires)  # who is let in for a while, stays no longer
        return Enrolment(connection, request, new, fresh, by, grant, kept, own is None)

    def enrolled(self, enrolment: Enrolment, *, kept: bool) -> None:
        """It was written, or not."""
        self._enrolling.pop(enrolment.by, None)
        if kept:
            self._used[enrolment.by] = enrolment.key

    # --- what changes -----------------------------------------------------------------------

    def changed(self, listed: KeyList) -> None:
        """The files are so from now on. Then look who may stay."""
        self._listed, self._standing = listed, None

    def refused(self, seconds: float) -> Iterator[tuple[bytes, str, str]]:
        """(connection, key, code) of those whose key is not let in any more."""
        if self._listed is None:
            return
        for connection, key in list(self._keys.items()):
            code = self.admits(key, seconds)
            is_used = key in self._used and key not in self._listed.users  # an invite: it may ask again whether it was
            if code and not is_used:
                yield connection, key, "revoked-key" if code == "unknown-key" else code

    def is_known(self, user: str, seconds: float) -> bool:
        """Whether there is a key by which somebody may be that user."""
        return self._listed is None or self.standing(seconds).is_known(user)

    def may_be(self, connection: bytes, user: str, seconds: float) -> bool:
        """Whether a session of that user, which is there, may stay."""
        if self._listed is None:
            return True
        grant = self._listed.users.get(self.key_of(connection))
        return grant is not None and self.standing(seconds).may_be(grant, user)

    def may_have_ended(self, seconds: float) -> bool:
        """Whether some key is let in no more since this was asked last."""
        former, self._asked = self._asked, self.standing(seconds)
        return self._asked is not former

    def standing(self, seconds: float) -> Standing:
        """Who there is now. Where the clock was set back, a key may be let in again, and end again."""
        now = self._standing
        if now is None or not now.since <= seconds < now.until:
            now = self._standing = _standing(self.users, seconds)
        return now


def _standing(listed: Mapping[str, Grant], seconds: float) -> Standing:
    grants = listed.values()
    let_in = [grant for grant in grants if not (grant.is_revoked or grant.is_over(seconds))]
    users = frozenset(user_key(grant.user) for grant in let_in)
    return Standing(
        users,
        frozenset(user_key(grant.user) for grant in grants) - users,
        tuple(grant for grant in let_in if grant.gateway),
        seconds,
        min((grant.expires for grant in grants if grant.expires > seconds), default=inf),
    )
