"""What may be published: the right count of what is taken, and the code of what is not."""

from __future__ import annotations

import msgspec
import pytest

from zchat import wire
from zchat.core.checking import checked_records
from zchat.errors import WireError
from zchat.settings import Settings

SETTINGS = Settings(publish_records_max=3, record_bytes_max=10, publish_bytes_max=100)


def count(*records: wire.RecordOrBody) -> int:
    publish = wire.Publish(1, "general", 0, msgspec.Raw(wire.encode_records(records)))
    return checked_records(publish, wire.encode(publish), SETTINGS)


def test_records_are_counted_whatever_form_they_have() -> None:
    assert count(b"1") == 1
    assert count(b"1", wire.Record(b"2", "deploy", {"host": "a"}), b"x" * 10) == 3


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([], "too-many-records"),
        ([b""] * 4, "too-many-records"),
        ([wire.Record(b"", "deploy")] * 4, "too-many-records"),
        ([b"x" * 11], "too-large"),
        ([wire.Record(b"x" * 11, "deploy")], "too-large"),
        ([b"x" * 30] * 3, "too-large"),
        ([b"", wire.Record(b"", "join")], "denied"),
        ([wire.Record(b"bye", "leave")], "denied"),
    ],
)
def test_what_no_one_may_publish_is_refused(records: list[wire.RecordOrBody], code: str) -> None:
    with pytest.raises(WireError) as caught:
        count(*records)
    assert caught.value.code == code
