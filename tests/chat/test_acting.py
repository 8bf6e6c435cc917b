"""What typed lines do."""

from __future__ import annotations

from pathlib import Path

import pytest

import zchat.aio
from tests.chat.conftest import chatting, run, until
from tests.conftest import BrokerProcess

pytestmark = pytest.mark.slow  # a broker is a process


def test_commands(shared_broker: BrokerProcess, room: str, user: str, tmp_path: Path) -> None:
    address, other = shared_broker.address, f"{room}.two"

    async def talk() -> None:
        async with zchat.aio.connect(address, "ben") as ben, chatting(address, user, room) as chat:
            heard = await ben.listen(room)
            await until(lambda: chat.of(room).is_live, "it is live")
            for line in ("hello :tada:", "/me waves", "/topic cats", "//slash"):
                assert chat.type(line)
            said = [await heard.get(20) for _ in range(4)]
            assert [(message.event, message.text) for message in said] == [
                ("message", "hello 🎉"),
                ("action", "waves"),
                ("topic", "cats"),
                ("message", "/slash"),
            ]
            await until(lambda: not chat.of(room).typed.unsent, "all are stored")
            assert not chat.type("/dance") and "no command /dance" in chat.face.told[-1]
            chat.type(f"/join {other}")
            await until(lambda: chat.face.name == other, "it is there")
            chat.type("/part")
            await until(lambda: chat.face.name != other, "it has left")
            chat.type(f"/who {room}", room)
            await until(lambda: any(f"{user}  live" in told for told in chat.face.told), "who is told")
            chat.type("/search hello", room)
            await until(lambda: chat.face.hits, "it is found")
            assert chat.face.hits == [(room, "hello 🎉")]
            chat.type("/topic", room)
            await until(lambda: "cats" in chat.face.told, "the topic is told")
            chat.type("/part nowhere", room)
            await until(lambda: "you are not in nowhere" in chat.face.told, "it is told")
            chat.type("/help", room)
            assert "/search WORDS" in chat.face.told[-1]
            chat.type("/quit", room)
            assert chat.face.has_quit

    run(talk())


@pytest.mark.parametrize("size", [40, 200_000, 2_500_000])
def test_a_file_is_sent_and_saved(
    shared_broker: BrokerProcess, room: str, user: str, tmp_path: Path, size: int
) -> None:
    sent, downloads = tmp_path / "a file.bin", tmp_path / "downloads"
    sent.write_bytes(b"\xff" + bytes(range(250)) * (size // 250))

    async def talk() -> None:
        async with (
            chatting(shared_broker.address, user, room) as chat,
            chatting(shared_broker.address, f"{user}-two", room, folder=downloads) as two,
        ):
            await until(lambda: two.of(room).is_live and chat.of(room).is_live, "it is live")
            two.type("/save")
            await until(lambda: "no file is here" in two.face.told, "there is none")
            chat.type(f"/file {sent}")
            await until(lambda: any(text.startswith("a file.bin, ") for text in two.texts(room)), "it is shown")
            two.type("/save")
            await until(lambda: two.face.told[-1].startswith("saved as"), "it is saved")
            (saved,) = downloads.iterdir()
            assert saved.read_bytes() == sent.read_bytes()
            chat.type("/file /no/such/file")
            await until(lambda: any("No such file" in told for told in chat.face.told), "it is told")

    run(talk())


def test_what_failed_is_sent_again(shared_broker: BrokerProcess, room: str, user: str) -> None:
    async def talk() -> None:
        async with chatting(shared_broker.address, user, room) as chat:
            await until(lambda: chat.of(room).is_live, "it is live")
            chat.type("x" * 2_000_000)
            await until(
                lambda: [unsent.state for unsent in chat.of(room).typed.unsent] == ["failed"], "it is too large"
            )
            chat.of(room).typed.unsent[0].text = "short"
            chat.type("/retry")
            await until(lambda: chat.texts(room) == ["short"], "it comes")
            assert not chat.of(room).typed.unsent

    run(talk())
