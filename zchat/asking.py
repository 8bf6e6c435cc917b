"""What a program asks the broker, and what is stored: the part of the blocking client that changes nothing.

Rules of this file: it holds no protocol. What takes several requests is steps of the core.
Spec: docs/client.md. Tests: tests/test_client.py, tests/test_latest.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal, overload

from zchat import wire
from zchat.arguments import (
    SEARCH_LAST,
    cursor_of,
    due_of,
    flag_of,
    function_of,
    history_of,
    lasting,
    lasts_of,
    listed_of,
    number_of,
    purge_of,
    scheduled_of,
    search_of,
    start_of,
    text_of,
    who_of,
)
from zchat.core.answers import AllReplies, given
from zchat.core.deliveries import Delivery
from zchat.core.gaps import Notice
from zchat.core.steps import Ask, CallServers, PlaceCursor, all_scheduled, begin, done
from zchat.errors import TimedOut
from zchat.expiry import Life
from zchat.message import Message, RoomState, alive, messages, states_of
from zchat.names import inbox
from zchat.sending import SendingClient
from zchat.sockets.clock import REQUEST_SECONDS, Deadline, waitable
from zchat.times import Since
from zchat.work import call_of, groups_of, replies_of, set_group_of

if TYPE_CHECKING:  # a plain `send` pays for none of them
    from zchat.core.history import History
    from zchat.service import Handler, Service


class Asking(SendingClient):
    """A session with a broker: what it asks."""

    def history(
        self,
        *patterns: str,
        after: int | None = None,
        last: int | None = None,
        since: Since | None = None,
        last_per_room: int | None = None,
        limit: int | None = None,
        presence: bool = False,
        on_notice: Callable[[Notice], None] | None = None,
        timeout: float | None = None,
    ) -> Iterator[Message]:
        """What is stored, up to now, in offset order; all of it when no start is named, at most `limit` messages.

        `on_notice` is told of gaps, in order with the messages. Raises TimedOut when it is not all there within
        `timeout` seconds, counted from the first message that is asked for; WireError where the broker makes no sense.
        """
        history = history_of(patterns, start_of(after, last, since, last_per_room), 0 if last == 0 else limit, presence)
        return self._read(history, function_of("on_notice", on_notice), waitable(timeout))

    def search(
        self,
        words: str,
        *patterns: str,
        last: int = SEARCH_LAST,
        user: str | None = None,
        since: Since | None = None,
        timeout: float | None = None,
    ) -> list[Message]:
        """The last messages that have all these words, newest first; without rooms in all rooms and the own inbox.

        Neither case nor accents matter; `deploy*` is the beginning of a word, `"no space left"` words one after the
        other. `user` wrote them. Raises UsageError, Refused, TimedOut.
        """
        from zchat.core.search import searching  # only who searches pays for it

        asked = search_of(words, patterns, inbox(self.user), last, user, since)
        found = self._connection.run(searching(asked), self._deadline("search", timeout))
        return alive(found, self._connection.broker_time)

    # --- asking -----------------------------------------------------------------------------

    def who(self, room: str | None = None, *, lag: bool = False, timeout: float | None = None) -> list[wire.Member]:
        """The sessions in a room; without one, all sessions, and the users who have gone with when.

        `lag` also tells how far each one's listeners are behind.
        """
        return self._connection.ask(who_of(room, lag), wire.Present, self._deadline("who", timeout)).members

    def limits_met(self, *, timeout: float | None = None) -> dict[str, int]:
        """How often each limit was met since the broker was started, by anybody; names as in docs/settings.md."""
        return self._connection.ask(who_of(inbox(self.user), False), wire.Present, self._deadline("met", timeout)).met

    @overload
    def rooms(self, *patterns: str, last: Literal[False] = False, timeout: float | None = None) -> list[wire.Room]: ...

    @overload
    def rooms(self, *patterns: str, last: Literal[True], timeout: float | None = None) -> list[RoomState]: ...

    def rooms(
        self, *patterns: str, last: bool = False, timeout: float | None = None
    ) -> list[wire.Room] | list[RoomState]:
        """The rooms that have a record or a member, and match a pattern where there is one.

        With `last` each has its last message, too. Raises BadName, TimedOut.
        """
        is_asked, with_last = listed_of(patterns), flag_of("last", last)
        deadline = self._deadline("rooms", timeout)
        answer = self._connection.ask(wire.Rooms(0), wire.RoomsAre, deadline)
        found = sorted(filter(is_asked, answer.rooms), key=lambda room: room.name)
        if not with_last:
            return found
        return states_of(found, self._read(lasts_of(patterns, self.user), None, deadline.left()))

    def cursors(self, *, timeout: float | None = None) -> list[wire.Cursor]:
        """The cursors that the broker keeps for this user, by name."""
        return self._connection.ask(wire.Cursors(0), wire.CursorsAre, self._deadline("cursors", timeout)).cursors

    def set_cursor(self, name: str, offset: int, *, timeout: float | None = None) -> None:
        """Keep a cursor: `listen(resume=name)` goes on after that offset. Raises BadName, UsageError, Refused."""
        deadline = self._deadline("set_cursor", timeout)
        self._connection.run(done(PlaceCursor(cursor_of(name), number_of("offset", offset))), deadline)

    def drop_cursor(self, name: str, *, timeout: float | None = None) -> None:
        """Keep that cursor no longer; none of that name is no error. Raises BadName."""
        deadline = self._deadline("drop_cursor", timeout)
        self._connection.run(done(Ask(wire.DropCursor(0, cursor_of(name)))), deadline)

    def purge(
        self, room: str, *, upto: int | None = None, before: Since | None = None, timeout: float | None = None
    ) -> None:
        """Remove what a room has, for everybody: all, or up to an offset, or what is older than a time.

        It has begun when this returns; whoever reads there later is told of a gap. Raises BadName, UsageError, Refused.
        """
        steps = purge_of(room, upto, before)
        self._connection.run(steps, self._deadline("purge", timeout))

    # --- later ------------------------------------------------------------------------------

    def schedule(
        self,
        room: str,
        body: bytes | str,
        *,
        at: float | datetime | str | None = None,
        delay: float | timedelta | str | None = None,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
        expire: Life | None = None,
        timeout: float | None = None,
    ) -> str:
        """Have a message sent later by the broker: `at` a time, or after a `delay`. Returns its id, once it is stored.

        Its life, if it has an end, begins when it is sent.
        Raises BadName, TooLarge, UsageError, Refused; and TimedOut: then it may be scheduled.
        """
        message = scheduled_of(room, body, event, lasting(headers, expire), due_of(at, delay), self._connection.sealed)
        self._connection.run(done(Ask(message)), self._deadline("schedule", timeout))
        return message.id

    def scheduled(self, *, timeout: float | None = None) -> list[wire.ScheduledMessage]:
        """What this user has scheduled, the next due first."""
        return self._connection.run(all_scheduled(), self._deadline("scheduled", timeout))

    def cancel(self, id: str, *, timeout: float | None = None) -> None:
        """Take back what is scheduled under that id; where there is none, or it was sent, nothing happens."""
        self._connection.run(done(Ask(wire.Cancel(0, text_of("id", id)))), self._deadline("cancel", timeout))

    @overload
    def request(  # type: ignore[overload-overlap]
        self,
        room: str,
        body: bytes | str,
        *,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
        timeout: float = REQUEST_SECONDS,
        replies: Literal[1] = 1,
        retry: bool = False,
    ) -> Message: ...

    @overload
    def request(
        self,
        room: str,
        body: bytes | str,
        *,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
        timeout: float = REQUEST_SECONDS,
        replies: int,
        retry: bool = False,
    ) -> list[Message]: ...

    def request(
        self,
        room: str,
        body: bytes | str,
        *,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
        timeout: float = REQUEST_SECONDS,
        replies: int = 1,
        retry: bool = False,
    ) -> Message | list[Message]:
        """Ask who serves a room, and wait for the reply; with more `replies` for those of so many servers, a list.

        Nothing is stored. Where a server dies before it replied, another is asked if `retry` says that it may be done
        twice. Raises Refused (`no-server`: nobody serves there; `no-answer`: who was asked has gone; `server-failed`),
        TimedOut where none came; of several it gives those that came. BadName, UsageError, TooLarge.
        """
        seconds = waitable(timeout)
        call = call_of(room, body, event, headers, seconds, replies, retry, self._connection.sealed)
        deadline = self._deadline("reply", seconds)
        try:
            answer = self._connection.answer(partial(begin, CallServers(call)), deadline)
            came = given(answer, AllReplies).replies
        except TimedOut:
            came = self._connection.do(lambda core, now: core.calling.forget(core, call.request))
            if not came:
                raise
        messages = replies_of(call, came, self._connection.opens)
        return messages[0] if replies == 1 else messages

    def serve(
        self,
        room: str,
        handler: Handler,
        *,
        group: str | None = None,
        max_in_flight: int = 16,
        timeout: float | None = None,
    ) -> Service:
        """Answer the requests to a room: what `handler` returns for each (bytes, text, a Message or None) is the reply.

        It is called one request after the other, in a thread of its own; what it raises is told to who asked. So many
        requests wait for it at most as `max_in_flight` says: then others are asked. Of several `replies` each `group`
        gives one first. Raises Refused, TimedOut, BadName, UsageError.
        """
        from zchat.service import Service  # only who serves pays for it

        service = Service(self._connection, room, handler, group, max_in_flight)
        return service.start(self._deadline("serve", timeout))

    def groups(
        self, room: str | None = None, group: str | None = None, *, timeout: float | None = None
    ) -> list[wire.Group]:
        """The groups that share work: of all rooms, of one, or one group with what is pending of it.

        Raises BadName, UsageError, TimedOut.
        """
        question, deadline = groups_of(room, group), self._deadline("groups", timeout)
        found = (self._connection.ask(question, wire.GroupsAre, deadline)).groups
        return sorted(found, key=lambda each: (each.room, each.name))

    def set_group(self, room: str, group: str, offset: int, *, timeout: float | None = None) -> None:
        """Have a group go on after that offset: what is above is to be done. One that is new begins there.

        Raises BadName, UsageError, Refused.
        """
        deadline = self._deadline("set_group", timeout)
        self._connection.run(done(Ask(set_group_of(room, group, number_of("offset", offset)))), deadline)

    def drop_group(self, room: str, group: str, *, timeout: float | None = None) -> None:
        """Remove a group that has no members; none of that name is no error. Raises BadName, Refused."""
        deadline = self._deadline("drop_group", timeout)
        self._connection.run(done(Ask(set_group_of(room, group, None))), deadline)

    # --- parts ------------------------------------------------------------------------------

    def _deadline(self, what: str, timeout: float | None) -> Deadline:
        return self._connection.deadline(what, waitable(timeout))

    def _read(
        self, history: History, on_notice: Callable[[Notice], None] | None, timeout: float | None
    ) -> Iterator[Message]:
        in_all = None if timeout is None else self._deadline("history", timeout)
        while history.request is not None:
            asked, deadline = self._connection.welcome, in_all or self._deadline("history", None)  # for each page
            answer = self._connection.answer(partial(begin, Ask(history.request)), deadline)
            for item in history.take(answer, asked, self._connection.welcome):
                if isinstance(item, Delivery):
                    now, opens = self._connection.broker_time, self._connection.opens
                    yield from messages(item.room, item.batch, item.first, last=item.last, now=now, opens=opens)
                elif on_notice is not None:
                    on_notice(item)
