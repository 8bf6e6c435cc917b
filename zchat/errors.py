"""What can go wrong, declared once: the classes that callers catch and the codes that travel.

    ZchatError
    ├── UsageError          the caller asked for something that cannot be (exit 2)
    │   ├── BadName         a room, pattern, user or cursor name that is not allowed
    │   ├── BadAddress      an address that names no broker
    │   ├── TooLarge        a message above the limit; nothing was sent
    │   └── BadKey          what is no key, or a file of keys that is not as it must be
    ├── BadFile             a file that came cannot be had: a piece is missing, the checksum is wrong (exit 1)
    ├── Refused             the broker said no, with a code of `CODES` (exit 4)
    │   └── KeyRefused      a key does not fit: the broker's, or ours to the broker, with a code of `KEY_CODES`
    ├── TimedOut            what was waited for did not come in time; also a TimeoutError (exit 124)
    │   └── Unreachable     no broker answered at the address in time (exit 3)
    ├── Closed              the client is closed; what was not acked may or may not be stored (exit 1)
    ├── WireError           bytes that do not follow docs/protocol.md (exit 1)
    ├── StartError          the broker cannot start: port in use, folder not writable (exit 1)
    └── LogError            the log could not keep or read records; `code` is one of `CODES` (exit 1)

The class says whose fault it is, the instance carries the facts, the text is made from them.
docs/protocol.md prints `CODES`, docs/cli.md prints `EXIT_STATUSES`; a test compares both.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from zchat.printable import printable


class Code(NamedTuple):
    """One row of the table of wire codes."""

    definite: bool  # certainly nothing was stored or changed
    fatal: bool  # the broker ends the connection after saying so
    sentence: str  # what it means, for docs/protocol.md


CODES: dict[str, Code] = {
    "unsupported-version": Code(True, True, "the broker does not speak this protocol version"),
    "bad-frame": Code(True, False, "the frame is not a message of the protocol"),
    "unknown-kind": Code(True, False, "the message kind is not one that a client sends"),
    "too-large": Code(True, False, "the frame or record is above the broker's limit"),
    "too-many-records": Code(True, False, "one publish has more records than the limit, or none"),
    "bad-room": Code(True, False, "the room or pattern name is not allowed or not in its canonical form"),
    "session-taken": Code(True, True, "the session goes on with another connection, which came later"),
    "bad-user": Code(True, True, "the user name is not allowed or not in its canonical form"),
    "too-many-rooms": Code(True, False, "the session is a member of as many rooms as the limit allows"),
    "bad-cursor": Code(True, False, "the cursor's name is not allowed"),
    "too-many-cursors": Code(True, False, "the broker keeps as many cursors of the user as the limit allows"),
    "bad-group": Code(True, False, "the group's name is not allowed or not in its canonical form"),
    "other-log": Code(True, False, "the offset is of another log than the broker's"),
    "bad-request": Code(True, False, "an argument of the request is out of its range"),
    "denied": Code(True, False, "the policy does not allow it"),
    "wrong-user": Code(True, True, "the key of the connection is another user's"),
    "unknown-key": Code(True, True, "the broker does not know the key of the connection"),
    "revoked-key": Code(True, True, "the key of the connection is revoked, or its time is over"),
    "keys-failed": Code(True, False, "the broker could not write its file of keys"),
    "log-full": Code(True, False, "the disk of the log is full"),
    "log-read-only": Code(True, False, "the log cannot be written"),
    "log-damaged": Code(True, False, "the log's file is damaged"),
    "log-failed": Code(False, False, "the log failed; what was sent may or may not be stored"),
    "repeat-unknown": Code(False, False, "a repeated publish that is too old for its outcome to be known"),
    "no-server": Code(True, False, "nobody serves the room: nobody was asked"),
    "no-answer": Code(False, False, "who was asked has gone before it replied, and may have done what was asked"),
    "server-failed": Code(False, False, "who was asked could not do it"),
    "busy": Code(True, False, "there are too many requests of this kind waiting, or came in a short time: try later"),
    "over-limit": Code(True, False, "the broker keeps as many of these as its limits allow"),
}
"""Every code that an ERROR message can carry. Codes are stable: one may be added, none changes."""


KEY_CODES: dict[str, str] = {
    "unknown-key": "the broker does not know your key, or it is not authorized any more",
    "revoked-key": "your key is revoked",
    "wrong-server-key": "the broker does not have the key that it is known by",
    "no-key": "the broker lets in only who has a key, and you have none for it",
    "broker-without-keys": "the broker has no keys, and is known by one",
}
"""Why two keys do not fit, as a client finds out. No message carries these: there is no connection to carry it."""


EXIT_STATUSES: dict[int, str] = {
    0: "done",
    1: "failed: input or output, bad data, the broker could not start",
    2: "usage: an option, argument, name or address that is not allowed",
    3: "the broker was not reachable within the wait time",
    4: "the broker refused, or its key and yours do not fit",
    5: "nothing came for as long as --expect-every says",
    124: "timed out before it was done",
    129: "ended by SIGHUP (its terminal was closed)",
    130: "ended by SIGINT (Ctrl-C)",
    143: "ended by SIGTERM",
}
"""Exit statuses of every `zchat` command. A closed pipe ends a command quietly with 0."""


class ZchatError(Exception):
    """Base of every error that zchat raises. `exit_status` is what the command line ends with."""

    exit_status: ClassVar[int] = 1


class UsageError(ZchatError, ValueError):
    """The caller asked for something that cannot be; nothing was sent."""

    exit_status = 2


class BadName(UsageError):
    """A name that is not allowed: `kind` is room, pattern, user, login name, cursor or group, `why` what is wrong."""

    def __init__(self, kind: str, name: str, why: str) -> None:
        super().__init__(kind, name, why)
        self.kind, self.name, self.why = kind, name, why

    @property
    def code(self) -> str:
        """What a broker refuses it with; rooms and patterns share one."""
        return {"pattern": "bad-room", "login name": "bad-user"}.get(self.kind, f"bad-{self.kind}")

    def __str__(self) -> str:
        """`room "a..b": empty segment at position 2`."""
        return f'{self.kind} "{printable(self.name)}": {self.why}'


class BadAddress(UsageError):
    """An address that names no broker; `why` says what is wrong with it."""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(address, why)
        self.address, self.why = address, why

    def __str__(self) -> str:
        """`address "tcp://": no host`."""
        return f'address "{printable(self.address)}": {self.why}'


class TooLarge(UsageError):
    """A message of `size` bytes where `limit` are allowed."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size, self.limit = size, limit

    def __str__(self) -> str:
        """Both numbers."""
        return f"message is {self.size} bytes, limit {self.limit}"


class BadKey(UsageError):
    """What is no key, or no file of keys; it repeats nothing that may be a secret."""


class BadFile(ZchatError):
    """A file that came in pieces, and cannot be had: `name` as its sender called it, `why`."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name, self.why = name, why

    def __str__(self) -> str:
        """`file "notes.txt": its checksum is wrong`."""
        return f'file "{printable(self.name)}": {self.why}'


class Refused(ZchatError):
    """The broker said no. `code` is one of `CODES`, `text` the broker's sentence."""

    exit_status = 4

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code, self.text = code, text

    @property
    def definite(self) -> bool:
        """True when nothing was stored or changed, for certain."""
        known = CODES.get(self.code)
        return known is not None and known.definite

    def __str__(self) -> str:
        """Code and sentence."""
        known = CODES.get(self.code)
        return f"the broker refused: {self.text or (known.sentence if known else '?')} [{self.code}]"


class KeyRefused(Refused):
    """Two keys do not fit, so there is no connection. `code` is one of `KEY_CODES`, `text` says what to do."""

    @property
    def definite(self) -> bool:
        """Of what was sent before it, nothing is known."""
        return False

    def __str__(self) -> str:
        """Sentence, what to do, and code."""
        return f"{KEY_CODES.get(self.code, self.code)}{f': {self.text}' if self.text else ''} [{self.code}]"


class TimedOut(ZchatError, TimeoutError):
    """What was waited for (`what`) did not come within `seconds`."""

    exit_status = 124

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what, self.seconds = what, seconds

    def __str__(self) -> str:
        """What was waited for, and how long."""
        return f"{self.what}: nothing within {self.seconds:g} s"


class Unreachable(TimedOut):
    """No broker answered at `address` within `seconds`; `why` is what was seen, when anything was."""

    exit_status = 3

    def __init__(self, address: str, seconds: float, why: str = "") -> None:
        super().__init__("the broker", seconds)
        self.args = (address, seconds, why)
        self.address, self.why = address, why

    def __str__(self) -> str:
        """Address, time waited and reason."""
        because = f" ({self.why})" if self.why else ""
        return f"no broker answered at {self.address} within {self.seconds:g} s{because}"


class Closed(ZchatError):
    """The client or subscription is closed. Of a publication: whether it is stored is unknown."""

    def __init__(self, what: str = "the client is closed") -> None:
        super().__init__(what)


class WireError(ZchatError):
    """Bytes that do not follow the protocol; `code` is one of `CODES`. `limit`: which one was met, if one was."""

    def __init__(self, code: str, text: str, limit: str = "") -> None:
        super().__init__(code, text)
        self.code, self.text, self.limit = code, text, limit

    def __str__(self) -> str:
        """What is wrong with the bytes."""
        return self.text


class StartError(ZchatError):
    """The broker cannot start; the text says why and what to do.

    `is_in_use` is true where another process has what is needed: it may be about to end.
    """

    def __init__(self, text: str, *, is_in_use: bool = False) -> None:
        super().__init__(text)
        self.is_in_use = is_in_use


class LogError(ZchatError):
    """The log could not keep or read records. `code` is one of `CODES`.

    `is_final`: it keeps nothing more until it is opened anew. `limit`: which one was met, if one was.
    """

    def __init__(self, code: str, text: str, *, is_final: bool = False, limit: str = "") -> None:
        super().__init__(code, text)
        self.code, self.text, self.is_final, self.limit = code, text, is_final, limit

    def __str__(self) -> str:
        """What the log said."""
        return self.text


def over_limit(limit: str, code: str, text: str) -> WireError:
    """What a peer wants is more than a limit allows, which is named as in docs/settings.md."""
    return WireError(code, text, limit)
