"""A user's secret key, and the broker's keys that he knows, in files (private_files.py).

Docs: docs/operating.md, "Keys". Tests: tests/test_key_files.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from zchat.keys import Credentials, KeyPair, checked_key, pair_text, parse_pair
from zchat.private_files import OTHERS_READ, OTHERS_WRITE, SECRET_MODE, make_text, read_text, replace_text


def read_pair(path: Path) -> KeyPair:
    """A secret key's file. Raises BadKey, FileNotFoundError, OSError."""
    return parse_pair(read_text(path, refused=OTHERS_READ), str(path))


def read_credentials(path: Path, server_key: str) -> Credentials:
    """A user's key, and the broker's: as it is pinned, or what has become of that. Raises BadKey, OSError."""
    pinned = checked_key(server_key, "server_key")
    servers = [pinned]
    try:
        lines = read_text(servers_file(path), refused=OTHERS_WRITE).split()
        if lines[:1] == [pinned]:  # else another was pinned since
            servers = [checked_key(line, str(servers_file(path))) for line in lines[1:]] or servers
    except FileNotFoundError:
        pass
    return Credentials(read_pair(path), servers, partial(_keep_servers, path, pinned))


def servers_file(path: Path) -> Path:
    """Where the keys of the broker are kept that followed the pinned one; beside the key that is for it."""
    return path.with_suffix(".servers")


def _keep_servers(path: Path, pinned: str, servers: Sequence[str]) -> None:
    """The pinned one, then those that count. What cannot be written is told again by the broker."""
    try:
        replace_text(servers_file(path), "".join(f"{key}\n" for key in (pinned, *servers)), SECRET_MODE)
    except OSError:
        pass


def write_pair(path: Path, pair: KeyPair, comment: str) -> None:
    """A new secret key. Raises FileExistsError, OSError."""
    make_text(path, pair_text(pair, comment))
