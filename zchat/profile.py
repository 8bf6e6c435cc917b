"""What a user has set once for all programs: brokers by name, which of them is meant, and who he is.

    broker = "office"                                   # a name below, or an address
    user = "alice"

    [brokers]
    home = { address = "nas.local", user = "al" }
    office = { address = "chat.example:5555", user = "alice", key = "keys/office.key", server_key = "0f3a…" }

    [chat]                                              # of `zchat chat`
    theme = "light"

Rules of this file
1. An argument or option goes before the environment, that before the file, that before the default.
2. The file is read when somebody connects. Where there is none, nothing is: it costs a look at the disk.
3. What is not understood is an error that names it: a word that is misspelt would mean nothing, in silence.

Docs: docs/client.md, "A profile". Tests: tests/test_profile.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zchat.address import parse
from zchat.errors import BadAddress, UsageError

if TYPE_CHECKING:
    from zchat.keys import Credentials

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"
THEMES = ("dark", "light", "contrast")
NOTIFIES = ("off", "bell", "osc9", "osc777")


class KnownBroker(NamedTuple):
    """A broker of the file."""

    address: str
    user: str | None = None  # who one is there
    key: str | None = None  # the file of one's key, from the profile's folder on
    server_key: str | None = None  # which the broker has


class ChatProfile(NamedTuple):
    """How `zchat chat` looks and behaves."""

    theme: str = "dark"  # of THEMES
    notify: str = "off"  # of NOTIFIES: when somebody speaks to the user
    downloads: str = ""  # a folder for /save; empty: the one where it was started


class Profile(NamedTuple):
    """What the file says."""

    broker: str | None = None
    user: str | None = None
    brokers: dict[str, KnownBroker] = {}
    chat: ChatProfile = ChatProfile()


class Meant(NamedTuple):
    """Which broker is meant, and who one is there as far as that is said."""

    address: str
    user: str | None
    credentials: Credentials | None = None  # where one has a key


def path() -> Path | None:
    """Where the file would be; None where nobody can tell."""
    if given := os.environ.get("ZCHAT_CONFIG"):
        return Path(given)
    folder = os.environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if (home := os.environ.get("HOME")) else "")
    return Path(folder, "zchat", "zchat.toml") if folder else None


def ring_folder() -> Path | None:
    """Where the keys of sealed rooms are: a folder beside the file. None where nobody can tell."""
    beside = path()
    return None if beside is None else beside.parent / "rooms"


def read() -> Profile:
    """The file; nothing where there is none. Raises UsageError."""
    where = path()
    if where is None:
        return Profile()
    try:
        content = where.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Profile()
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from None
    import tomllib  # 5 ms, for whoever has a file

    try:
        return _profile(tomllib.loads(content.decode("utf-8-sig")))  # some editors begin a file with a mark of bytes
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: {error}") from None


def meant(address: str | None, user: str | None) -> Meant:
    """What an address or a name of a broker stands for, and a user; None is what nobody has said. Raises UsageError."""
    profile = read()
    named = address if address is not None else os.environ.get("ZCHAT_BROKER") or profile.broker or DEFAULT_ADDRESS
    broker = _named(profile, named) if isinstance(named, str) else KnownBroker(named)
    if user is None:
        user = os.environ.get("ZCHAT_USER") or broker.user or profile.user
    return Meant(broker.address, user, _credentials(broker) if broker.key else None)


def check_chat(chat: ChatProfile) -> ChatProfile:
    """The same, if its words are known. Raises UsageError."""
    if chat.theme not in THEMES:
        raise UsageError(f"theme {chat.theme} is none of {', '.join(THEMES)}")
    if chat.notify not in NOTIFIES:
        raise UsageError(f"notify {chat.notify} is none of {', '.join(NOTIFIES)}")
    return chat


# --- parts --------------------------------------------------------------------------------------


def _profile(found: dict[str, Any]) -> Profile:
    if unknown := found.keys() - {"broker", "user", "brokers", "chat"}:
        raise UsageError(f"{min(unknown)} is none of broker, user, brokers and chat")
    brokers = found.get("brokers", {})
    if not isinstance(brokers, dict):
        raise UsageError("brokers is a table of names")
    known = {name: _broker(name, each) for name, each in brokers.items()}
    return Profile(_text(found, "broker"), _text(found, "user"), known, _chat(found.get("chat", {})))


def _chat(found: object) -> ChatProfile:
    if not isinstance(found, dict) or found.keys() - set(ChatProfile._fields):
        raise UsageError(f"chat is a table of {', '.join(ChatProfile._fields)}")
    return check_chat(ChatProfile(**{name: _text(found, name) or "" for name in found}))


def _broker(name: str, found: object) -> KnownBroker:
    if isinstance(found, str):
        return KnownBroker(found)
    if not isinstance(found, dict) or found.keys() - {"address", "user", "key", "server_key"} or "address" not in found:
        raise UsageError(f"brokers.{name} is an address, or a table of address, user, key and server_key")
    if ("key" in found) != ("server_key" in found):
        raise UsageError(f"brokers.{name} has one of key and server_key: one's key is for the broker that has that one")
    return KnownBroker(
        _text(found, "address") or "", _text(found, "user"), _text(found, "key"), _text(found, "server_key")
    )


def _text(found: dict[str, Any], name: str) -> str | None:
    value = found.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{name} is text")
    return value


def _named(profile: Profile, named: str) -> KnownBroker:
    """The broker of that name; or that has that address, if one of those with a key has: it lets in nobody without."""
    if named in profile.brokers:
        return profile.brokers[named]
    with_keys = [broker for broker in profile.brokers.values() if broker.key]
    try:
        where = parse(named) if with_keys else None
        return next((broker for broker in with_keys if parse(broker.address) == where), KnownBroker(named))
    except BadAddress:
        return KnownBroker(named)


def _credentials(broker: KnownBroker) -> Credentials:
    """What one proves oneself with there. Raises UsageError."""
    from zchat.key_files import read_credentials  # only who has a key

    where = path()
    assert where is not None and broker.key is not None and broker.server_key is not None, "checked"
    try:
        return read_credentials(where.parent / os.path.expanduser(broker.key), broker.server_key)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}: the key for {broker.address} is not there") from None
