"""Copies what is said in some rooms to another one, all of them at once in one event loop.

python examples/merge.py all web db
"""

import asyncio
import sys

import zchat.aio


async def copy(client: zchat.aio.Client, room: str, into: str) -> None:
    """Goes on where it was when it is started again."""
    async for message in client.listen(room, resume=f"merge-{room}"):
        await client.send(into, f"{room}: {message.text}")


async def main(into: str, *rooms: str) -> None:
    """Until Ctrl-C."""
    async with zchat.aio.connect(user="merge") as client, asyncio.TaskGroup() as tasks:
        for room in rooms:
            tasks.create_task(copy(client, room, into))


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        pass
