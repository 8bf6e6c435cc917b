"""The user's home folder, where something of ours is to be put.

Without one, what is below it would be of the root's, or of wherever we are.

Tests: tests/cli/test_usage.py.
"""

from __future__ import annotations

import os

from zchat.errors import UsageError


def need(instead: str) -> None:
    """Have it in HOME. Raises UsageError where nothing tells it, with what to do `instead`."""
    if os.environ.get("HOME"):
        return
    import pwd

    try:
        os.environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise UsageError(f"HOME is not set: {instead}") from None
