"""The rules of --retain, and how they are read.

Docs: docs/operating.md. Tests: tests/cli/test_options.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

from zchat import times
from zchat.cli.options import duration
from zchat.errors import BadName, UsageError

if TYPE_CHECKING:
    from zchat.settings import RetentionRule

SIZES = {f"{unit}{i}b": base**power for i, base in (("", 1000), ("i", 1024)) for power, unit in enumerate("kmgt", 1)}
SIZES["b"] = 1

_SIZE = re.compile(r"(\d+(?:\.\d*)?)((?:[kmgt]i?)?b)", re.ASCII | re.IGNORECASE)


def retention(text: str) -> RetentionRule:
    """The rule in `build.**=7d,100000,1GB`: pattern, then by age, count and bytes what is kept."""
    from zchat.names import pattern_name  # with msgspec, which no other option needs
    from zchat.settings import RetentionRule

    pattern, equals, limits = text.rpartition("=")
    if not (pattern and equals and limits):
        raise UsageError(f"--retain {text}: no pattern and limits, such as 'build.**=7d,100000'")
    try:
        rule = RetentionRule(pattern_name(pattern))
        for limit in limits.split(","):
            rule = _limited(rule, limit)
    except BadName as error:
        raise UsageError(f"--retain {text}: {error}") from None
    except typer.BadParameter as error:
        raise UsageError(f"--retain {text}: {error.message}") from None
    if not (rule.age_seconds or rule.records or rule.bytes):
        raise UsageError(f"--retain {text}: a limit of 0 would keep nothing")
    return rule


def _limited(rule: RetentionRule, limit: str) -> RetentionRule:
    """The rule with one limit more."""
    if size := _SIZE.fullmatch(limit):
        return rule._replace(bytes=_whole(float(size[1]) * SIZES[size[2].lower()]))
    if limit.isascii() and limit.isdigit():
        return rule._replace(records=_whole(limit))
    if times.is_duration(limit):
        return rule._replace(age_seconds=duration(limit))
    raise typer.BadParameter(f'"{limit}" is no age (7d), count (100000) or size (1GB)')


def _whole(number: float | str) -> int:
    from zchat.wire import OFFSET_MAX

    try:
        whole = int(number)
    except (OverflowError, ValueError):  # infinite, and more digits than Python takes
        whole = OFFSET_MAX + 1
    if whole > OFFSET_MAX:
        raise typer.BadParameter(f"a limit is above {OFFSET_MAX}")
    return whole
