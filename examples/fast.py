"""The fast way to publish: queue everything, then wait once. Prints how many messages a second were stored.

python examples/fast.py 100000
"""

import sys
import time

import zchat


def main(count: int) -> None:
    """`publish` returns at once; `flush` waits until all is stored, and raises what was refused first."""
    with zchat.connect() as client:
        began = time.monotonic()
        for number in range(count):
            client.publish("numbers", str(number))
        client.flush()
        print(f"{count:,} messages stored, {count / (time.monotonic() - began):,.0f} a second")


if __name__ == "__main__":
    main(int(sys.argv[1]))
