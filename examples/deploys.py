"""Events with headers: reports a deployment, and prints which version each host had last.

python examples/deploys.py report web1 v2
python examples/deploys.py show
"""

import sys

import zchat

ROOM = "ops.deploys"


def report(client: zchat.Client, host: str, version: str) -> None:
    """It is stored, with whatever happens to this process, once `send` has returned."""
    offset = client.send(ROOM, f"{host} has {version}", event="deployed", headers={"host": host, "version": version})
    print(f"stored at {offset}")


def show(client: zchat.Client) -> None:
    """The newest event of each host wins."""
    versions = {}
    for message in client.history(ROOM):
        if message.event == "deployed":
            versions[message.headers["host"]] = message.headers["version"]
    for host, version in sorted(versions.items()):
        print(host, version)


if __name__ == "__main__":
    with zchat.connect() as client:
        if sys.argv[1] == "report":
            report(client, *sys.argv[2:])
        else:
            show(client)
