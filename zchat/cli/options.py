"""Options that several commands share, and how their values are read. Each is declared here once."""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeAlias, TypedDict, TypeVar

import typer

from zchat import times
from zchat.cli import completion, home, paths
from zchat.errors import Refused, UsageError

Action = TypeVar("Action", bound=StrEnum)

DEFAULT_BIND = "tcp://127.0.0.1:5555"
WAIT_SECONDS = 5
TRY_SECONDS = 1.0  # --wait 0 is one try, and its acks are waited for as long

_HEADER = re.compile(r"([^=:]*)(?:=|: ?)(.*)", re.S)
_PLACE = re.compile(r"(\d{1,30})(?:@(\w+))?", re.ASCII)


def duration(value: str | float) -> float:
    """Seconds in `5`, `500ms`, `2h`; a default comes as a number."""
    try:
        return times.duration(str(value))
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


def waiting(value: str | float) -> float:
    """The seconds of --wait."""
    return duration(value) or TRY_SECONDS


def moment(text: str) -> datetime:
    """The time in `2h` (ago), `all`, `2026-09-20`, `2026-09-20T12:00` (local), `…Z`, or seconds since 1970."""
    try:
        return times.moment(text, datetime.now(UTC))
    except UsageError as error:
        raise typer.BadParameter(str(error)) from None


def header(text: str) -> tuple[str, str]:
    """Name and value in `K=V` and `K: V`, whichever sign comes first."""
    found = _HEADER.fullmatch(text)
    name, value = (found[1], found[2]) if found else ("", "")
    if not name:
        raise UsageError(f'header "{text}": no name and value, such as priority=high')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"header {name}: not UTF-8 text") from None
    return name, value


def action(kind: type[Action]) -> Any:
    """The first argument of a command that does one of several things."""

    def chosen(text: str) -> Action:
        try:
            return kind(text)
        except ValueError:  # Typer's own text has tabs and newlines in it, which one line of an error shows as such
            raise typer.BadParameter(f'"{text}" is none of {", ".join(kind)}') from None

    return typer.Argument(
        parser=chosen, autocompletion=lambda: list(map(str, kind)), metavar="|".join(kind), help="What to do."
    )


class Place(NamedTuple):
    """An offset, and the log that it is of where that was said."""

    offset: int
    log_id: str = ""


def place(text: str) -> Place:
    """What `7` and `7@0ca8f08933b5a3be` name."""
    found = _PLACE.fullmatch(text.strip())
    if not found:
        raise typer.BadParameter(f'"{text}" is no offset, such as 0, 7 or 7@0ca8f08933b5a3be')
    return Place(int(found[1]), found[2] or "")


def check_log(given: Place | None, log_id: str) -> None:
    """Refuse an offset that is of another log than the broker's."""
    if given is not None and given.log_id not in ("", log_id):
        raise Refused("other-log", f"offset {given.offset} is of log {given.log_id}, the broker has log {log_id}")


KeysFolder: TypeAlias = Annotated[
    Path | None,
    paths.option(
        "--keys",
        envvar="ZCHAT_KEYS",
        metavar="DIR",
        show_envvar=True,
        help="Folder of the broker's keys: who has none is not let in.",
    ),
]
BrokerAddress: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--broker",
        "-b",
        envvar="ZCHAT_BROKER",
        metavar="ADDRESS",
        show_envvar=True,
        help="Address of the broker, or its name in your zchat.toml; else this machine's.",
        autocompletion=completion.brokers,
    ),
]
User: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--user",
        "-u",
        envvar="ZCHAT_USER",
        metavar="NAME",
        show_envvar=True,
        help="Who you are; else as zchat.toml says, or your login name.",
    ),
]
Wait: TypeAlias = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", parser=waiting, help="How long to wait for the broker.")
]
Patterns: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="PATTERN...",
        help="Rooms; * stands for one segment of a name, ** at its end for the rest; @me is your inbox.",
        autocompletion=completion.rooms,
    ),
]
Last: TypeAlias = Annotated[
    int | None,
    typer.Option("--last", metavar="N", min=1, help="Begin with the last N messages that are chosen."),
]
LastPerRoom: TypeAlias = Annotated[
    int | None,
    typer.Option("--last-per-room", metavar="N", min=1, max=100, help="Begin with the last N messages of each room."),
]
Since: TypeAlias = Annotated[
    datetime | None,
    typer.Option(
        "--since", metavar="TIME", parser=moment, help="Begin at a time: 2h, 30m, 1d (ago), all, an ISO time."
    ),
]
After: TypeAlias = Annotated[
    Place | None,
    typer.Option(
        "--after",
        metavar="OFFSET",
        parser=place,
        help="Begin after an offset; 0 is the beginning. A place of --json, such as 7@0ca8f08933b5a3be, is one too, of "
        "that log only.",
    ),
]
Timeout: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        "-t",
        metavar="SECONDS",
        parser=duration,
        help="End after this time; with --count, 124 is the exit status when fewer came.",
    ),
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say on stderr when it is live, lost and back, as on a terminal.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", "-J", help="Print one JSON object a line.")]
Template: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="TEMPLATE",
        help="Print a line by a template of {room} {offset} {place} {user} {time} {event} {body} {headers}, \\t "
        "and \\n.",
    ),
]
Raw: TypeAlias = Annotated[
    int,
    typer.Option(
        "--raw",
        count=True,
        help="Print bodies only, byte for byte, a newline after each; to a terminal only when it is said twice.",
    ),
]
Data: TypeAlias = Annotated[
    Path | None,
    paths.option("--data", metavar="DIR", envvar="ZCHAT_DATA", help="Folder of the log; else the user's data folder."),
]
Retain: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN=LIMITS",
        help="Keep of rooms only so much, by age, count and size: 'build.**=7d,100000,1GB'. May be repeated.",
    ),
]
Inbox: TypeAlias = Annotated[bool, typer.Option("--inbox", help="And your inbox, @me, for which no pattern stands.")]
Presence: TypeAlias = Annotated[bool, typer.Option("--presence", help="Print joins and leaves too.")]


class Printed(NamedTuple):
    """How messages are printed; see groups.py."""

    json: Json = False
    template: Template = None
    raw: Raw = 0

    def check(self, presence: bool) -> None:
        """Refuse outputs that exclude each other."""
        only_one({"--json": self.json or None, "--format": self.template, "--raw": self.raw or None})
        if self.raw and presence:
            text = "--raw prints bodies, and joins and leaves have none"
            raise UsageError(f"{text}: use --json or --format with --presence")
        if self.raw == 1 and sys.stdout.isatty():
            text = "--raw prints what others sent byte for byte, and that can take over a terminal"
            raise UsageError(f"{text}: send it to a file or a pipe, or say --raw --raw")


class ToBroker(NamedTuple):
    """Which broker, as whom, and how long it is waited for; see groups.py."""

    broker: BrokerAddress = None
    user: User = None
    wait: Wait = WAIT_SECONDS


class Beginning(NamedTuple):
    """Where to begin; see groups.py."""

    last: Last = None
    last_per_room: LastPerRoom = None
    since: Since = None
    after: After = None

    def checked(self) -> Begin:
        """For the API, said once."""
        starts = {"--last": self.last, "--last-per-room": self.last_per_room, "--since": self.since}
        only_one(starts | {"--after": self.after})
        offset = None if self.after is None else self.after.offset
        check_numbers({"--last": self.last, "--after": offset})
        return Begin(last=self.last, since=self.since, after=offset, last_per_room=self.last_per_room)


def data_folder(given: Path | None) -> Path:
    """Where the log is."""
    if given is not None:
        return given
    if not os.environ.get("XDG_DATA_HOME"):
        home.need("name the folder of the log with --data or ZCHAT_DATA")
    from platformdirs import user_data_dir  # only a broker has a folder

    return Path(user_data_dir("zchat", appauthor=False))


class Begin(TypedDict):
    """Where to begin, as `listen` and `history` of the API take it."""

    last: int | None
    since: datetime | None
    after: int | None
    last_per_room: int | None


def check_numbers(given: dict[str, int | None]) -> None:
    """Refuse offsets and counts that no log can have."""
    from zchat.wire import OFFSET_MAX

    for name, value in given.items():
        if value is not None and value > OFFSET_MAX:
            raise UsageError(f"{name} is above {OFFSET_MAX}")


def only_one(given: dict[str, object]) -> None:
    """Refuse options that exclude each other."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} cannot go together")
