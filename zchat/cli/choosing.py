"""Which messages `listen` and `history` print: the options that choose, and what they mean.

Rules of this file
1. All that is asked for must hold. Of one option that is given several times one value is enough; of headers all.
2. What is not chosen is passed over as if it were printed: it costs a cursor nothing. --count and --last count what is
   printed.
3. It is looked at here, in no other place: the broker sends all of a room.

Docs: docs/cli.md, "Choosing". Tests: tests/cli/test_choosing.py.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer

from zchat.cli import completion, options
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat import Client, Message

PRESENCE = ("join", "leave")
LOOKED_AT = 64  # messages for each that is wanted of --last: so many are read first,
TIMES_MORE = 8  # and so many times more as long as too few of them are chosen
CLOCKS_SECONDS = 1.0  # --until: so much may this machine's clock be ahead of the broker's

Events: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="NAME", help="Only messages of this event; may be repeated. join, leave: too."),
]
Users: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="USER",
        help="Only what this user sent; may be repeated.",
        autocompletion=completion.users,
    ),
]
Headers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--header", "-H", metavar="K[=V]", help="Only messages that have this header; of several, all of them."
    ),
]
Grep: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--grep", metavar="REGEX", help="Only where the body matches; (?i)... ignores case. May be repeated."),
]
Excluded: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="Nothing of these rooms; may be repeated.",
        autocompletion=completion.rooms,
    ),
]
NoSelf: TypeAlias = Annotated[bool, typer.Option("--no-self", help="Leave out what you sent, from whatever session.")]

OnlySealed: TypeAlias = Annotated[
    bool, typer.Option("--sealed", help="Only what came sealed: who has no key can write open messages.")
]


class Until:
    """Up to where: an offset, or a time."""

    def __init__(self, place: options.Place | None, at: datetime | None) -> None:
        self.place = place
        self.offset = None if place is None else place.offset
        self._microseconds = 0 if at is None else int(at.timestamp() * 1_000_000)
        self._deadline = 0.0 if at is None else time.monotonic() + (at - datetime.now(UTC)).total_seconds()

    def is_past(self, message: Message) -> bool:
        """Whether the message lies behind it."""
        return message.time > self._microseconds if self.offset is None else message.offset > self.offset

    @property
    def is_over(self) -> bool:
        """Whether it is a time that has been."""
        return self.offset is None and time.monotonic() >= self._deadline

    @property
    def left(self) -> float | None:
        """Seconds until nothing more is waited for; None for an offset."""
        return None if self.offset is not None else max(0.0, self._deadline + CLOCKS_SECONDS - time.monotonic())


def until(text: str) -> Until:
    """The end in `41`, `41@0ca8f08933b5a3be`, `1h` (ago), or an ISO time."""
    if re.fullmatch(r"\d{1,8}|\d+@\w+", text.strip(), re.ASCII):
        return Until(options.place(text), None)
    try:
        return Until(None, options.moment(text))
    except typer.BadParameter:
        raise typer.BadParameter(f'"{text}" is no time or offset, such as 2h, 2026-09-20T12:00 or 41') from None


End: TypeAlias = Annotated[
    Until | None,
    typer.Option(
        "--until",
        metavar="TIME|OFFSET",
        parser=until,
        help="End after what was sent up to a time, or has an offset up to this.",
    ),
]


class Choosing(NamedTuple):
    """Which messages are printed; see groups.py."""

    event: Events = None
    from_: Users = None
    header: Headers = None
    grep: Grep = None
    exclude: Excluded = None
    no_self: NoSelf = False
    sealed: OnlySealed = False


class Choice:
    """What was asked for, checked. Called with a message it tells whether that is to be printed."""

    def __init__(self, asked: Choosing) -> None:
        self._events = frozenset(asked.event or ())
        self.of_presence = not self._events.isdisjoint(PRESENCE)  # joins and leaves are asked for, so they count
        self._tests: list[Callable[[Message], bool]] = []
        self._no_self = asked.no_self
        if asked.event:
            self._tests.append(lambda message: message.event in self._events)
        if asked.sealed:
            self._tests.append(lambda message: message.sealed)
        if asked.from_:
            self._only_from(asked.from_)
        if asked.header:
            self._only_with(asked.header)
        if asked.grep:
            self._only_matching(asked.grep)
        if asked.exclude:
            self._not_of(asked.exclude)

    def __call__(self, message: Message) -> bool:
        """Whether it is chosen."""
        return all(test(message) for test in self._tests)

    @property
    def is_all(self) -> bool:
        """Whether everything is chosen."""
        return not self._tests

    def begin(self, user: str) -> None:
        """Who listens is known."""
        if self._no_self:
            from zchat.names import user_key

            own = user_key(user)
            self._tests.append(lambda message: user_key(message.user) != own)

    # --- parts ------------------------------------------------------------------------------

    def _only_from(self, users: list[str]) -> None:
        from zchat.names import user_key, user_name

        wanted = {user_key(user_name(user)) for user in users}
        self._tests.append(lambda message: user_key(message.user) in wanted)

    def _only_with(self, headers: list[str]) -> None:
        given = [options.header(text) if re.search("[=:]", text) else (text, None) for text in headers]
        any_value = {name for name, value in given if value is None}
        exact = {(name, value) for name, value in given if value is not None}
        self._tests.append(lambda message: any_value <= message.headers.keys() and exact <= message.headers.items())

    def _only_matching(self, grep: list[str]) -> None:
        searches = []
        for text in grep:
            try:
                searches.append(re.compile(text).search)
            except re.error as error:
                raise UsageError(f"--grep {text}: no regular expression: {error}") from None
        self._tests.append(lambda message: any(search(message.text) for search in searches))

    def _not_of(self, excluded: list[str]) -> None:
        from zchat.names import matcher, pattern_name

        is_excluded = matcher([pattern_name(text) for text in excluded])
        self._tests.append(lambda message: not is_excluded(message.room))


def begin(
    client: Client, patterns: list[str], start: options.Begin, choice: Choice, end: Until | None
) -> options.Begin:
    """Where to begin, once the broker is there: with the last N of those that are chosen. Raises Refused."""
    choice.begin(client.user)
    options.check_log(None if end is None else end.place, client.log_id)
    wanted = start["last"]
    if wanted is None or (choice.is_all and end is None):
        return start
    return options.Begin(
        last=None, since=None, last_per_room=None, after=_after_all_but(wanted, client, patterns, choice, end)
    )


def up_to(end: Until | None, messages: Iterable[Message]) -> Iterable[Message]:
    """Messages of history, which are in the order of offsets and times, up to the end."""
    return messages if end is None else takewhile(lambda message: not end.is_past(message), messages)


def _after_all_but(wanted: int, client: Client, patterns: list[str], choice: Choice, end: Until | None) -> int:
    """The offset above which the last `wanted` are. More and more is read until there are so many."""
    from zchat.wire import OFFSET_MAX

    size, first_before = wanted * LOOKED_AT, -1
    while True:
        size = min(size, OFFSET_MAX)
        found: deque[int] = deque(maxlen=wanted)
        first = read = 0
        start = {"after": 0, "presence": True} if choice.of_presence else {"last": size}
        for message in client.history(*patterns, **start):  # type: ignore[arg-type]
            first, read = first or message.offset, read + 1
            if end is not None and end.is_past(message):
                break
            if choice(message):
                found.append(message.offset)
        else:
            if read < size:
                first_before = first  # that was all
        if len(found) == wanted or choice.of_presence or first == first_before:
            return found[0] - 1 if found else 0
        size, first_before = size * TIMES_MORE, first
