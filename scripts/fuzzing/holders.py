"""Who has a key of a broker that has keys: honest users, who have joined, and one key with which the fuzzers come in.

Rule of this file: the honest join as users do, with `zchat keys invite` and `zchat join`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from trials.processes import environment

from zchat.key_folder import SERVER, KeyFolder
from zchat.keys import Grant
from zchat.sockets.curve import new_pair

FUZZER, GATEWAY = "fuzz-0", "fuzz-*"  # the user of that key, and for whom it speaks too
RUN_SECONDS = 60.0


class Holders:
    """Of one broker."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        self._homes = folder / "homes"

    def prefix(self, user: str) -> tuple[str, ...]:
        """What a command starts with that is that user's."""
        return ("env", f"ZCHAT_CONFIG={self.profile(user)}")

    def profile(self, user: str) -> Path:
        """Where that user's is."""
        return self._homes / user / "zchat.toml"

    def join(self, user: str, address: str, *options: str) -> None:
        """It gets a key, and the broker knows it. The options are those of the invite."""
        invite = self._run(user, "keys", "invite", user, *options, "--keys", str(self.keys), "-b", address)
        self._run(user, "join", invite.strip())

    def fuzzers(self) -> tuple[tuple[str, str], str]:
        """A key that is let in, both halves of it, and the broker's."""
        folder, pair = KeyFolder(self.keys), new_pair()
        with folder.locked():
            folder.set_user(pair.public, Grant(FUZZER, GATEWAY))
        server = folder.pair(SERVER)
        assert server is not None, "the broker has made its key"
        return (pair.public, pair.secret), server.public

    def _run(self, user: str, *args: str) -> str:
        command = [*self.prefix(user), sys.executable, "-m", "zchat", *args]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=RUN_SECONDS)
        assert done.returncode == 0, f"{args[0]}: {done.stderr}"
        return done.stdout
