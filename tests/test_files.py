"""Files as messages: pieces and what becomes of them, in any order and from anybody; and over a real broker."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zchat
import zchat.aio
from tests.conftest import BrokerProcess
from zchat import files
from zchat.errors import BadFile
from zchat.files import PIECE_BYTES, OutgoingFile, safe_name
from zchat.receiving import OPEN_MAX, FileReceiver
from zchat.wire.records import FILE_AT, FILE_ID, FILE_NAME, FILE_SHA256, FILE_SIZE

LIMIT = PIECE_BYTES + files.HEADERS_BYTES
BODY = bytes(range(256)) * 1_024  # four pieces


def sent(path: Path, headers: dict[str, str] | None = None, session: str = "s1") -> list[zchat.Message]:
    """The messages of a file, as a listener gets them."""
    with OutgoingFile(path, LIMIT, headers) as file:
        return [
            zchat.Message("den", 1 + at, "ann", 7, piece.event, piece.body, piece.headers, session)
            for at, piece in enumerate(file)
        ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "notes.txt"
    found.write_bytes(BODY)
    return found


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[FileReceiver]:
    with FileReceiver(tmp_path / "saved") as receiver:
        yield receiver
    assert not list((tmp_path / "saved").glob(".*")), "nothing is left of what is not whole"


def changed(message: zchat.Message, **headers: str) -> zchat.Message:
    names = {"name": FILE_NAME, "size": FILE_SIZE, "id": FILE_ID, "at": FILE_AT, "sha256": FILE_SHA256}
    more = dict(message.headers) | {names[name]: value for name, value in headers.items()}
    fields = (message.room, message.offset, message.user, message.time, message.event, message.body)
    return zchat.Message(*fields, more, message.session)


def test_pieces_become_the_file_again(path: Path, receiver: FileReceiver) -> None:
    messages = sent(path, {"by": "me"})
    assert {message.event for message in messages} == {"file"} and len(messages) == 4
    assert [message.headers[FILE_AT] for message in messages] == [str(at * PIECE_BYTES) for at in range(4)]
    assert all(message.headers["by"] == "me" for message in messages)
    *early, saved = [receiver.take(message) for message in messages]
    assert early == [None] * 3 and saved is not None and saved.path == receiver.folder / "notes.txt"
    assert (saved.path.read_bytes(), saved.sha256) == (BODY, hashlib.sha256(BODY).hexdigest())
    assert receiver.take(zchat.Message("den", 9, "ann", 7, "message", b"hi", {}, "s1")) is None


def test_what_fits_into_a_message_is_one(path: Path, receiver: FileReceiver) -> None:
    for size in (0, 1, PIECE_BYTES):
        path.write_bytes(b"x" * size)
        (message,) = sent(path)
        assert (message.event, dict(message.headers)) == ("message", {FILE_NAME: "notes.txt"})
        saved = receiver.take(message)
        assert saved is not None and saved.path.read_bytes() == b"x" * size
    assert sorted(os.listdir(receiver.folder)) == ["notes-2.txt", "notes-3.txt", "notes.txt"]


def test_files_of_several_senders_come_at_once(path: Path, receiver: FileReceiver) -> None:
    one, other = sent(path), sent(path, session="s2")
    other = [changed(message, id=one[0].headers[FILE_ID]) for message in other]  # who knows it adds nothing
    found = [receiver.take(message) for pair in zip(one, other, strict=True) for message in pair]
    assert [saved.path.name for saved in found if saved] == ["notes.txt", "notes-2.txt"]


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (lambda m: [m[1]], "its beginning did not come"),
        (lambda m: [m[0], m[2]], "bytes 65536 to 131071 did not come"),
        (lambda m: [*m[:3], changed(m[3], sha256="0" * 64)], "its checksum is wrong"),
        (lambda m: [m[0], changed(m[1], size="9999999")], "its pieces do not fit together"),
        (lambda m: [changed(m[0], size="5")], "its pieces do not fit together"),
        (lambda m: [changed(m[0], size="x")], "file-size is no number of bytes"),
        (lambda m: [changed(m[0], at="-1")], "file-at is no number of bytes"),
        (lambda m: [changed(m[0], id="../../x")], "file-id is no number in hexadecimal"),
        (lambda m: [changed(m[0], size="9" * 16)], "file-size is no number of bytes"),
    ],
)
def test_what_cannot_be_a_file_is_told_once_and_leaves_nothing(
    path: Path, receiver: FileReceiver, lie: Any, why: str
) -> None:
    messages = sent(path)
    with pytest.raises(BadFile) as error:
        for message in lie(messages):
            assert receiver.take(message) is None
    assert error.value.why == why and list(receiver.folder.iterdir()) == []
    whole = sent(path)
    assert [receiver.take(message) for message in whole][-1], "another one comes all the same"


def test_a_receiver_that_ended_goes_on_where_it_was(path: Path, tmp_path: Path) -> None:
    messages = sent(path)
    with FileReceiver(tmp_path / "saved", keep=True) as first:
        assert [first.take(message) for message in messages[:3]] == [None] * 3
    with FileReceiver(tmp_path / "saved", keep=True) as second:
        saved = [second.take(message) for message in messages[2:]][-1]  # one comes again
    assert saved is not None and saved.path.read_bytes() == BODY
    assert os.listdir(tmp_path / "saved") == ["notes.txt"]


def test_so_many_files_that_are_not_whole_are_kept(path: Path, receiver: FileReceiver) -> None:
    for _ in range(OPEN_MAX + 5):
        receiver.take(sent(path)[0])
    assert len(list(receiver.folder.iterdir())) == OPEN_MAX
    for number in range(5):
        (receiver.folder / f".{number:032x}.part").touch()
        os.utime(receiver.folder / f".{number:032x}.part", (number, number))
    FileReceiver(receiver.folder, keep=True).close()
    assert len(list(receiver.folder.iterdir())) == OPEN_MAX and not list(receiver.folder.glob(".0000*"))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", "file"),
        ("", "file"),
        (".bashrc", "bashrc"),
        ("a\x00b\n\x1b[2J.txt", "a_b__[2J.txt"),
        ("\u202egpj.exe", "_gpj.exe"),
        ("C:stream", "C_stream"),
        ("dir/", "file"),
        ("会议.pdf", "会议.pdf"),
        ("x" * 500 + ".tar.gz", "x" * 197 + ".gz"),
    ],
)
def test_a_name_is_one_visible_part_of_a_path(name: str, safe: str) -> None:
    assert (
        safe_name(name).replace("x" * 193, "x" * 192).replace("x" * 196, "x" * 192) == safe or safe_name(name) == safe
    )


@given(st.text(max_size=400))
def test_any_name_is_safe(name: str) -> None:
    safe = safe_name(name)
    assert safe and "/" not in safe and "\\" not in safe and not safe.startswith(".") and safe.isprintable()
    assert len(safe.encode()) <= files.NAME_BYTES_MAX


def test_what_is_there_is_never_written_over(path: Path, receiver: FileReceiver, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (receiver.folder / "notes.txt").symlink_to(elsewhere)
    saved = [receiver.take(message) for message in sent(path)][-1]
    assert saved is not None and saved.path.name == "notes-2.txt" and not elsewhere.exists()


def test_a_file_that_changes_and_what_is_none_are_refused(path: Path, tmp_path: Path) -> None:
    with OutgoingFile(path, LIMIT, None) as file, pytest.raises(zchat.UsageError, match="became shorter"):
        for _ in file:
            path.write_bytes(b"")
    with pytest.raises(IsADirectoryError):
        sent(tmp_path)
    with pytest.raises(zchat.UsageError, match="no regular file"):
        sent(Path("/dev/null"))
    with pytest.raises(zchat.UsageError, match="file-id"):
        sent(path, {FILE_ID: "1"})


@pytest.mark.slow
@pytest.mark.parametrize("broker", [("--memory",)], indirect=True)
def test_both_faces_send_and_receive(broker: BrokerProcess, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3_000_000))
    told: list[tuple[int, int]] = []
    with zchat.connect(broker.address, "ann") as ann:
        offset = ann.send_file("den", path, headers={"by": "ann"}, on_progress=lambda *far: told.append(far))
        assert offset == len(told) == 46 and told[-1] == (3_000_000, 3_000_000)
        with FileReceiver(tmp_path / "saved") as receiver:
            (saved,) = filter(None, map(receiver.take, ann.history("den")))
        assert saved.path.read_bytes() == path.read_bytes() and saved.message.headers["by"] == "ann"

    async def talk() -> None:
        async with zchat.aio.connect(broker.address, "ben") as ben:
            with FileReceiver(tmp_path / "saved") as receiver:
                async with ben.listen("lair") as messages:
                    await ben.send_file("lair", path)
                    async for message in messages:
                        if saved := receiver.take(message):
                            break
            assert saved is not None and saved.path.name == "large-2"
            assert saved.path.read_bytes() == path.read_bytes()

    asyncio.run(talk())
