"""A broker's folder of keys: what is there is read, what changes is seen, and what others may write is not used."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from zchat.core.identity import Enrolment
from zchat.errors import BadKey
from zchat.key_folder import AUTHORIZED, INVITES, NEXT, SERVER, KeyFolder
from zchat.keys import Grant, KeyList, KeyPair

ALICE, BOB, INVITE, NEW = (str(number) * 32 for number in range(10, 14))


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    keys = KeyFolder(tmp_path / "keys")
    keys.make()
    return keys


def test_a_new_folder_lets_in_nobody(keys: KeyFolder) -> None:
    assert keys.read() == KeyList({}, {}) and keys.pair(SERVER) is None
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700


def test_lines_are_added_changed_and_removed_and_comments_stay(keys: KeyFolder) -> None:
    (keys.folder / AUTHORIZED).write_text(f"# of ours\n{ALICE} alice  # the first\n")
    keys.set_user(BOB, Grant("bob"))
    keys.set_user(ALICE, Grant("alice", is_revoked=True))
    assert (keys.folder / AUTHORIZED).read_text() == f"# of ours\n{ALICE} alice revoked  # the first\n{BOB} bob\n"
    keys.set_user(ALICE, None)
    assert keys.read().users == {BOB: Grant("bob")}


def test_an_invite_is_used_up_by_the_key_that_it_brings(keys: KeyFolder) -> None:
    keys.set_invite(INVITE, Grant("carol", expires=2_000_000_000))
    assert stat.S_IMODE((keys.folder / INVITES).stat().st_mode) == 0o600
    grant, kept = Grant("carol"), Grant("carol", expires=2_000_000_000)
    assert keys.enrol(Enrolment(b"", 0, NEW, grant, INVITE, kept, grant, True)) == KeyList({NEW: grant}, {})
    listed = keys.enrol(Enrolment(b"", 0, BOB, grant, NEW, grant, kept, False))
    assert listed.users == {NEW: kept, BOB: grant}


@pytest.mark.parametrize("what", ["revoked", "other gateway", "gone", "the invite is used", "the key is revoked"])
def test_what_changed_before_the_broker_saw_it_brings_no_key(keys: KeyFolder, what: str) -> None:
    held = Grant("alice", "web.*")
    keys.set_user(ALICE, held)
    keys.read()
    changed = {
        "revoked": held._replace(is_revoked=True),
        "other gateway": held._replace(gateway="web.one"),
        "gone": None,
    }
    keys.set_user(ALICE, changed.get(what, held))
    if what == "the key is revoked":
        keys.set_user(NEW, Grant("alice", is_revoked=True))
    before = (keys.folder / AUTHORIZED).read_text()
    by = INVITE if what == "the invite is used" else ALICE
    with pytest.raises(BadKey):
        keys.enrol(Enrolment(b"", 0, NEW, held, by, held, held._replace(expires=2_000_000_000), by == INVITE))
    assert (keys.folder / AUTHORIZED).read_text() == before
    assert [keys.has_changed(), keys.has_changed()] == [False, True], "and the broker still finds out"


def test_invites_that_are_over_go_when_the_next_one_is_made(keys: KeyFolder) -> None:
    keys.set_invite(INVITE, Grant("carol", expires=100))
    keys.set_invite(NEW, Grant("dan", expires=300), now=200.0)
    assert keys.read().invites == {NEW: Grant("dan", expires=300)}


def test_what_changes_is_seen_once(keys: KeyFolder) -> None:
    keys.read()
    assert not keys.has_changed()
    changes: list[Callable[[], object]] = [
        lambda: keys.set_user(ALICE, Grant("alice")),
        lambda: keys.set_user(ALICE, Grant("alicf")),
        lambda: keys.set_invite(INVITE, Grant("carol")),
        lambda: keys.add_pair(NEXT, KeyPair(ALICE, BOB)),
        lambda: os.unlink(keys.folder / AUTHORIZED),
    ]
    for change in changes:
        change()
        assert not keys.has_changed(), "it may be half written"
        assert keys.has_changed() and not keys.has_changed()


def test_a_file_that_is_written_in_place_counts_when_it_is_whole(keys: KeyFolder) -> None:
    keys.set_user(ALICE, Grant("alice"))
    keys.read()
    file = keys.folder / AUTHORIZED
    text = file.read_text()
    file.write_text("")
    assert not keys.has_changed()
    file.write_text(text + f"{BOB} bob\n")
    assert not keys.has_changed() and keys.has_changed()
    assert set(keys.read().users) == {ALICE, BOB}


def test_the_next_key_of_the_broker_becomes_its_own(keys: KeyFolder) -> None:
    keys.add_pair(SERVER, KeyPair(ALICE, BOB))
    keys.add_pair(NEXT, KeyPair(NEW, INVITE))
    assert keys.read().next_server == NEW
    keys.switch()
    assert keys.pair(SERVER) == KeyPair(NEW, INVITE) and keys.read().next_server == ""


@pytest.mark.parametrize(
    ("name", "weak", "cure"), [(AUTHORIZED, 0o664, "chmod go-w"), (INVITES, 0o644, "chmod 600"), (NEXT, 0o644, "chmod")]
)
def test_what_others_may_write_or_read_is_not_used(keys: KeyFolder, name: str, weak: int, cure: str) -> None:
    keys.set_user(ALICE, Grant("alice"))
    keys.set_invite(INVITE, Grant("carol"))
    keys.add_pair(NEXT, KeyPair(ALICE, BOB))
    (keys.folder / name).chmod(weak)
    with pytest.raises(BadKey) as error:
        keys.read()
    assert cure in str(error.value) and str(keys.folder / name) in str(error.value)


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(BadKey, match="chmod 700"):
        KeyFolder(folder).make()


def test_who_changes_something_waits_for_who_does_already(keys: KeyFolder) -> None:
    changed = threading.Event()

    def change() -> None:
        with KeyFolder(keys.folder).locked():
            changed.set()

    with keys.locked():
        thread = threading.Thread(target=change)
        thread.start()
        assert not changed.wait(0.05)
    assert changed.wait(30)
    thread.join()


@pytest.mark.parametrize("name", [AUTHORIZED, INVITES, SERVER])
def test_what_is_no_file_is_told_and_not_waited_for(keys: KeyFolder, name: str) -> None:
    for make in (os.mkdir, os.mkfifo):
        make(keys.folder / name, 0o600)
        with pytest.raises(BadKey, match=f"{name} is no file"):
            keys.pair(name) if name == SERVER else keys.read()
        os.rmdir(keys.folder / name) if make is os.mkdir else os.unlink(keys.folder / name)
