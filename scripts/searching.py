#!/usr/bin/env python3
"""searching.py: full text search in a log of millions of messages: how long it takes, and whether it finds all.

    .venv/bin/python scripts/searching.py --messages 5000000 --folder /var/tmp

Publishes sentences of a small vocabulary, each with a word of its own, into ten rooms; waits until the index has all
but what is looked through; asks. The folder is removed at the end. Exit status: 0; 1 when an answer is wrong; 2 usage.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from statistics import median

import zchat
from zchat.log.search.filler import BEHIND_MAX
from zchat.log.search.index import SearchIndex
from zchat.log.search.tables import FILE
from zchat.testing import broker

ROOMS = 10
WORDS = 18  # of a sentence, about 128 bytes
VOCABULARY = 20_000
SENTENCES = 50_000  # different ones
COMMON, RARE = "error", "needle"
COMMON_SHARE = 0.3
LAST = 20
ASKED = 15  # times each
FILL_SECONDS_MAX = 3_600.0


def main() -> int:
    """Parse, publish, wait, ask, print."""
    parser = argparse.ArgumentParser(description="Measure searches.")
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the log is made; default: the temporary folder")
    wanted = parser.parse_args()
    if wanted.messages < 100:
        parser.error("at least 100 messages")
    with (
        tempfile.TemporaryDirectory(prefix="zchat-searching-", dir=wanted.folder) as name,
        broker("--data", name) as address,
        zchat.connect(address, "writer", timeout=60) as client,
    ):
        return 0 if measure(client, Path(name), wanted.messages) else 1


def measure(client: zchat.Client, folder: Path, messages: int) -> bool:
    """All of it. Returns whether all was found."""
    began = time.monotonic()
    needles = publish(client, messages)
    published = time.monotonic()
    index = SearchIndex(folder, client.log_id)
    while messages - index.upto() > BEHIND_MAX:
        if time.monotonic() - published > FILL_SECONDS_MAX:
            print("the index does not fill", file=sys.stderr)
            return False
        time.sleep(0.2)
    filled = time.monotonic()
    size = sum(path.stat().st_size for path in folder.glob(f"{FILE}*"))
    whole = sum(path.stat().st_size for path in folder.iterdir())
    print(
        f"published    {messages:,} in {published - began:.1f} s; the index had them {filled - published:.1f} s later"
    )
    print(f"on disk      {whole / 1e6:,.0f} MB, of which the index {size / 1e6:,.0f} MB")
    found = [message.offset for message in client.search(RARE, last=1_000)]
    for title, ask in (
        ("a rare word", lambda: client.search(RARE, last=LAST)),
        ("a common word", lambda: client.search(COMMON, last=LAST)),
        ("a word of one message", lambda: client.search(f"order{messages // 2}")),
        ("no message", lambda: client.search("nowhere")),
        ("both of two common words", lambda: client.search(f"{COMMON} w0", last=LAST)),
        ("a phrase", lambda: client.search(f'"{COMMON} w1"', last=LAST)),
        ("a beginning", lambda: client.search("ord*", last=LAST)),
        ("a common word in one room", lambda: client.search(COMMON, "load.3", last=LAST)),
    ):
        print(f"{title:26} {milliseconds(ask):8.1f} ms")
    if found != needles:
        print(f"found {len(found)} of {len(needles)}: {found}, not {needles}", file=sys.stderr)
    return found == needles


def sentences_of(chance: random.Random) -> list[str]:
    """Some words are frequent, most are rare."""
    weights = list(accumulate(1 / (rank + 1) for rank in range(VOCABULARY)))
    names = [f"w{rank}" for rank in range(VOCABULARY)]
    return [
        " ".join(
            ([COMMON] if chance.random() < COMMON_SHARE else []) + chance.choices(names, cum_weights=weights, k=WORDS)
        )
        for _ in range(SENTENCES)
    ]


def publish(client: zchat.Client, messages: int) -> list[int]:
    """Publish them. Returns the offsets of those with the rare word, newest first."""
    sentences = sentences_of(random.Random(1))
    rare = {messages // 50, messages // 3, messages - messages // 7, messages - 2}
    rooms = [f"load.{number}" for number in range(ROOMS)]
    publications = []
    for number in range(messages):
        text = f"{sentences[number % SENTENCES]} order{number}"
        if number in rare:
            publications.append(client.publish(rooms[number % ROOMS], f"{text} {RARE}"))
        else:
            client.publish(rooms[number // 1_000 % ROOMS], text)
    client.flush(600)
    return sorted((publication.result() for publication in publications), reverse=True)


def milliseconds(ask: Callable[[], object]) -> float:
    """The median of some."""
    times = []
    for _ in range(ASKED):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return median(times) * 1000


if __name__ == "__main__":
    sys.exit(main())
