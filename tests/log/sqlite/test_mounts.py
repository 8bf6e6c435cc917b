"""A log is on a disk of this machine: what is known not to be one is refused, what is not known is warned of."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from zchat.errors import StartError
from zchat.log.sqlite import mounts
from zchat.log.sqlite.folder import Folder
from zchat.log.sqlite.log import SqliteLog
from zchat.log.sqlite.mounts import LOCAL, NEVER, doubt, file_system

OF_MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on {point} (apfs, local, journaled, nobrowse)
//anna@nas._smb._tcp.local/share on {point}/share (smbfs, nodev, nosuid, mounted by anna)
"""


@pytest.fixture
def mount_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has the system say that the test's folder is on that type of file system."""

    def mount(kind: str) -> None:
        table = tmp_path.with_name(f"{tmp_path.name}-mounts")
        table.write_text(f"a / ext4 rw 0 0\nsource {tmp_path} {kind} rw 0 0\n")
        monkeypatch.setattr(mounts, "MOUNTS", table)

    return mount


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    deep = tmp_path / "with space" / "deep"
    deep.mkdir(parents=True)
    point = str(tmp_path / "with space").replace(" ", "\\040")
    table = f"a / ext4 rw 0 0\nb {tmp_path} xfs rw 0 0\nc {point} ext3 rw 0 0\nd {point} nfs4 rw 0 0\n"
    assert file_system(deep, table) == "nfs4"
    assert file_system(tmp_path, table) == "xfs"
    assert file_system(tmp_path / "with", table) == "xfs"
    assert file_system(Path("/"), table) == "ext4"


def test_what_mount_prints_elsewhere_is_understood(tmp_path: Path) -> None:
    table = OF_MACOS.format(point=tmp_path)
    assert file_system(tmp_path, table) == "apfs"
    assert file_system(tmp_path / "share" / "data", table) == "smbfs"


def test_without_proc_mount_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mount"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{OF_MACOS.format(point=tmp_path)}END\n")
    program.chmod(0o700)
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (file_system(tmp_path), doubt(tmp_path)) == ("apfs", "")
    monkeypatch.setenv("PATH", "")
    assert file_system(tmp_path) == "" and "is on a file system that is not known" in doubt(tmp_path)


def test_the_file_system_of_a_real_folder_is_known(mounted: Path) -> None:
    assert file_system(mounted / "not there yet") == "tmpfs"


def test_an_overlay_is_what_it_writes_to(mounted: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (mounted / name).mkdir()
    options = f"lowerdir={mounted}/lower,upperdir={mounted}/upper,workdir={mounted}/work"
    done = subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", mounted / "merged"], capture_output=True)
    if done.returncode:
        pytest.skip(f"no overlay can be mounted here: {done.stderr.decode().strip()}")
    try:
        assert file_system(mounted / "merged") == "tmpfs"
        Folder(mounted / "merged" / "data").close()
    finally:
        subprocess.run(["umount", "-l", mounted / "merged"], check=True)


@pytest.mark.parametrize(("below", "kind"), [("9p", "9p"), ("ext4", "ext4")])
def test_an_overlay_on_what_is_not_known_is_not_known(tmp_path: Path, below: str, kind: str) -> None:
    (tmp_path / "upper").mkdir()
    table = f"a {tmp_path} {below} rw 0 0\noverlay {tmp_path}/m overlay rw,upperdir={tmp_path}/upper,workdir=/w 0 0\n"
    assert file_system(tmp_path / "m", table) == kind


def test_an_overlay_whose_upper_folder_is_the_hosts_is_local(tmp_path: Path) -> None:
    assert file_system(tmp_path, "overlay / overlay rw,lowerdir=/l,upperdir=/of/the/host,workdir=/w 0 0\n") == "overlay"
    assert "overlay" in LOCAL


@pytest.mark.parametrize("kind", [*NEVER, "nfs4", "smb3"])
def test_what_does_not_work_is_refused(tmp_path: Path, mount_there: Callable[[str], None], kind: str) -> None:
    mount_there(kind)
    with pytest.raises(StartError, match=r"network file system .*: a log needs a local disk"):
        Folder(tmp_path)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "f2fs", "zfs", "tmpfs", "overlay", "apfs"])
def test_of_a_local_disk_nothing_is_said(tmp_path: Path, mount_there: Callable[[str], None], kind: str) -> None:
    mount_there(kind)
    told: list[str] = []
    SqliteLog(tmp_path, tell=told.append).close()
    assert told == []


@pytest.mark.parametrize(
    "kind",
    [
        *("9p", "virtiofs", "vboxsf", "drvfs", "fuse.grpcfuse", "fakeowner", "fuse.vmhgfs-fuse", "prl_fs"),
        *("lustre", "gpfs", "ocfs2", "gfs2", "ceph", "fuse.ceph", "fuse.glusterfs", "fuse.juicefs"),
        *("fuse", "fuseblk", "fuse.mount-s3", "of.tomorrow"),
    ],
)
def test_what_is_not_known_to_be_local_is_warned_of(
    tmp_path: Path, mount_there: Callable[[str], None], kind: str
) -> None:
    mount_there(kind)
    told: list[str] = []
    SqliteLog(tmp_path, tell=told.append).close()
    where = f"the folder {tmp_path} is on a file system ({kind}) that is not known to be a local disk"
    assert told == [f"warning: {where}: elsewhere a log may be damaged"]
