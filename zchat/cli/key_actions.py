"""What `zchat keys` does, with one's own keys and in a broker's folder of them.

Rules of this file: secrets go to files, and an invite to stdout alone; a broker sees by itself what has changed.
Tests: tests/cli/test_keys.py.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zchat import profile
from zchat.address import ALL_INTERFACES, DEFAULT_PORT, Address, parse, parse_bind
from zchat.cli import exit_status, given, output
from zchat.errors import BadKey, UsageError
from zchat.joining import key_path, make_key
from zchat.joining import rotate as rotate_key
from zchat.key_files import read_pair
from zchat.key_folder import ADDRESS, NEXT, SERVER, KeyFolder
from zchat.keys import (
    Grant,
    Invitation,
    checked_gateway,
    checked_key,
    invitation_text,
    line_of,
    short,
)
from zchat.names import user_key, user_name
from zchat.sockets.curve import new_pair

INVITE_SECONDS = 86_400.0
PREFIX_DIGITS = 8  # of a key, that name it


# --- one's own ----------------------------------------------------------------------------------


def new(name: str) -> None:
    """A key, of which the public half is printed."""
    pair = make_key(name, f"The secret key {name} of yours: who has it is you")
    print(pair.public)
    exit_status.tell(
        f"the secret half is in {key_path(name)}; who runs the broker lets this one in: "
        "zchat keys authorize KEY USER --keys DIR"
    )


def show(name: str | None) -> None:
    """The public half of one, or of all."""
    if name is not None:
        try:
            print(read_pair(key_path(name)).public)
        except FileNotFoundError:
            raise UsageError(f"there is no key {name}: {key_path(name)}") from None
        return
    found = sorted(key_path("any").parent.glob("*.key"))
    rows = [[path.stem, read_pair(path).public] for path in found]
    sys.stdout.write(output.table(("NAME", "KEY"), rows))


def rotate(name: str | None, wait: float) -> None:
    """Another key for a broker."""
    named = name or profile.read().broker
    if named is None:
        raise UsageError("no broker is named, and your zchat.toml has none: zchat keys rotate BROKER, after zchat join")
    print(rotate_key(named, wait).public)
    exit_status.tell(f"this is your key for {named} from now on; the one before is good for a week")


# --- a broker's ---------------------------------------------------------------------------------


def invite(folder: Path, user: str, gateway: str, seconds: float | None, broker: str | None) -> None:
    """A line for `zchat join`."""
    name, expires = user_name(user), int(time.time() + (INVITE_SECONDS if seconds is None else seconds))
    pattern = checked_gateway(gateway) if gateway else ""
    with _opened(folder) as keys:
        is_new = keys.pair(SERVER) is None
        own, address, pair = keys.own(new_pair), _address(keys, broker), new_pair()
        keys.set_invite(pair.public, Grant(name, pattern, expires), time.time())
    print(invitation_text(Invitation(address, own.public, name, pair.secret)))
    exit_status.tell(f"whoever has this line is {name}: hand it over in secret; {name} says zchat join 'LINE', once")
    if is_new:
        exit_status.tell(f"no broker had its keys in {folder} yet: it is good once zchat broker --keys {folder} runs")


def authorize(folder: Path, key: str, user: str, gateway: str, seconds: float | None) -> None:
    """A key is let in."""
    grant = Grant(
        user_name(user), checked_gateway(gateway) if gateway else "", int(time.time() + seconds) if seconds else 0
    )
    with _opened(folder) as keys:
        keys.set_user(checked_key(key), grant)


def revoke(folder: Path, what: str) -> None:
    """A key, or all keys and invites of a user, are kept out."""
    with _opened(_there(folder)) as keys:
        listed = keys.read()
        users = {key: grant for key, grant in listed.users.items() if _is_meant(what, key, grant)}
        invites = {key: grant for key, grant in listed.invites.items() if _is_meant(what, key, grant)}
        if not users and not invites:
            raise UsageError(f'"{what}" is no user, and no beginning of a key, in {keys.folder}')
        if len({user_key(grant.user) for grant in (*users.values(), *invites.values())}) > 1:
            raise UsageError(f'"{what}" is the beginning of keys of several users: name more of it')
        for key, grant in users.items():
            keys.set_user(key, grant._replace(is_revoked=True))
        for key in invites:
            keys.set_invite(key, None)
    for key, grant in users.items():
        print(f"revoked {short(key)} {grant.user}")
    for key, grant in invites.items():
        print(f"taken back: an invite {short(key)} {grant.user}")
    given.tell({user_key(grant.user) for grant in users.values()})


def list_all(folder: Path) -> None:
    """Who is let in, and who may come with an invite."""
    with _opened(_there(folder)) as keys:
        listed = keys.read()
    rows = [_row(key, grant, "") for key, grant in listed.users.items()]
    rows += [_row(key, grant, "invite") for key, grant in listed.invites.items() if not grant.is_over(time.time())]
    sys.stdout.write(output.table(("KEY", "USER", "OPTIONS"), rows))


def server(folder: Path, what: str) -> None:
    """The broker's own key: shown, its next one made, or put in its place."""
    if what not in ("", "next", "switch"):
        raise UsageError(f'"{what}" is neither next nor switch')
    with _opened(folder) as keys:
        if what == "next" and keys.pair(NEXT) is None:
            keys.own(new_pair)
            keys.add_pair(NEXT, new_pair())
        if what == "switch" and keys.pair(NEXT) is None:
            raise UsageError("there is no next key: zchat keys server next makes one, and tells it to who is there")
        if what == "switch":
            keys.switch()
        pair = keys.pair(NEXT) if what == "next" else keys.own(new_pair)
        assert pair is not None
    print(pair.public)
    if what == "next":
        exit_status.tell("clients are told of it; when all have been there: zchat keys server switch")
    elif what == "switch":
        exit_status.tell(
            "a broker that runs is started anew with it within a second or two; its clients go on by themselves"
        )


# --- parts --------------------------------------------------------------------------------------


def _there(folder: Path) -> Path:
    """A folder that is there: one that is misspelt is not made, and found empty."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: zchat broker --keys {folder} makes it")
    return folder


@contextmanager
def _opened(folder: Path) -> Iterator[KeyFolder]:
    keys = KeyFolder(folder)
    keys.make()
    with keys.locked():
        yield keys


def _address(keys: KeyFolder, broker: str | None) -> Address:
    """Where others reach the broker."""
    if broker is not None:
        return parse(profile.meant(broker, None).address)
    try:
        bound = parse_bind(keys.text(ADDRESS).strip())
    except (UsageError, BadKey):
        return Address("tcp", socket.gethostname().lower(), DEFAULT_PORT)
    return bound._replace(host=socket.gethostname().lower()) if bound.host in ALL_INTERFACES else bound


def _is_meant(what: str, key: str, grant: Grant) -> bool:
    return user_key(what) == user_key(grant.user) or (len(what) >= PREFIX_DIGITS and key.startswith(what.lower()))


def _row(key: str, grant: Grant, what: str) -> list[str]:
    _, _, *options = line_of(key, grant).split()
    return [short(key), grant.user, " ".join([*([what] if what else []), *options])]
