"""What users of other tools type first: it means what they mean, or is answered with how it is written here.

    zchat tail general -n 20      zchat listen general --last 20
    zchat help send               zchat send --help
    zchat version                 zchat --version

    zchat send -h host -t a/b -m hello      an error that has the line:  zchat send a.b hello -b host
    zchat listen 'a/#'                      a hint that has the name:    'a.**'

Rules of this file: what is understood has one meaning in any tool; the rest is answered, and nothing is sent.

Tests: tests/cli/test_guesses.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from zchat.errors import BadName, UsageError

TAIL_LINES = "10"  # as tail(1) has it
SENDERS = frozenset(("send", "pub", "publish"))
LISTENERS = frozenset(("listen", "sub", "subscribe", "history"))
QUALITIES = frozenset("012")  # of service, in MQTT
FLAGS = frozenset(("-d", "-r", "-c", "-l", "-s", "-v"))  # of mosquitto_pub and mosquitto_sub, and not needed here

_HOST = re.compile(r"localhost|[\w-]*[.:][\w.:-]*", re.ASCII)
_WILDCARDS = {"#": "**", ">": "**", "+": "*"}  # of MQTT, NATS


def understood(arguments: list[str]) -> list[str]:
    """The arguments as `zchat` has them. Raises UsageError with the line that was meant."""
    match arguments:
        case ["help"]:
            return ["--help"]
        case ["help", *rest]:
            return [*rest, "--help"]
        case ["version"]:
            return ["--version"]
        case ["tail", *rest]:
            return ["listen", *_of_tail(rest)]
        case [command, *rest] if command in SENDERS | LISTENERS:
            _answer(command, rest[: rest.index("--")] if "--" in rest else rest)
    return arguments


def name_meant(name: str) -> str:
    """The room or pattern that a name of another tool stands for; empty where none can be told."""
    from zchat.names import pattern_name

    plain = name.strip("/ ")
    if len(plain) > 1:
        plain = plain.removeprefix("#")
    parts = [_WILDCARDS.get(part, part) for part in re.split(r"[/.]", plain)]
    try:
        return pattern_name(".".join(re.sub(r"\s+", "-", part) for part in parts))
    except BadName:
        return ""


# --- parts ------------------------------------------------------------------------------------------


def _of_tail(arguments: list[str]) -> list[str]:
    """`-n 20`, `-20` and `-f` as tail(1) has them; without a start the last ten."""
    given: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in ("-n", "--lines"):
            given += ["--last", next(rest, "")]
        elif found := re.fullmatch(r"-n?(\d+)|--lines=(\d+)", argument):
            given += ["--last", found[1] or found[2]]
        elif argument not in ("-f", "-F", "--follow"):
            given.append(argument)
    starts = ("--last", "--since", "--after", "--resume")
    has_start = any(argument.partition("=")[0] in starts for argument in given)
    return given if has_start or "--help" in given or "-h" in given else ["--last", TAIL_LINES, *given]


def _answer(command: str, arguments: list[str]) -> None:
    """Raise what was meant, where the options are those of mosquitto, redis-cli and the like."""
    found = _Foreign(arguments, is_sender=command in SENDERS)
    if found.options:
        name = "send" if command in SENDERS else "history" if command == "history" else "listen"
        told = ", ".join(found.options)
        verb = "is" if len(found.options) == 1 else "are"
        raise UsageError(f"{told} {verb} of other tools; here it is: zchat {name} {found.line()}")


class _Foreign:
    """A line of another tool, taken apart."""

    def __init__(self, arguments: list[str], *, is_sender: bool) -> None:
        self.options: list[str] = []  # that make it one of another tool
        self._host = self._port = ""
        self._rooms: list[str] = []
        self._text: list[str] = []
        self._rest: list[str] = []
        takes = self._takers(is_sender=is_sender)
        at = 0
        while at < len(arguments):
            option, value = arguments[at], arguments[at + 1] if at + 1 < len(arguments) else None
            taker = takes.get(option)
            if taker is not None and value is not None and taker(value):
                self.options.append(option)
                at += 2
            else:
                self._rest.append(option)
                at += 1

    def line(self) -> str:
        """How it is written here."""
        names = [name_meant(room) or room for room in self._rooms]
        rest = [argument for argument in self._rest if argument not in FLAGS]
        broker = f"{self._host or '127.0.0.1'}{f':{self._port}' if self._port else ''}"
        at = ["-b", broker] if self._host or self._port else []
        return shlex.join([*names, *rest, *self._text, *at])

    def _takers(self, *, is_sender: bool) -> dict[str, Callable[[str], bool]]:
        """For each option what it does with its value; false where it is an option of ours after all."""

        def host(value: str) -> bool:
            self._host = value if _HOST.fullmatch(value) else self._host
            return bool(_HOST.fullmatch(value))

        def port(value: str) -> bool:
            self._port = value if value.isdigit() else self._port
            return value.isdigit()

        def room(value: str) -> bool:
            is_room = is_sender or not value[:1].isdigit()  # else it is a length of time
            self._rooms += [value] if is_room else []
            return is_room

        def text(value: str) -> bool:
            self._text.append(value)
            return True

        takes = {"-h": host, "-p": port, "-t": room, "--topic": room, "-q": QUALITIES.__contains__}
        takes["--qos"] = QUALITIES.__contains__
        return takes | ({"-m": text, "--message": text} if is_sender else {})
