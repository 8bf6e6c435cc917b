"""Which listeners what comes on a topic is for, and which topics are subscribed to for them.

    listeners --add, remove--> rooms, patterns --of--> those of a topic
                               topics -------take----> the SUB

Rules of this file
1. A listener of a room is found by the room, one of a pattern by the pattern: nobody asks each of them.
2. A topic is subscribed to once, and given up with its last listener; a direct one (ways.py) not on the SUB.
3. What is kept of topics that came is bounded: their names are the broker's.

Tests: tests/core/test_routes.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from zchat import wire
from zchat.core.answers import is_name
from zchat.core.ways import is_direct
from zchat.errors import WireError
from zchat.names import is_pattern, matcher, room_of, topic_prefix

if TYPE_CHECKING:
    from zchat.core.listener import Listener

TOPICS_CACHED_MAX = 10_000

ListenerSet: TypeAlias = "dict[Listener, None]"
Name = tuple[bool, str]  # whether it is of joins and leaves, and the room or pattern


class Routes:
    """Of all listeners of a connection."""

    def __init__(self) -> None:
        self._topics: dict[bytes, int] = {}  # topic -> names of listeners that have it
        self._rooms: dict[Name, ListenerSet] = {}
        self._patterns: dict[Name, tuple[Callable[[str], bool], ListenerSet]] = {}
        self._known: dict[bytes, tuple[str, list[ListenerSet]]] = {}  # topics that came
        self.subscriptions: list[tuple[bool, bytes]] = []

    def add(self, listener: Listener) -> None:
        """It listens from now on."""
        for name in _names(listener):
            self._of(name)[listener] = None
            if is_direct(topic := _topic(name)):
                continue
            count = self._topics[topic] = self._topics.get(topic, 0) + 1
            if count == 1:
                self.subscriptions.append((True, topic))

    def remove(self, listener: Listener) -> None:
        """It does not any more."""
        for name in _names(listener):
            if not is_direct(topic := _topic(name)):
                self._topics[topic] -= 1
                if not self._topics[topic]:
                    del self._topics[topic]
                    self.subscriptions.append((False, topic))
            listeners = self._of(name)
            listeners.pop(listener, None)
            if not listeners:
                self._rooms.pop(name, None)
                self._patterns.pop(name, None)
                self._changed(name)

    def take(self) -> list[tuple[bool, bytes]]:
        """(subscribe or unsubscribe, topic), in order."""
        subscriptions, self.subscriptions = self.subscriptions, []
        return subscriptions

    def direct_of(self, listener: Listener, *, all_may_be: bool = False) -> frozenset[bytes]:
        """Its topics that come on the DEALER instead, or may come there too, where all may be direct."""
        return frozenset(topic for name in _names(listener) if is_direct(topic := _topic(name)) or all_may_be)

    def of(self, topic: bytes) -> tuple[str, ListenerSet]:
        """The room of a topic, and who listens to it."""
        room, found = self._known.get(topic) or self._find(topic)
        if len(found) == 1:
            return room, found[0]
        return room, {listener: None for listeners in found for listener in listeners}

    # --- parts ------------------------------------------------------------------------------

    def _of(self, name: Name) -> ListenerSet:
        if is_pattern(name[1]):
            if name not in self._patterns:
                self._patterns[name] = matcher([name[1]]), {}
                self._changed(name)
            return self._patterns[name][1]
        if name not in self._rooms:
            self._rooms[name] = {}
            self._changed(name)
        return self._rooms[name]

    def _changed(self, name: Name) -> None:
        """What is known of topics for which that name stands is not right any more."""
        if is_pattern(name[1]):
            self._known.clear()
        else:
            self._known.pop(_topic(name), None)

    def _find(self, topic: bytes) -> tuple[str, list[ListenerSet]]:
        of_presence = topic.startswith(wire.PRESENCE_TOPIC)
        try:
            room = room_of(topic[len(wire.PRESENCE_TOPIC) :] if of_presence else topic)
        except WireError:
            return "", []  # a newer broker's topic
        if not is_name(room):
            return "", []
        exact = self._rooms.get((of_presence, room))
        found = [exact] if exact is not None else []
        patterns = self._patterns.items()
        found += [listeners for (of, _), (fits, listeners) in patterns if of == of_presence and fits(room)]
        if len(self._known) > TOPICS_CACHED_MAX:
            self._known.clear()
        self._known[topic] = room, found
        return room, found


def _names(listener: Listener) -> list[Name]:
    names = dict.fromkeys(listener.patterns)
    return [(of, name) for of in (False, True) if listener.ordering.presence or not of for name in names]


def _topic(name: Name) -> bytes:
    topic = topic_prefix(name[1])
    return wire.PRESENCE_TOPIC + topic if name[0] else topic
