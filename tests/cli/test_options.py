"""How times, lengths of time and headers are read."""

from __future__ import annotations

import pytest

from tests.conftest import zchat
from zchat import wire
from zchat.cli import options, retaining
from zchat.errors import UsageError
from zchat.sockets import clock


def test_a_wait_of_0_is_one_try() -> None:
    assert (options.waiting("0"), options.waiting("0.2"), options.waiting(5)) == (options.TRY_SECONDS, 0.2, 5.0)
    assert clock.TRY_SECONDS == options.TRY_SECONDS  # as the API has it


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("a.*=7d", ("a.*", 604_800.0, 0, 0)),
        ("a=90,1.5KB", ("a", 0.0, 90, 1500)),
        (f"a={wire.OFFSET_MAX}", ("a", 0.0, wire.OFFSET_MAX, 0)),
    ],
)
def test_a_retention_is_a_pattern_and_limits(rule: str, kept: tuple[str, float, int, int]) -> None:
    assert retaining.retention(rule)[:4] == kept


@pytest.mark.parametrize(
    "rule",
    ["a", "a=", "=7d", "a..b=7d", "a=soon", "a=0", "a=9999999w", f"a={1 << 53}", f"a={'9' * 5000}", f"a={'9' * 400}GB"],
)
def test_a_retention_that_cannot_be_is_refused_by_the_name_of_its_option(rule: str) -> None:
    with pytest.raises(UsageError, match=r"^--retain "):
        retaining.retention(rule)


def test_a_header_is_a_name_and_a_value() -> None:
    assert options.header("priority=high") == ("priority", "high")
    assert options.header("note=a=b") == ("note", "a=b")
    assert options.header("empty=") == ("empty", "")
    assert options.header("priority:high") == options.header("priority: high") == ("priority", "high")
    assert options.header("Link: http://host/?a=b") == ("Link", "http://host/?a=b")
    assert options.header("link=http://host") == ("link", "http://host")
    for text in ("", "priority", "=high", ":high", "name=\udcff"):
        with pytest.raises(UsageError):
            options.header(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["broker", "--data", ""], "--data"),
        (["broker", "--memory", "--keys", ""], "--keys"),
        (["keys", "list", "--keys", ""], "--keys"),
        (["listen", "a", "--save", ""], "--save"),
        (["send", "a", "--file", ""], "--file"),
        (["tcp", "--tokens", ""], "--tokens"),
        (["record", "", "a"], "FILE"),
    ],
)
def test_a_path_that_is_empty_is_refused(args: list[str], name: str) -> None:
    shown = zchat(*args, env={"ZCHAT_BROKER": "tcp://127.0.0.1:9"})
    assert (shown.stdout, shown.status) == ("", 2)
    assert shown.stderr.startswith(f"zchat: invalid value for '{name}'")
    assert ": it is empty, and names no file or folder\n" in shown.stderr
