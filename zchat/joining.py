"""Getting to be known by a broker: a key of one's own, proved by an invite, and what the profile says of both.

    zchat://host:5555?server=KEY&user=NAME&invite=SECRET
      1. a key is made, and kept          ~/.config/zchat/keys/NAME.key
      2. the broker is told of it         ENROLL, over a connection that the invite opens
      3. it is tried, and then            zchat.toml says where the broker is, who one is there, and which key it has

Rules of this file
1. What was kept is used again: a join that was cut off is done once more with the same line.
2. The profile is changed only when the broker lets one in, and is left as people wrote it but for what is added.

Docs: docs/operating.md, "Keys". Tests: tests/cli/test_join.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from zchat import profile
from zchat.address import Address
from zchat.arguments import info, whom
from zchat.errors import KeyRefused, Refused, UsageError
from zchat.key_files import read_credentials, read_pair, servers_file, write_pair
from zchat.keys import Credentials, Invitation, KeyPair
from zchat.private_files import make_folder, replace_text
from zchat.sockets.client import Connection
from zchat.sockets.clock import CLOSE_SECONDS, tried
from zchat.sockets.curve import new_pair, pair_of
from zchat.sockets.enrolling import enrol

KEYS = "keys"
OLD_KEY_SECONDS = 7 * 86_400  # for which the key before stays good: programs that run have it
PROFILE_MODE = 0o644
SEEN_SECONDS = 1.5  # within which a broker has looked whether its files have changed
AGAIN_SECONDS = 0.3


class Joined(NamedTuple):
    """What a join has left."""

    name: str  # of the broker, in the profile
    user: str
    is_default: bool  # it is the broker that is meant where none is named


def key_path(name: str) -> Path:
    """Where the key of that name is. Raises UsageError."""
    where = profile.path()
    if where is None:
        raise UsageError("HOME is not set: ZCHAT_CONFIG says where zchat.toml is, and keys beside it")
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise UsageError(f'"{name}" is no name for a file of a key')
    return where.parent / KEYS / f"{name}.key"


def make_key(name: str, comment: str) -> KeyPair:
    """A new key, kept under that name. Raises UsageError where there is one already."""
    path, pair = key_path(name), new_pair()
    make_folder(path.parent)
    try:
        write_pair(path, pair, comment)
    except FileExistsError:
        raise UsageError(f"{path} is there already: `zchat keys show {name}` shows it") from None
    return pair


def join(invitation: Invitation, name: str, user: str, wait: float) -> Joined:
    """Do it. Raises KeyRefused, Refused, Unreachable, UsageError, OSError."""
    known = profile.read()
    if name in known.brokers:
        raise UsageError(f'"{name}" is in your zchat.toml already: give this one another name with --name')
    path = key_path(name)
    try:
        pair = read_pair(path)
    except FileNotFoundError:
        pair = make_key(name, f"The secret key of {user} for {invitation.address}: who has it is {user}")
    servers_file(path).unlink(missing_ok=True)
    credentials = Credentials(pair, [invitation.server])
    refusal: Refused | None = None
    if invitation.invite:
        opens = Credentials(pair_of(invitation.invite), [invitation.server])
        try:
            _enrol(invitation.address, opens, pair.public, wait)
        except Refused as error:  # used already: by ourselves, if the answer was lost
            refusal = error
    try:
        _try(invitation.address, user, credentials, wait)
    except KeyRefused as error:
        if refusal is not None and error.code == "unknown-key":
            raise KeyRefused("unknown-key", f"the invite was used, or its time is over ({refusal.code})") from None
        raise
    is_default = known.broker in (None, name)
    _add(name, invitation, user, is_first=known.broker is None)
    return Joined(name, user, is_default)


def rotate(name: str, wait: float) -> KeyPair:
    """Another key for a broker of the profile; the one before is good for a week. Raises as `join` does."""
    known = profile.read().brokers.get(name)
    if known is None or known.key is None or known.server_key is None:
        raise UsageError(f'"{name}" is no broker of your zchat.toml that you have a key for')
    address, user, credentials = whom(name, None)
    at = profile.path()
    assert at is not None and credentials is not None
    path = at.parent / os.path.expanduser(known.key)
    draft = path.with_suffix(".new")  # is there, if this was cut off before
    try:
        pair = read_pair(draft)
    except FileNotFoundError:
        pair = new_pair()
        write_pair(draft, pair, f"The secret key of {known.user or 'yours'} for {known.address}")
    enrol(address, credentials, pair.public, OLD_KEY_SECONDS, wait)
    os.replace(draft, path)
    _try(address, user, read_credentials(path, known.server_key), wait)
    return pair


# --- parts --------------------------------------------------------------------------------------


def _enrol(address: Address, opens: Credentials, key: str, wait: float) -> None:
    """Have the key written. A broker may not have seen yet that there is an invite, which was made a moment ago."""
    deadline = monotonic() + SEEN_SECONDS
    while True:
        try:
            enrol(address, opens, key, 0, tried(wait))
            return
        except KeyRefused as error:
            if error.code != "unknown-key" or monotonic() > deadline:
                raise
        sleep(AGAIN_SECONDS)


def _try(address: Address, user: str, credentials: Credentials, wait: float) -> None:
    """Whether the broker lets one in. Raises KeyRefused, Refused, Unreachable."""
    connection = Connection(address, user, info(), None, None, credentials)
    connection.start(tried(wait))
    connection.close(CLOSE_SECONDS)


def _add(name: str, invitation: Invitation, user: str, *, is_first: bool) -> None:
    """The broker is in the profile; the first one is the one that is meant."""
    import tomllib

    path = profile.path()
    assert path is not None
    text = path.read_text() if path.exists() else ""
    if is_first:
        text = f"broker = {_quoted(name)}\n{text}"
    told = {
        "address": str(invitation.address),
        "user": user,
        "key": f"{KEYS}/{name}.key",
        "server_key": invitation.server,
    }
    lines = "".join(f"{field} = {_quoted(value)}\n" for field, value in told.items())
    separator = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
    text += f"{separator}[brokers.{_quoted(name)}]\n{lines}"
    try:
        tomllib.loads(text)
    except ValueError:
        by_hand = f"{_quoted(name)} = {{ {lines.strip().replace(chr(10), ', ')} }}"
        raise UsageError(f"{path} has its brokers in one line; put this one in by hand: {by_hand}") from None
    mode = path.stat().st_mode & 0o777 if path.exists() else PROFILE_MODE
    replace_text(path.resolve(), text, mode)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
