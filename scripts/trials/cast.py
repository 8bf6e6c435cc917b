"""Who takes part: writers in every style, listeners of every kind, and those who come and go.

rooms: hall, hall.east, yard, 会议    everybody's
       fat                           large messages
       short                         of which the broker keeps only so many; nobody is a member
       new.*                         one more every few seconds
       jobs                          a group works on it
       ask                           is served
       later                         what was scheduled
       purged                        again and again; nobody is a member
       @reader                       an inbox, which nobody else hears
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from trials.commands import Command
from trials.places import Network
from trials.processes import Actor, Complain
from zchat.names import inbox

ROOMS = ["hall", "hall.east", "yard", "会议"]
READER = "reader"
INBOX = inbox(READER)
SHORT = "short"
SHORT_RECORDS = 2_000
JOBS, ASK, LATER, PURGED = "jobs", "ask", "later", "purged"
BROKER_ARGS = ("--insecure", "--retain", f"{SHORT}={SHORT_RECORDS}", "--grace", "2", "--restart-grace", "8")


@dataclass(frozen=True)
class Part:
    """One of the cast."""

    name: str
    module: str
    task: dict[str, Any] = field(default_factory=dict)
    place: str = "near"  # or "relay", or "far"


PARTS = (
    Part("w-steady", "writers", {"style": "steady", "rooms": ROOMS}),
    Part("w-bursts", "writers", {"style": "bursts", "rooms": ROOMS}),
    Part("w-fat", "writers", {"style": "fat", "rooms": ["fat"]}),
    Part("w-short", "writers", {"style": "steady", "rooms": [SHORT]}),
    Part("w-inbox", "writers", {"style": "bursts", "rooms": [INBOX, "yard"]}),
    Part("w-wander", "writers", {"style": "wander", "rooms": ["new"]}),
    Part("w-relay", "writers", {"style": "steady", "rooms": ROOMS}, "relay"),
    Part("w-far", "writers", {"style": "bursts", "rooms": ROOMS}, "far"),
    Part("l-hall", "listeners", {"patterns": ["hall"], "presence": True}),
    Part("l-all", "listeners", {"patterns": ["**"], "presence": True}),
    Part("l-history", "listeners", {"patterns": ["hall.*", "new.**", "fat"], "presence": False, "behind": 1 << 60}),
    Part("l-short", "listeners", {"patterns": ["*"], "presence": False, "behind": 60_000}),
    Part("l-narrow", "listeners", {"patterns": ["**"], "presence": False, "narrow": True, "slow": 0.0005}),
    Part("l-auto", "listeners", {"patterns": ["yard"], "presence": False, "resume": "one"}),
    Part(
        "l-commits",
        "listeners",
        {"patterns": ["hall", "会议"], "presence": True, "resume": "two", "auto_commit": False, "slow": 0.001},
    ),
    Part(
        "l-slow",
        "listeners",
        {"patterns": ["yard"], "presence": False, "resume": "x", "auto_commit": False, "slow": 0.003},
    ),
    Part("l-auto-all", "listeners", {"patterns": ["new.**", "fat"], "presence": False, "resume": "more"}),
    Part("l-command", "commands", {"patterns": ["yard"], "presence": False, "resume": "printed"}),
    Part("l-commands", "commands", {"patterns": ["hall", "new.**"], "presence": False, "resume": "printed"}, "relay"),
    Part("l-inbox", "listeners", {"patterns": [INBOX], "presence": True, "user": READER}),
    Part("l-inbox-relay", "listeners", {"patterns": ["yard", INBOX], "presence": False, "user": READER}, "relay"),
    Part("l-relay", "listeners", {"patterns": ["hall", "fat"], "presence": True}, "relay"),
    Part("l-relay-all", "listeners", {"patterns": ["**"], "presence": False}, "relay"),
    Part("l-far", "listeners", {"patterns": ["**"], "presence": True}, "far"),
    Part("l-far-yard", "listeners", {"patterns": ["yard", "hall.east"], "presence": True}, "far"),
    Part("j-1", "joiners", {"rooms": ROOMS, "user": "jo"}),
    Part("j-2", "joiners", {"rooms": ROOMS, "user": "jo"}),
    Part("j-relay", "joiners", {"rooms": ROOMS}, "relay"),
    Part("w-jobs", "writers", {"style": "bursts", "rooms": [JOBS]}),
    Part("w-purged", "writers", {"style": "steady", "rooms": [PURGED]}),
    Part("m-1", "members", {"room": JOBS}),
    Part("m-2", "members", {"room": JOBS}),
    Part("m-3", "members", {"room": JOBS}),
    Part("s-1", "servers", {"room": ASK}),
    Part("s-2", "servers", {"room": ASK}),
    Part("a-1", "askers", {"room": ASK}),
    Part("a-relay", "askers", {"room": ASK}, "relay"),
    Part("p-soon", "planners", {"room": LATER, "delay": 0.3}),
    Part("p-late", "planners", {"room": LATER, "delay": 3.0}),
    Part("p-purged", "purgers", {"room": PURGED}),
)


def enlist(folder: Path, complain: Complain, network: Network, port: int, seed: int) -> list[Actor]:
    """All of them, not yet started."""
    hosts = {"near": network.broker_host, "relay": network.relay_host, "far": network.broker_host}
    actors = []
    for part in PARTS:
        if part.place == "far" and not network.far:
            continue
        address = f"tcp://{hosts[part.place]}:{port}"
        draw = Random(f"{seed} {part.name}")
        task = {
            "address": address,
            "user": part.name,
            "place": part.place,
            "seed": draw.randrange(1 << 30),
            **part.task,
        }
        prefix = network.far if part.place == "far" else ()
        kind = Command if part.module == "commands" else Actor
        actors.append(kind(part.name, part.module, task, folder, complain, prefix))
    return actors
