"""What is wrong with a command line, in one line, and what was perhaps meant.

Rules of this file: only what is near in spelling or in meaning is suggested; else the help is.

Tests: tests/cli/test_usage.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from typer._click.exceptions import ClickException

NEAR = 0.7  # how much two spellings have in common, of 1

COMMANDS_MEANT = {
    **dict.fromkeys(("say", "post", "write", "message", "msg"), "send"),
    **dict.fromkeys(("join", "watch", "follow", "read"), "listen"),
    **dict.fromkeys(("users", "members", "sessions", "clients"), "who"),
    **dict.fromkeys(("list", "channels", "topics", "channel"), "rooms"),
    **dict.fromkeys(("start", "daemon"), "broker"),
    **dict.fromkeys(("tui", "irc", "talk", "ui"), "chat"),
    **{action: f"log {action}" for action in ("check", "repair", "export", "import", "backup")},
}
OPTIONS_MEANT = {
    **dict.fromkeys(("--begin", "--start"), "--since"),
    **dict.fromkeys(("--before", "--to", "--stop"), "--until"),
    **dict.fromkeys(("--sender", "--by", "--author"), "--from"),
    **dict.fromkeys(("--filter", "--search", "--match", "--pattern"), "--grep"),
    **dict.fromkeys(("--tail", "--lines"), "--last"),
    **dict.fromkeys(("--limit", "--max", "--number"), "--count"),
    **dict.fromkeys(("--offset", "--start-offset"), "--after"),
    **dict.fromkeys(("--host", "--server", "--url", "--address", "--connect"), "--broker"),
    **dict.fromkeys(("--name", "--nick", "--as"), "--user"),
    **dict.fromkeys(("--template", "--output"), "--format"),
    **dict.fromkeys(("--group", "--durable", "--cursor"), "--resume"),
    **dict.fromkeys(("--port", "--listen"), "--bind"),
    **dict.fromkeys(("--dir", "--folder", "--path"), "--data"),
}
ANSWERS = {
    **dict.fromkeys(("--topic", "--channel", "--room", "--subject"), "a room is an argument: zchat {command} ROOM"),
    **dict.fromkeys(("-m", "--message", "--body", "--text"), "the text is an argument: zchat send ROOM TEXT"),
    "--retain": "the last message of a room is there for all: zchat listen ROOM --last 1",
    "--qos": "every message is stored before it is acknowledged, unless it is --volatile",
}
"""Options that have no counterpart, because what they are for goes another way."""
"""What others call it. A suggestion is made where the command has what is meant."""

_OPTION = re.compile(r"--?[A-Za-z][\w-]*(=.*)?", re.S)


def explain(error: ClickException, arguments: Sequence[str]) -> tuple[str, str]:
    """The error as a line, and a hint."""
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help" if context is not None else ""
    option = getattr(error, "option_name", "")
    if context is None or not error.message.startswith("No such option"):
        text = error.format_message().rstrip(".").replace(" is not a valid int range", " is not a whole number")
        return text[:1].lower() + text[1:], hint
    if context.command.name == "send" and is_text(given(option, arguments)):
        hint = "a text that begins with a dash goes after two: zchat send ROOM -- -5"
    if context.command.name == "run":
        hint = "the command and its options go after two dashes: zchat run ROOM -- COMMAND"
    if option in ANSWERS:
        hint = ANSWERS[option].format(command=context.command.name)
    options = [name for param in context.command.params for name in param.opts if name.startswith("--")]
    return f"no such option: {option.rstrip()}{suggestion(option, options, OPTIONS_MEANT)}", hint


def suggestion(name: str, names: Iterable[str], meant: Mapping[str, str]) -> str:
    """`, did you mean "send"?` where one of the names may be it."""
    names = list(names)
    if meant.get(name, "").split(" ")[0] in names:
        return f', did you mean "{meant[name]}"?'
    plain = {known.lstrip("-"): known for known in names}
    near = get_close_matches(name.lstrip("-"), plain, n=1, cutoff=NEAR)
    return f', did you mean "{plain[near[0]]}"?' if near else ""


def given(option: str, arguments: Sequence[str]) -> str:
    """The argument that an option was read from: `-5` may be of `-5 degrees`."""
    return next((argument for argument in arguments if argument.startswith(option)), option)


def is_text(argument: str) -> bool:
    """Whether it looks like no option of anything: `-5`, `- milk`, `--->`."""
    return not _OPTION.fullmatch(argument) or " " in argument.partition("=")[0]
