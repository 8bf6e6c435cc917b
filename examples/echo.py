"""A bot: answers whoever says `!echo TEXT` in a room, and goes on where it was when it is started again.

python examples/echo.py general
"""

import sys

import zchat


def main(room: str) -> None:
    """Until Ctrl-C."""
    with zchat.connect(user="echo") as client, client.listen(room, resume="echo", echo=False) as messages:
        for message in messages:
            if message.text.startswith("!echo "):
                client.send(room, message.text.removeprefix("!echo "))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
