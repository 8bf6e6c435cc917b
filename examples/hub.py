"""A gateway with many users that hears a room once: the users are its members, and each is handed what comes.

python examples/hub.py lobby ann bob eve
"""

import asyncio
import sys

import zchat.aio


async def main(room: str, users: list[str]) -> None:
    """Everybody joins, ann speaks, and each is handed what was said."""
    async with zchat.aio.connect(user="gateway") as gateway:
        sessions = [await gateway.session(user) for user in users]
        async with gateway.listen(room, join=False) as messages:
            for session in sessions:
                await session.join(room)
            print("in the room:", *sorted(member.user for member in await gateway.who(room)))
            await sessions[0].send(room, "hello")
            message = await messages.get(timeout=5)
            for session in sessions:
                print(f"to {session.user}: {message.user}: {message.text}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
