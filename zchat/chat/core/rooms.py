"""The list of a user's conversations: rooms, then direct messages, each by name; and where to go from one.

Tests: tests/chat/core/test_rooms.py.
"""

from __future__ import annotations

from zchat.chat.core.conversation import Conversation

COUNT_MAX = 99


class Conversations:
    """Those that are open, by name."""

    def __init__(self, me: str) -> None:
        self.all: dict[str, Conversation] = {}
        self._me = me

    def open(self, name: str, read_upto: int | None = None) -> Conversation:
        """The conversation, new or not."""
        found = self.all.get(name)
        if found is None:
            found = self.all[name] = Conversation(name, self._me, read_upto)
            self.all = dict(sorted(self.all.items(), key=lambda item: (item[1].is_direct, item[0])))
        return found

    def close(self, name: str) -> None:
        """It is left."""
        self.all.pop(name, None)

    def beside(self, name: str, step: int) -> str:
        """The name of the one so many further in the list, round and round; `name` where there is no other."""
        names = list(self.all)
        return names[(names.index(name) + step) % len(names)] if name in self.all else next(iter(names), name)

    def next_unread(self, name: str) -> str:
        """Where somebody is spoken to, else where something is unread, from here on; `name` where nothing is."""
        names = list(self.all)
        at = names.index(name) + 1 if name in self.all else 0
        others = [each for each in names[at:] + names[:at] if each != name]
        for count in ("mentions", "unread"):
            for each in others:
                if getattr(self.all[each], count):
                    return each
        return name

    def spoken_to(self) -> int:
        """Mentions in all of them."""
        return sum(conversation.mentions for conversation in self.all.values())


def count_text(conversation: Conversation) -> str:
    """`3`, `99+`; empty: nothing is unread."""
    if conversation.unread > COUNT_MAX or (conversation.unread and conversation.is_more):
        return f"{min(conversation.unread, COUNT_MAX)}+"
    return str(conversation.unread or "")
