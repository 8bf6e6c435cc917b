"""A subscriber says whose it is, and nobody else can say so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.core.introductions import introduction, is_of, session_of

TOKEN = bytes(range(32))


def test_it_names_its_session_and_proves_it() -> None:
    topic = introduction("s1", TOKEN)
    assert session_of(topic) == "s1" and is_of(topic, "s1", TOKEN)
    assert TOKEN not in topic
    for other in (introduction("s2", TOKEN), introduction("s1", TOKEN[::-1]), topic[:-1], topic + b"x", b""):
        assert not is_of(other, "s1", TOKEN)


@pytest.mark.parametrize("session", ["", "x" * 101, "é"])
def test_a_name_that_no_broker_gives_has_none(session: str) -> None:
    assert introduction(session, TOKEN) == b""


@given(st.binary(max_size=50))
def test_whatever_is_said_is_somebodys_or_nobodys(topic: bytes) -> None:
    assert isinstance(session_of(topic), str)
    assert not is_of(topic, session_of(topic), TOKEN)
