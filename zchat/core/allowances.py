"""How much a stranger can make the broker keep: so much at once, so much a second, so much in all.

Rules of this file
1. An allowance is a bucket of tokens for each key, full at first: `burst` tokens, and `refill` more a second.
2. It remembers what was taken, not who was there: a bucket that is full again is forgotten.
3. Whoever is refused by a rate is told `busy`, which says: later. Nothing was changed.
4. A share counts what is held: it is had again when its holder lets go of it, or goes.
5. What is remembered of those who have gone is bounded in all and for each origin. Who is above the bound of
   its origin loses what is its own, so that a stranger who invents names pushes out no others.

    taken 3 of 4, refill 1/s:   0.5 s later 1.5 may be taken, 3 s later the bucket is full and forgotten

An origin is where a connection comes from as far as a stranger cannot choose it: an IPv4 address, half of an
IPv6 address (a host has 2⁶⁴ of them), and one for all that is not TCP.
Spec: docs/protocol.md, "Limits". Tests: tests/core/test_allowances.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import lru_cache
from ipaddress import ip_address
from itertools import islice
from typing import Generic, TypeVar

from zchat.core import Instant
from zchat.core.channels import Channel, Endpoint, connection_of
from zchat.errors import over_limit
from zchat.names import user_key
from zchat.settings import Settings

KEYS_MAX = 65_536  # buckets that are not full; beyond it the one that was used longest ago is taken for full

Key = TypeVar("Key", bound=Hashable)
Thing = TypeVar("Thing")


@lru_cache(1_024)  # asked three times for each request; to read an IPv6 address takes longer than all else of it
def origin(address: str) -> str:
    """What counts as one peer of those that have this address."""
    if ":" not in address:
        return address if address[:1].isdigit() else ""
    try:
        return ip_address(address.partition("%")[0]).packed[:8].hex()
    except ValueError:
        return ""


class Allowance(Generic[Key]):
    """Token buckets of one kind, by key."""

    def __init__(self, burst: float, refill: float, keys_max: int = KEYS_MAX) -> None:
        self._burst = burst
        self._refill = refill  # a second
        self._keys_max = keys_max
        self._taken: dict[Key, tuple[float, float]] = {}  # how much was missing, and when; used last is last

    def __len__(self) -> int:
        """How many keys it remembers."""
        return len(self._taken)

    def has(self, key: Key, tokens: int, now: Instant) -> bool:
        """Whether so many may be taken."""
        return self._missing(key, now) + tokens <= self._burst

    def take(self, key: Key, tokens: int, now: Instant) -> bool:
        """Take them, if there are so many; if not, nothing is taken."""
        missing = self._missing(key, now) + tokens
        if missing > self._burst:
            return False
        self._note(key, missing, now)
        return True

    def overdraw(self, key: Key, tokens: int, now: Instant) -> float:
        """Take them, also those that there are not. Returns in how many seconds none is owed any more."""
        missing = self._missing(key, now) + tokens
        self._note(key, missing, now)
        return max(0.0, missing - self._burst) / self._refill

    def give_back(self, key: Key, tokens: int, now: Instant) -> None:
        """They were not used after all."""
        if missing := self._missing(key, now):
            self._note(key, max(0.0, missing - tokens), now)

    def forget(self, key: Key) -> None:
        """There is nobody of that key any more."""
        self._taken.pop(key, None)

    def _note(self, key: Key, missing: float, now: Instant) -> None:
        self._taken.pop(key, None)
        self._taken[key] = (missing, now.seconds)
        for oldest in list(islice(self._taken, 2)):  # two for each that comes, so full ones do not pile up
            if len(self._taken) > self._keys_max or not self._missing(oldest, now):
                del self._taken[oldest]

    def _missing(self, key: Key, now: Instant) -> float:
        missing, since = self._taken.get(key, (0.0, 0.0))
        return max(0.0, missing - max(0.0, now.seconds - since) * self._refill)


class Allowances:
    """What connections and addresses may make the broker keep."""

    def __init__(self, settings: Settings) -> None:
        self._makings = Allowance[str](settings.address_makings_max, settings.address_makings_a_second_max)
        self._sessions = Allowance[bytes](settings.connection_sessions_max, settings.connection_sessions_a_second_max)
        self._channels = Allowance[bytes](settings.connection_channels_max, settings.connection_channels_a_second_max)
        self._rooms = Allowance[str](settings.user_new_rooms_max, settings.user_new_rooms_a_second_max)
        self._joins = Allowance[bytes](settings.connection_joins_max, settings.connection_joins_a_second_max)
        self._address_joins = Allowance[str](settings.address_joins_max, settings.address_joins_a_second_max)

    def make(self, address: str, things: int, now: Instant) -> None:
        """A peer of that address makes what outlives its connection. Raises WireError when it was too much."""
        if things and not self._makings.take(origin(address), things, now):
            raise over_limit(
                "address_makings_max", "busy", "too many new sessions, rooms and cursors from this address: later"
            )

    def make_rooms(self, user: str, address: str, rooms: int, now: Instant) -> None:
        """A user makes so many rooms; nobody's are the broker's own. Raises WireError when it were too many."""
        if rooms and user and not self._rooms.has(user_key(user), rooms, now):
            raise over_limit("user_new_rooms_max", "busy", "too many new rooms of this user: later")
        self.make(address, rooms, now)
        if rooms and user:
            self._rooms.take(user_key(user), rooms, now)

    def begin(self, endpoint: Endpoint, address: str, now: Instant) -> None:
        """A new session begins. Raises WireError when there were too many on the connection, or of the address."""
        connection = connection_of(endpoint)
        begun = self._channels if isinstance(endpoint, Channel) else self._sessions
        if not begun.has(connection, 1, now):
            kind = "connection_channels_max" if isinstance(endpoint, Channel) else "connection_sessions_max"
            raise over_limit(kind, "busy", "too many sessions on this connection")
        self.make(address, 1, now)
        begun.take(connection, 1, now)

    def may_join(self, endpoint: Endpoint, address: str, rooms: int, now: Instant) -> None:
        """Raises WireError when there were too many joins on the connection, or of the address.

        What is joined on channels counts for the address alone: it may be of thousands of sessions.
        """
        if isinstance(endpoint, bytes) and not self._joins.has(endpoint, rooms, now):
            raise over_limit("connection_joins_max", "busy", "too many joins on this connection: later")
        if not self._address_joins.has(origin(address), rooms, now):
            raise over_limit("address_joins_max", "busy", "too many joins from this address: later")

    def join(self, endpoint: Endpoint, address: str, rooms: int, now: Instant) -> None:
        """It joins so many rooms, as `may_join` has allowed."""
        if isinstance(endpoint, bytes):
            self._joins.take(endpoint, rooms, now)
        self._address_joins.take(origin(address), rooms, now)

    def disconnected(self, connection: bytes) -> None:
        """The connection is gone."""
        self._sessions.forget(connection)
        self._channels.forget(connection)
        self._joins.forget(connection)


class Share:
    """How much there is of something as long as somebody holds it: so much in all, of one origin, and of one user."""

    def __init__(self, settings: Settings, limit: str) -> None:
        """`limit`: the setting that bounds all; of an origin `address_` and so, of a user `user_` and so."""
        self._limit, self._origin_limit, self._user_limit = limit, f"address_{limit}", f"user_{limit}"
        self._most: int = getattr(settings, self._limit)
        self._origin_most: int = getattr(settings, self._origin_limit)
        self._user_most: int = getattr(settings, self._user_limit, 0)
        self._origins: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self.held = 0  # in all

    def check(self, address: str, amount: int, code: str, text: str, user: str = "") -> None:
        """Raises WireError where a peer of that address, and that user, may not hold so much more."""
        if limit := self.met(address, amount, user):
            raise over_limit(limit, code, text)

    def add(self, address: str | None, amount: int, user: str = "") -> None:
        """It holds so much more; less than 0 gives back. Without a user, or address, it counts for none."""
        self.held += amount
        if address is not None:
            _add(self._origins, origin(address), amount)
        if user:
            _add(self._users, user_key(user), amount)

    def met(self, address: str, amount: int, user: str = "") -> str:
        """The limit that it would be above with so much more; empty: none."""
        if amount <= 0:
            return ""
        if user and self._users.get(user_key(user), 0) + amount > self._user_most:
            return self._user_limit
        if self._origins.get(origin(address), 0) + amount > self._origin_most:
            return self._origin_limit
        return self._limit if self.held + amount > self._most else ""


def _add(held: dict[str, int], of: str, amount: int) -> None:
    now = held.get(of, 0) + amount
    if now:
        held[of] = now
    else:
        held.pop(of, None)


class Remembered(Generic[Thing]):
    """Things by name in the order in which they came, the first to be forgotten when there are too many."""

    def __init__(self, things_max: int, origin_things_max: int) -> None:
        self._things_max = things_max
        self._origin_things_max = origin_things_max
        self._things: dict[str, tuple[Thing, str | None]] = {}  # thing, and its origin: None when it is not known
        self._origins: dict[str, dict[str, None]] = {}  # origin -> names, in order

    def __len__(self) -> int:
        """How many there are."""
        return len(self._things)

    def first(self) -> Thing | None:
        """The one that came first of all."""
        return next(iter(self._things.values()))[0] if self._things else None

    def items(self) -> Iterator[tuple[str, Thing]]:
        """Names and things, the first one first."""
        return ((name, thing) for name, (thing, _) in self._things.items())

    def put(self, name: str, thing: Thing, of: str | None) -> list[Thing]:
        """It is the last now. Returns what is forgotten instead."""
        self.pop(name)
        self._things[name] = (thing, of)
        forgotten = []
        if of is not None:
            names = self._origins.setdefault(of, {})
            names[name] = None
            if len(names) > self._origin_things_max:
                forgotten.append(self.pop(next(iter(names))))
        if len(self._things) > self._things_max:
            forgotten.append(self.pop(next(iter(self._things))))
        return [each for each in forgotten if each is not None]

    def pop(self, name: str) -> Thing | None:
        """Forget it; returns it, if it was there."""
        thing, of = self._things.pop(name, (None, None))
        if of is not None:
            names = self._origins[of]
            del names[name]
            if not names:
                del self._origins[of]
        return thing
