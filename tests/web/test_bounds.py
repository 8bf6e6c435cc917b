"""What a client may take, by a clock that the test holds, and which pages may come."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zchat.web.core.bounds import WebLimits, address_of, header, is_allowed

DOORS = Path(__file__).parent.parent.parent / "docs" / "web.md"


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "may"),
    [
        (None, "a:1", (), True),
        ("http://a:1", "a:1", (), True),
        ("https://a:1", "a:1", (), True),
        ("http://a:2", "a:1", (), False),
        ("http://evil", "a:1", ("http://good",), False),
        ("http://good", "a:1", ("http://good",), True),
        ("http://evil", "a:1", ("*",), True),
        ("null", "a:1", (), False),
        ("http://[", "a:1", (), False),
        ("", "", (), False),
        ("file://", "", (), False),
    ],
)
def test_a_page_of_another_origin_may_not(origin: str | None, host: str, allowed: tuple[str, ...], may: bool) -> None:
    assert is_allowed(origin, [host], allowed) == may


def test_a_header_that_comes_twice_is_nobodys() -> None:
    assert header([(b"Origin", b"a")], b"origin") == "a"
    assert header([], b"origin") is None
    assert not is_allowed(header([(b"origin", b"http://a"), (b"origin", b"http://b")], b"origin"), ["a"], ())
    assert address_of({"client": ("::1", 5)}) == "::1" and address_of({}) == ""


def test_the_table_of_limits_is_that_of_the_code() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", DOORS.read_text(), re.M))
    assert table == {name: f"{value:,.0f}" for name, value in WebLimits()._asdict().items()}
