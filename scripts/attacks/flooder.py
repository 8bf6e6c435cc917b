"""A process that floods a broker in some ways at once, from `go` until it is told to end.

ready        its buffers are made
{…}          at its end: bytes sent, connections made, how often it was cut off or refused; all have left then
"""

from __future__ import annotations

import json
import resource
import time

from trials.control import Control

from attacks.knocking import Knocking, Knocks
from attacks.limits import EVERY
from attacks.peers import Place
from attacks.pouring import Pour, Source


def main() -> None:
    """Flood until told to end."""
    control = Control()
    task = control.task
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sources = [source for name in task["kinds"] for source in EVERY[name].sources]
    place = Place(*task["place"])
    flood = _knocking(place, sources, task["server"]) or Pour(
        place, [source for source in sources if isinstance(source, Source)], task["rate"], task["log_id"]
    )
    print("ready", flush=True)
    control.going.wait()
    began = time.monotonic()
    flood.run(lambda: not control.stopping.is_set())
    seconds = time.monotonic() - began
    flood.close()
    print(json.dumps({"seconds": seconds, **flood.counts}), flush=True)


def _knocking(place: Place, sources: list[Source | Knocks], server: str) -> Knocking | None:
    """Those are alone."""
    return next((Knocking(place, source, server) for source in sources if isinstance(source, Knocks)), None)


if __name__ == "__main__":
    main()
