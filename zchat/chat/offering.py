"""What Tab offers in a conversation: names that the session knows, and files where a path is wanted.

Docs: docs/chat.md. Tests: tests/chat/test_offering.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from zchat.chat.core.completion import OFFERED_MAX, KnownNames, Offer, offers, path_before, users_first
from zchat.chat.core.conversation import Conversation
from zchat.chat.session import ChatSession


def offered(before: str, session: ChatSession, conversation: Conversation) -> Sequence[Offer]:
    """For the text before the cursor, the best first."""
    typed = path_before(before)
    if typed is not None:
        return [Offer(len(before) - len(typed), path, os.path.basename(path.rstrip("/"))) for path in paths(typed)]
    everything = session.conversations.all
    spoke = [record.user for record in conversation.window.records if record.user]
    others = [user for user, _ in conversation.members.users()]
    others += [name[1:] for name in everything if name.startswith("@")]
    users = users_first(spoke, others, session.client.user)
    return offers(before, KnownNames(users, [name for name in everything if not name.startswith("@")]))


def paths(typed: str) -> list[str]:
    """Files and folders that begin so, as they would be typed; a folder ends with a slash."""
    folder, name = os.path.split(typed)
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            found = [
                os.path.join(folder, entry.name) + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.startswith(name) and (name or not entry.name.startswith("."))
            ]
    except OSError:
        return []
    return sorted(path for path in found if path.isprintable())[:OFFERED_MAX]
