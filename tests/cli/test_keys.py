"""`zchat keys`: what it makes, shows, lets in and keeps out, and what it refuses."""

from __future__ import annotations

import resource
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMAND, BrokerProcess, environment, eventually, zchat
from tests.keyed import KeyedBroker, start_keyed
from zchat.key_folder import KeyFolder
from zchat.keys import Grant, parse_invitation

KEY = "ab" * 32


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"ZCHAT_CONFIG": str(tmp_path / "mine" / "zchat.toml"), "ZCHAT_KEYS": str(tmp_path / "k")}


def test_a_key_of_ones_own_is_made_once_and_shown(env: dict[str, str], tmp_path: Path) -> None:
    made = zchat("keys", "new", "laptop", env=env)
    assert made.status == 0 and len(made.stdout) == 65 and "authorize" in made.stderr
    file = tmp_path / "mine" / "keys" / "laptop.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and made.stdout.strip() in file.read_text()
    assert zchat("keys", "show", "laptop", env=env).stdout == made.stdout
    listed = zchat("keys", "show", env=env).stdout.splitlines()
    assert [line.split() for line in listed] == [["NAME", "KEY"], ["laptop", made.stdout.strip()]]
    again = zchat("keys", "new", "laptop", env=env)
    assert (again.stdout, again.status) == ("", 2) and str(file) in again.stderr
    file.chmod(0o644)
    weak = zchat("keys", "show", "laptop", env=env)
    assert (weak.stdout, weak.status) == ("", 2) and f"chmod 600 {file}" in weak.stderr


def test_a_full_disk_leaves_no_key_and_names_the_file(env: dict[str, str], tmp_path: Path) -> None:
    def run(**how: Any) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "keys", "new", "laptop"]
        return subprocess.run(command, env=environment(env), capture_output=True, text=True, timeout=60, **how)

    failed = run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)))
    file = tmp_path / "mine" / "keys" / "laptop.key"
    assert (failed.returncode, failed.stderr) == (1, f"zchat: {file}: File too large\n")
    assert not list(file.parent.iterdir())
    assert run().returncode == 0, "it can be made once there is room"


def test_keys_are_let_in_listed_and_kept_out(env: dict[str, str]) -> None:
    folder = KeyFolder(Path(env["ZCHAT_KEYS"]))
    assert zchat("keys", "authorize", KEY, "alice", env=env).status == 0
    assert zchat("keys", "authorize", "cd" * 32, "web", "--gateway", "web.*", env=env).status == 0
    invited = zchat("keys", "invite", "bob", env=env)
    invitation = parse_invitation(invited.stdout)
    assert "bob says zchat join" in invited.stderr
    server = zchat("keys", "server", env=env).stdout.strip()
    assert (invitation.user, invitation.server) == ("bob", server) and invitation.address.port == 5555
    listed = [line.split() for line in zchat("keys", "list", env=env).stdout.splitlines()]
    assert listed[:3] == [["KEY", "USER", "OPTIONS"], [KEY[:16], "alice"], ["cd" * 8, "web", "gateway=web.*"]]
    assert listed[3][1:3] == ["bob", "invite"]
    assert zchat("keys", "revoke", "Alice", env=env).stdout == f"revoked {KEY[:16]} alice\n"
    assert zchat("keys", "revoke", "cdcdcdcd", env=env).stdout == f"revoked {'cd' * 8} web\n"
    assert zchat("keys", "revoke", "bob", env=env).stdout.startswith("taken back: an invite ")
    left = folder.read()
    assert left.users == {
        KEY: Grant("alice", is_revoked=True),
        "cd" * 32: Grant("web", "web.*", is_revoked=True),
    }
    assert left.invites == {}


def test_revoking_who_has_a_sealed_rooms_key_says_how_to_make_another(env: dict[str, str]) -> None:
    for words in (("new", "den"), ("invite", "den", "Alice"), ("new", "other")):
        assert zchat("seal", *words, env=env).status == 0
    for key, user in ((KEY, "alice"), ("cd" * 32, "bob")):
        assert zchat("keys", "authorize", key, user, env=env).status == 0
    revoked = zchat("keys", "revoke", "alice", env=env)
    assert (revoked.status, revoked.stderr.count("\n")) == (0, 1) and "zchat seal rotate den" in revoked.stderr
    assert zchat("keys", "revoke", "bob", env=env).stderr == ""


def test_an_invite_of_a_folder_that_no_broker_has_used_says_so(env: dict[str, str]) -> None:
    told = zchat("keys", "invite", "bob", env=env).stderr.splitlines()
    assert len(told) == 2 and f"once zchat broker --keys {env['ZCHAT_KEYS']} runs" in told[1]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["authorize", KEY], "authorize takes 2 words, and 1 were given"),
        (["list", "x"], "list takes no name"),
        (["authorize", "5ecre7", "alice"], "64 hexadecimal digits"),
        (["authorize", KEY, "no name"], "user"),
        (["invite", "alice", "--gateway", "a b"], "gateway"),
        (["list", "--for", "1d"], "--for does not go with list"),
        (["revoke", "nobody"], "there is no folder "),
        (["list"], "there is no folder "),
        (["server", "switch"], "there is no next key"),
        (["server", "other"], "neither next nor switch"),
        (["show", "none"], "there is no key none"),
        (["show", "../x"], "no name for a file"),
        (["rotate"], "no broker is named"),
        (["rotate", "x"], "no broker of your zchat.toml"),
    ],
)
def test_what_cannot_be_is_a_usage_error_of_one_line(env: dict[str, str], args: list[str], why: str) -> None:
    shown = zchat("keys", *args, env=env)
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 2, 1) and why in shown.stderr
    assert "5ecre7" not in shown.stderr


def test_an_action_that_there_is_not_is_named(env: dict[str, str]) -> None:
    shown = zchat("keys", "frob", env=env)
    assert (shown.stdout, shown.status) == ("", 2) and '"frob" is none of new, show, rotate' in shown.stderr


def test_a_brokers_folder_is_named(tmp_path: Path) -> None:
    shown = zchat("keys", "list")
    assert shown.status == 2 and "--keys DIR" in shown.stderr


# --- with a broker ------------------------------------------------------------------------------


@pytest.fixture
def keyed(start_broker: Callable[..., BrokerProcess], tmp_path: Path) -> KeyedBroker:
    return start_keyed(start_broker, tmp_path)


def test_another_user_and_a_revoked_one_are_told_and_a_listener_ends(
    keyed: KeyedBroker, start_zchat: Callable[..., object]
) -> None:
    keyed.join("alice")
    other = keyed.run("alice", "send", "den", "x", "-u", "bob")
    assert other.status == 4 and "[wrong-user]\nhint: leave --user out" in other.stderr
    listener = start_zchat("listen", "den", "-v", env=keyed.env("alice")).live()  # type: ignore[attr-defined]
    assert keyed.run("alice", "keys", "revoke", "alice").status == 0
    eventually(lambda: listener.process.poll() is not None, "the listener ends")
    ended = listener.end()
    assert ended.status == 4 and ended.stderr.splitlines()[-1].endswith("[revoked-key]")
    refused = keyed.run("alice", "send", "den", "x")
    assert refused.status == 4 and refused.stderr.count("\n") == 1 and "your key is revoked" in refused.stderr


def test_both_sides_take_other_keys_and_nobody_is_asked(keyed: KeyedBroker, tmp_path: Path) -> None:
    keyed.join("alice")
    first = keyed.run("alice", "keys", "show", "office").stdout
    rotated = keyed.run("alice", "keys", "rotate")
    assert rotated.status == 0 and rotated.stdout != first
    assert keyed.run("alice", "keys", "show", "office").stdout == rotated.stdout
    left = keyed.keys.read()
    assert left.users[rotated.stdout.strip()] == Grant("alice") and left.users[first.strip()].expires
    keyed.told_of_late()  # of the invite; what is waited for below is the next key
    following = keyed.run("alice", "keys", "server", "next").stdout.strip()
    eventually(lambda: "keys-changed" in keyed.told_of_late(), "the broker has seen it")
    assert keyed.run("alice", "send", "den", "before").status == 0
    assert keyed.run("alice", "keys", "server", "switch").stdout.strip() == following
    keyed.broker.restart()
    assert following in keyed.broker.stderr()
    for text in ("after", "and again"):
        assert keyed.run("alice", "send", "den", text).status == 0
    servers = (tmp_path / "homes" / "alice" / "keys" / "office.servers").read_text().split()
    assert servers[1:] == [following], "the one before counts no more"
