"""The file system that a log's folder is on, and whether a log can be there.

Rules of this file
1. A log is at home on a disk of this machine: SQLite's WAL needs memory that all who have the file open share, and
   locks that hold. What is known to be local is listed, so that what nobody has thought of is not taken for it.
2. Refused is only what is known not to work. Everything else is warned of: it may work, and nobody has shown it.

Source: https://sqlite.org/wal.html, proc(5), mount(8). Tests: tests/log/sqlite/test_mounts.py.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zchat.errors import StartError

MOUNTS = Path("/proc/self/mounts")
LOCAL = frozenset(
    {
        # of Linux
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "jfs", "nilfs2", "reiserfs", "ubifs"),
        *("vfat", "exfat", "ntfs3", "hfsplus"),
        *("tmpfs", "ramfs", "rootfs"),
        *("squashfs", "erofs", "iso9660", "udf"),  # a log there can be looked at
        "overlay",  # where what it writes to cannot be seen, as in a container: the kernel wants a local one there
        # of others, whose `mount` also says that it is local
        *("apfs", "hfs", "ufs", "ffs"),
    }
)
# Where another host may write, too, or nothing can be written in the middle of a file. Begins so:
NEVER = ("nfs", "cifs", "smb", "ncp", "afs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcs", "fuse.davfs")
_OCTAL = re.compile(r"\\([0-7]{3})")
_OF_BSD = re.compile(r"(?P<source>.*?) on (?P<point>/.*) \((?P<kind>\w+)(?P<options>.*)\)")


class Mount(NamedTuple):
    """One line of the table of mounts."""

    point: str
    kind: str
    options: str


def file_system(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that the folder is on, as the system names it; empty where that is not known.

    `mounts` is in the form of /proc/self/mounts or of what `mount` prints; where it is None, they are asked.
    """
    table = list(_parsed(_mounts() if mounts is None else mounts))
    found = _mount_of(path, table)
    upper = re.search(r"(?:^|,)upperdir=([^,]*)", found.options) if found.kind == "overlay" else None
    if upper and os.path.isdir(_plain(upper[1])):  # a container sees the path of its host, and nothing there
        below = _mount_of(Path(_plain(upper[1])), table)
        return below.kind if below.kind else found.kind
    return found.kind


def refuse(path: Path) -> None:
    """Raises StartError when a log in that folder would be damaged, or could not be written."""
    kind = file_system(path)
    if kind.startswith(NEVER):
        raise StartError(f"the folder {path} is on a network file system ({kind}): a log needs a local disk")


def doubt(path: Path) -> str:
    """What the operator is to be warned of, in a line; empty where the folder is on a disk of this machine."""
    kind = file_system(path)
    if kind in LOCAL:
        return ""
    named = f"a file system ({kind}) that is" if kind else "a file system that is"
    return f"the folder {path} is on {named} not known to be a local disk: elsewhere a log may be damaged"


def _mounts() -> str:
    try:
        return MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        pass
    try:  # not Linux
        return subprocess.run(["mount"], capture_output=True, timeout=5.0).stdout.decode(errors="surrogateescape")
    except (OSError, subprocess.SubprocessError):
        return ""


def _parsed(mounts: str) -> Iterator[Mount]:
    for line in mounts.splitlines():
        if of_bsd := _OF_BSD.fullmatch(line):
            yield Mount(of_bsd["point"], of_bsd["kind"], of_bsd["options"])
        elif len(fields := line.split(" ")) >= 4:
            yield Mount(_plain(fields[1]), fields[2], fields[3])


def _mount_of(path: Path, table: list[Mount]) -> Mount:
    real = str(path.resolve()).rstrip("/") + "/"
    found, size = Mount("", "", ""), 0
    for mount in table:
        point = mount.point.rstrip("/") + "/"
        if real.startswith(point) and len(point) >= size:  # the last one of a place is the one to be seen
            found, size = mount, len(point)
    return found


def _plain(text: str) -> str:
    """A path whose blanks and the like are written in octal."""
    return _OCTAL.sub(lambda code: chr(int(code[1], 8)), text)
