"""The settings: what WELCOME tells of them, and that the defaults fit together."""

from __future__ import annotations

import ast
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest

import zchat
from zchat import wire
from zchat.core.session import OUTCOMES_MAX
from zchat.settings import Settings
from zchat.sockets.meters import MET

DEFAULTS = Settings()


def test_welcome_tells_the_limits_that_a_client_must_know_under_their_own_names() -> None:
    assert DEFAULTS.told() == {name: getattr(DEFAULTS, name) for name in DEFAULTS.told()}
    assert {"record_bytes_max", "publish_bytes_max", "publish_records_max", "in_flight_max"} <= DEFAULTS.told().keys()


@pytest.mark.parametrize("name", sorted(DEFAULTS.told()))
def test_welcome_tells_what_the_broker_was_given_not_the_default(name: str) -> None:
    change: dict[str, Any] = {name: 17}
    given = replace(DEFAULTS, **change)
    assert given.told() == {**DEFAULTS.told(), name: 17}


def test_every_number_has_a_default_above_0_and_a_unit_or_a_bound_in_its_name() -> None:
    numbers = [field.name for field in fields(Settings) if isinstance(getattr(DEFAULTS, field.name), int | float)]
    assert len(numbers) > 10
    for name in numbers:
        assert getattr(DEFAULTS, name) > 0, name
        assert name.endswith(("_seconds", "_bytes", "_max", "_members")), name


def test_no_default_is_above_what_the_protocol_allows() -> None:
    assert DEFAULTS.record_bytes_max <= wire.RECORD_BYTES_MAX
    assert DEFAULTS.publish_bytes_max <= wire.PUBLISH_BYTES_MAX
    assert DEFAULTS.publish_records_max <= wire.PUBLISH_RECORDS_MAX
    assert DEFAULTS.page_bytes_max <= wire.PAGE_BYTES_MAX
    assert DEFAULTS.session_rooms_max <= wire.ROOMS_PER_MESSAGE_MAX  # a client joins them all again in one JOIN


def test_the_defaults_fit_together() -> None:
    assert DEFAULTS.record_bytes_max < DEFAULTS.publish_bytes_max  # the largest record fits into a PUBLISH
    assert DEFAULTS.in_flight_max <= OUTCOMES_MAX  # the outcome of whatever is sent again is still known
    assert DEFAULTS.grace_seconds <= DEFAULTS.restart_grace_seconds < DEFAULTS.session_kept_seconds
    assert DEFAULTS.watermark_first_seconds <= DEFAULTS.watermark_last_seconds


COUNTED_BESIDE = {"descriptors", "floods", "recipients_max", "user_enrolments_max"}


def test_what_is_counted_is_a_setting_or_named_beside_them() -> None:
    """Of all that is passed to `over_limit`, and of the two tables of the shell."""
    package = Path(zchat.__file__).parent
    trees = [ast.parse(path.read_text()) for path in package.rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {
        call.args[0].value
        for call in calls
        if getattr(call.func, "id", "") == "over_limit" and isinstance(call.args[0], ast.Constant)
    }
    assert len(named) > 20
    settings = {field.name for field in fields(Settings)}
    assert named | set(MET.values()) <= settings | COUNTED_BESIDE
    said = (package.parent / "docs/settings.md").read_text().partition("\n## ")[0]
    assert all(f"`{name}`" in said for name in COUNTED_BESIDE)


def test_settings_do_not_change_while_a_broker_runs() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULTS.grace_seconds = 1.0  # type: ignore[misc]
