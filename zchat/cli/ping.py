"""`zchat ping`: how long the broker takes to answer, and whether it does."""

from __future__ import annotations

import sys
import time
from statistics import median
from typing import Annotated

import typer

from zchat.cli import exit_status, options
from zchat.cli.connecting import connect

OPTION_ALIASES = {"c": "n", "i": "interval"}  # of ping(8)
ANSWERS = 3
INTERVAL_SECONDS = 0.5


def ping(
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=1, help="How many answers to ask for.")
    ] = ANSWERS,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", parser=options.duration, help="The time between them.")
    ] = INTERVAL_SECONDS,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    json: options.Json = False,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Ask the broker for answers, and show how long they take.

    Each is waited for as long as --wait says. The status is 0 when all came: for monitors.

    Examples:
      zchat ping
      zchat ping -b chat.example -n 1 -q --wait 2
      zchat ping -n 60 --interval 1s --json
    """
    from zchat.cli.output import counted
    from zchat.names import inbox

    taken: list[float] = []
    with connect(broker, user, wait=wait, timeout=wait) as client:
        own = inbox(client.user)  # who is there is a short answer, and goes the way of all questions
        for number in range(1, count + 1):
            began = time.perf_counter()
            client.who(own)
            taken.append(time.perf_counter() - began)
            if json:
                print(f'{{"number":{number},"seconds":{taken[-1]:.6f}}}', flush=True)
            elif not quiet:
                print(f"{number}: {taken[-1] * 1_000:.2f} ms", flush=True)
            if number < count:
                time.sleep(interval)
        if not json and not quiet and sys.stderr.isatty():
            spread = ", ".join(f"{name} {seconds * 1_000:.2f} ms" for name, seconds in _spread(taken))
            exit_status.tell(f"{counted(count, 'answer')} of {client.address}: {spread}")


def _spread(taken: list[float]) -> list[tuple[str, float]]:
    return [("fastest", min(taken)), ("median", median(taken)), ("slowest", max(taken))]
