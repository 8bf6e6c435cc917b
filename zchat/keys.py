"""Keys as they are written: of users, of brokers, and of invites; and the lines that say whose a key is.

Rules of this file
1. It is pure: it neither makes a key nor opens a file. `key_files.py` and `key_folder.py` do.
2. A key is written as 64 hexadecimal digits: the 32 bytes that CURVE takes. No shell, address or line reads them
   otherwise, and no two of them look alike. Public and secret keys look the same, so each stands behind its name.
3. What is not understood is an error that names its line: an option that is misspelt would let in who should not be.

    authorized_keys     KEY user [gateway=PATTERN] [expires=TIME] [revoked]
    invites             KEY user expires=TIME [gateway=PATTERN]
    a key's file        public KEY
                        secret KEY
    an invite           zchat://host:5555?server=KEY&user=NAME&invite=SECRET

Docs: docs/operating.md, "Keys". Tests: tests/test_keys.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from zchat.address import Address, parse
from zchat.errors import BadKey, UsageError
from zchat.names import user_key, user_name

KEY_DIGITS = 64
LINK_SCHEME = "zchat://"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
COMMENT = "#"

_KEY = re.compile(r"[0-9a-f]{64}")


class KeyPair(NamedTuple):
    """A public key, and the secret one that proves it."""

    public: str
    secret: str

    def __repr__(self) -> str:
        """Without the secret."""
        return f"KeyPair({self.public!r}, …)"


class Credentials:
    """What a client proves itself with, and by which keys it knows the broker: the present one, then its next.

    `keep` writes down which those are from now on.
    """

    def __init__(
        self, pair: KeyPair, servers: Sequence[str], keep: Callable[[Sequence[str]], object] | None = None
    ) -> None:
        self.pair = pair
        self.servers = list(servers)
        self._keep = keep or (lambda servers: None)

    def told(self, next_server: str) -> None:
        """The broker, which has the present one, says what its next one is."""
        if next_server not in self.servers:
            self.servers = [self.servers[0], next_server]
            self._keep(self.servers)

    def proven(self, server: str) -> None:
        """The broker has that one by now: those before it count no more."""
        if server != self.servers[0]:
            self.servers = self.servers[self.servers.index(server) :]
            self._keep(self.servers)


class Grant(NamedTuple):
    """What a line of authorized_keys, or of invites, says of a key."""

    user: str
    gateway: str = ""  # a pattern of users for whom it speaks, too
    expires: int = 0  # seconds since 1970; 0: never
    is_revoked: bool = False

    def may_be(self, user: str) -> bool:
        """Whether its holder may speak as that user."""
        key = user_key(user)
        return key == user_key(self.user) or bool(self.gateway and _users(self.gateway).fullmatch(key))

    def is_over(self, seconds: float) -> bool:
        """Whether its time is over."""
        return bool(self.expires) and seconds >= self.expires


class KeyList(NamedTuple):
    """The keys that a broker lets in."""

    users: dict[str, Grant]
    invites: dict[str, Grant]
    next_server: str = ""  # its own public key, once it has changed to that
    server: str = ""  # the present one; empty where there is none yet


class Invitation(NamedTuple):
    """What the line of an invite says: where the broker is, its key, and the secret key of the invite, if any."""

    address: Address
    server: str
    user: str = ""  # for whom it is
    invite: str = ""


def checked_key(text: str, what: str = "key") -> str:
    """A key. Raises BadKey, which does not repeat what may be a secret."""
    key = text.strip().lower()
    if not _KEY.fullmatch(key):
        raise BadKey(f"{what}: {KEY_DIGITS} hexadecimal digits are a key, and this is none")
    return key


def short(key: str) -> str:
    """The beginning of a public key, for people who compare."""
    return key[:16]


def lines_of(text: str) -> list[str]:
    """As editors show them: what else Python takes for the end of a line may stand in a comment."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def parse_grants(text: str, file: str) -> dict[str, Grant]:
    """The lines of authorized_keys or invites. Raises BadKey."""
    grants: dict[str, Grant] = {}
    if not text.endswith("\n") and text.strip():
        raise BadKey(
            f"{file}: its last line is not ended, so it may be cut off before `revoked`; if it is whole, end it"
        )
    for number, line in enumerate(lines_of(text), 1):
        words = line.partition(COMMENT)[0].split()
        if not words:
            continue
        try:
            key, grant = _grant(words)
        except UsageError as error:
            raise BadKey(f"{file}, line {number}: {error}") from None
        if key in grants:
            raise BadKey(f"{file}, line {number}: the key {short(key)}… is there twice")
        grants[key] = grant
    return grants


def line_of(key: str, grant: Grant) -> str:
    """The line that says so."""
    words = [key, grant.user]
    if grant.gateway:
        words.append(f"gateway={grant.gateway}")
    if grant.expires:
        words.append(f"expires={datetime.fromtimestamp(grant.expires, UTC).strftime(TIME_FORMAT)}")
    if grant.is_revoked:
        words.append("revoked")
    return " ".join(words)


def with_line(text: str, key: str, grant: Grant | None) -> str:
    """The file with that line for the key in the place of the one that it had, else at the end; None: without any.

    All else of it stays as people wrote it, comments too.
    """
    lines, had = [], False
    for line in lines_of(text):
        words = line.partition(COMMENT)[0].split()
        if words and words[0].lower() == key:
            comment = line.partition(COMMENT)[2]
            line = f"{line_of(key, grant)}{f'  {COMMENT}{comment}' if comment else ''}" if grant else ""
            had = True
            if not grant:
                continue
        lines.append(line)
    if grant and not had:
        lines.append(line_of(key, grant))
    return "".join(f"{line}\n" for line in lines)


def checked_gateway(pattern: str) -> str:
    """A pattern of users: `web.*`; `*` stands for any characters. Raises BadKey."""
    if not pattern or any(character.isspace() or character == COMMENT for character in pattern):
        raise BadKey(f'gateway "{pattern}": a pattern of users is such as web.* or *')
    try:
        user_name(pattern.replace("*", "x"))
    except UsageError as error:
        raise BadKey(f"gateway: {error}") from None
    return pattern


def parse_pair(text: str, file: str) -> KeyPair:
    """A key's file. Raises BadKey."""
    found = dict[str, str]()
    for line in text.splitlines():
        words = line.partition(COMMENT)[0].split()
        if words and (len(words) != 2 or words[0] not in ("public", "secret")):
            raise BadKey(f"{file} is no file of a key: `public KEY` and `secret KEY` are its lines")
        if words:
            found[words[0]] = checked_key(words[1], f"{file}, {words[0]}")
    if len(found) != 2:
        raise BadKey(f"{file} is no file of a key: it has to have a public and a secret one")
    return KeyPair(found["public"], found["secret"])


def pair_text(pair: KeyPair, comment: str) -> str:
    """The file of a key."""
    return f"{COMMENT} {comment}\npublic {pair.public}\nsecret {pair.secret}\n"


def parse_invitation(text: str) -> Invitation:
    """An invite, or the line of a broker. Raises BadKey, BadAddress."""
    text = text.strip()
    if not text.startswith(LINK_SCHEME):
        raise BadKey("an invite begins with zchat://, as `zchat keys invite` prints it")
    where, _, query = text.removeprefix(LINK_SCHEME).partition("?")
    found = dict[str, str]()
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name in ("server", "invite"):  # others may come with a later version
            found[name] = checked_key(value, f"the invite's {name}=")
        elif name == "user":
            found[name] = user_name(value)
    if "server" not in found:
        raise BadKey("the invite lacks the broker's key (server=…): was it cut off? A shell wants it in quotes")
    address = parse(f"ipc://{where}" if where.startswith("/") else where)
    return Invitation(address, found["server"], found.get("user", ""), found.get("invite", ""))


def invitation_text(invitation: Invitation) -> str:
    """The line. It has no secret where there is no invite in it."""
    where = str(invitation.address).removeprefix("tcp://").removeprefix("ipc://")
    user = f"&user={invitation.user}" if invitation.user else ""
    invite = f"&invite={invitation.invite}" if invitation.invite else ""
    return f"{LINK_SCHEME}{where}?server={invitation.server}{user}{invite}"


# --- parts --------------------------------------------------------------------------------------


def _grant(words: list[str]) -> tuple[str, Grant]:
    if len(words) < 2:
        raise BadKey("a line is a key, a user and options")
    key, user, options = checked_key(words[0]), user_name(words[1]), words[2:]
    grant = Grant(user)
    for option in options:
        name, equals, value = option.partition("=")
        if option == "revoked":
            grant = grant._replace(is_revoked=True)
        elif name == "gateway" and equals:
            grant = grant._replace(gateway=checked_gateway(value))
        elif name == "expires" and equals:
            grant = grant._replace(expires=_time(value))
        else:
            raise BadKey(f'"{option}" is none of gateway=PATTERN, expires=TIME and revoked')
    return key, grant


def _time(text: str) -> int:
    try:
        return int(datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise BadKey(f'"{text}" is no time such as 2026-12-31T12:00:00Z') from None


@lru_cache(256)
def _users(pattern: str) -> re.Pattern[str]:
    parts = [re.escape(user_key(part)) for part in pattern.split("*")]
    return re.compile(".*".join(parts))
