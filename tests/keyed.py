"""A broker with keys, and users who have joined it: what tests of keys have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import BrokerProcess, Result, eventually, zchat
from zchat.key_folder import SERVER, KeyFolder
from zchat.keys import Credentials, Grant
from zchat.sockets.curve import new_pair


@dataclass
class KeyedBroker:
    """A broker, its folder of keys, and a folder in which each user has a profile."""

    broker: BrokerProcess
    keys: KeyFolder
    homes: Path
    read: int = 0  # of what the broker says

    @property
    def address(self) -> str:
        """Where it is."""
        return self.broker.address

    @property
    def server(self) -> str:
        """Its public key."""
        pair = self.keys.pair(SERVER)
        assert pair is not None
        return pair.public

    def env(self, user: str) -> dict[str, str]:
        """With that user's profile."""
        return {"ZCHAT_CONFIG": str(self.homes / user / "zchat.toml"), "ZCHAT_KEYS": str(self.keys.folder)}

    def run(self, user: str, *args: str, stdin: str | None = None) -> Result:
        """`zchat ARGS…`, as that user."""
        return zchat(*args, stdin=stdin, env=self.env(user))

    def join(self, user: str, *options: str) -> str:
        """Have that user invited and joined. Returns the invite."""
        invited = self.run(user, "keys", "invite", user, *options)
        assert invited.status == 0, invited
        invite = invited.stdout.strip()
        joined = self.run(user, "join", invite, "--name", "office")
        assert joined.status == 0, joined
        return invite

    def let_in(self, user: str, gateway: str = "") -> Credentials:
        """A new key that is authorized; whoever uses it waits for `known`."""
        pair = new_pair()
        with self.keys.locked():
            self.keys.set_user(pair.public, Grant(user, gateway))
        eventually(lambda: "event=keys-changed" in self.told_of_late(), "the broker has seen it")
        return Credentials(pair, [self.server])

    def told_of_late(self) -> str:
        """What the broker has said since its file was changed the last time."""
        text = self.broker.stderr()
        new = text[self.read :]
        if "event=keys-changed" in new:
            self.read = len(text)
        return new


def start_keyed(start_broker: Callable[..., BrokerProcess], tmp_path: Path, *args: str, bind: str = "") -> KeyedBroker:
    """One with nobody in it."""
    folder = tmp_path / "keys"
    broker = start_broker("--memory", "--keys", str(folder), *args, bind=bind)
    return KeyedBroker(broker, KeyFolder(folder), tmp_path / "homes")
