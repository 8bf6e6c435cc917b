"""`zchat tokens`: made once, listed without telling them, taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import zchat
from zchat.tokens import TokenFile


def test_a_token_is_shown_once_and_taken_back_by_its_name(tmp_path: Path) -> None:
    at = ("--tokens", str(tmp_path / "tokens"))
    made = zchat("tokens", "new", "Alice", *at, "--for", "1d")
    assert made.status == 0 and made.stdout.startswith("zt_") and "shown this once" in made.stderr
    link = zchat("tokens", "new", "bob", *at, "--url", "https://chat.example/").stdout
    assert link.startswith("https://chat.example/login#zt_")
    listed = zchat("tokens", "list", *at)
    assert [line.split()[1] for line in listed.stdout.splitlines()[1:]] == ["Alice", "bob"]
    facts = [json.loads(line) for line in zchat("tokens", "list", "--json", *at).stdout.splitlines()]
    assert [(one["user"], one["good"]) for one in facts] == [("Alice", True), ("bob", True)]
    assert made.stdout.strip() not in listed.stdout
    gone = zchat("tokens", "revoke", facts[0]["token"], env={"ZCHAT_TOKENS": at[1]})
    assert gone.status == 0 and f"{facts[0]['token']} of Alice" in gone.stderr
    assert TokenFile(Path(at[1])).load().open(made.stdout.strip()) is None
    again = zchat("tokens", "revoke", "alice", *at)
    assert again.status == 1 and "no token of alice" in again.stderr


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("list",), "--tokens FILE"),
        (("new", "--tokens", "x"), "needs a NAME"),
        (("list", "bob", "--tokens", "x"), "takes no NAME"),
        (("new", "a/b", "--tokens", "x"), "a/b"),
        (("new", "bob", "--tokens", "x", "--for", "0s"), "more than 0"),
        (("new", "bob", "--tokens", "x", "--url", "chat.example"), "https://"),
        (("revoke", "bob", "--tokens", "x", "--for", "1d"), "new only"),
        (("new", "bob", "--tokens", "x", "--json"), "list only"),
        (("give", "bob", "--tokens", "x"), "none of"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(
    args: tuple[str, ...], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = zchat("tokens", *args)
    assert (done.stdout, done.status) == ("", 2) and word in done.stderr
    assert not any(tmp_path.iterdir()), "nothing was made"
