"""A gateway: many users over one connection. What each writes is theirs, and each is told what the others wrote.

python examples/many.py lobby ann bob eve
"""

import sys

import zchat


def main(room: str, users: list[str]) -> None:
    """Everybody greets the room, and hears all greetings."""
    with zchat.connect(user="gateway") as gateway:
        sessions = [gateway.session(user) for user in users]
        heard = [session.listen(room) for session in sessions]
        for session in sessions:
            session.send(room, f"{session.user} is here")
        for session, messages in zip(sessions, heard, strict=True):
            print(f"{session.user} heard {len([messages.get(timeout=5) for _ in users])} greetings")
        print(len(gateway.who(room)), "are in the room")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
