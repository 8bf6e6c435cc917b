"""The table of errors: every class has its status, its facts and its text, every code its row."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

import zchat
from zchat import errors
from zchat.errors import CODES, EXIT_STATUSES, ZchatError

# One of each, with the text that it makes and the facts that it carries.
EXAMPLES: list[tuple[ZchatError, str, dict[str, object]]] = [
    (
        errors.BadName("room", "a..b", "empty segment at position 2"),
        'room "a..b": empty segment at position 2',
        {"kind": "room", "name": "a..b", "why": "empty segment at position 2"},
    ),
    (errors.BadAddress("tcp://", "no host"), 'address "tcp://": no host', {"address": "tcp://", "why": "no host"}),
    (
        errors.TooLarge(2097152, 1048576),
        "message is 2097152 bytes, limit 1048576",
        {"size": 2097152, "limit": 1048576},
    ),
    (errors.BadKey("this is no key"), "this is no key", {}),
    (
        errors.KeyRefused("no-key", "ask for an invite"),
        "the broker lets in only who has a key, and you have none for it: ask for an invite [no-key]",
        {"code": "no-key", "text": "ask for an invite", "definite": False},
    ),
    (errors.BadFile("a", "its checksum is wrong"), 'file "a": its checksum is wrong', {"name": "a"}),
    (
        errors.Unreachable("tcp://127.0.0.1:5555", 5.0),
        "no broker answered at tcp://127.0.0.1:5555 within 5 s",
        {"address": "tcp://127.0.0.1:5555", "seconds": 5.0, "why": ""},
    ),
    (
        errors.Unreachable("tcp://a:1", 0.5, "connection refused"),
        "no broker answered at tcp://a:1 within 0.5 s (connection refused)",
        {"why": "connection refused"},
    ),
    (
        errors.Refused("log-full", "no space left"),
        "the broker refused: no space left [log-full]",
        {"code": "log-full", "text": "no space left", "definite": True},
    ),
    (
        errors.Refused("log-failed"),
        f"the broker refused: {CODES['log-failed'].sentence} [log-failed]",
        {"code": "log-failed", "text": "", "definite": False},
    ),
    (errors.Refused("of-tomorrow"), "the broker refused: ? [of-tomorrow]", {"definite": False}),
    (errors.TimedOut("the ack", 1.5), "the ack: nothing within 1.5 s", {"what": "the ack", "seconds": 1.5}),
    (errors.Closed(), "the client is closed", {}),
    (errors.Closed("the subscription is closed"), "the subscription is closed", {}),
    (errors.WireError("bad-frame", "kind 9: x"), "kind 9: x", {"code": "bad-frame", "text": "kind 9: x"}),
    (errors.StartError("port in use"), "port in use", {}),
    (errors.LogError("log-full", "disk full"), "disk full", {"code": "log-full", "text": "disk full"}),
]


def classes(base: type[ZchatError] = ZchatError) -> Iterator[type[ZchatError]]:
    for derived in base.__subclasses__():
        if derived.__module__ == base.__module__:  # else it is a command's own, which turns it into a line
            yield derived
            yield from classes(derived)


@pytest.mark.parametrize(("error", "text", "facts"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_carries_facts_and_makes_its_text_from_them(
    error: ZchatError, text: str, facts: dict[str, object]
) -> None:
    assert str(error) == text
    assert {name: getattr(error, name) for name in facts} == facts


@pytest.mark.parametrize("error", [error for error, _text, _facts in EXAMPLES], ids=lambda error: type(error).__name__)
def test_an_error_passes_between_processes(error: ZchatError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_there_is_an_example_of_each_class() -> None:
    assert {type(error) for error, _text, _facts in EXAMPLES} | {errors.UsageError} == set(classes())


def test_an_error_shows_what_it_quotes_safely() -> None:
    assert str(errors.BadName("user", "\x1b[2J", "why")) == r'user "\x1b[2J": why'
    assert str(errors.BadAddress("\u202ea", "why")) == r'address "\u202ea": why'


@pytest.mark.parametrize("error", [*classes()], ids=lambda error: error.__name__)
def test_each_class_is_public_with_its_exit_status_in_the_module_docstring(error: type[ZchatError]) -> None:
    assert getattr(zchat, error.__name__) is error
    assert error.exit_status in EXIT_STATUSES
    line = re.search(rf"── {error.__name__} .*", errors.__doc__ or "")
    assert line, f"{error.__name__} is not in the tree of the docstring"
    told = re.search(r"\(exit (\d+)\)", line[0])
    parent = error.__mro__[1]
    expected = int(told[1]) if told else parent.exit_status
    assert error.exit_status == expected


def test_the_built_in_kinds_are_what_programs_expect() -> None:
    assert issubclass(errors.TimedOut, TimeoutError)
    assert issubclass(errors.UsageError, ValueError)


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_a_stable_word_with_one_sentence(code: str) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert CODES[code].sentence
    assert not CODES[code].sentence.endswith(".")
