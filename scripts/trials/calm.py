"""The end of a run: no more faults, everyone catches up, and the log is read out.

Rules of this file
1. Writers and who comes and goes first, then who serves and works; the listeners stay, so that the log's end is all
   that they must have.
2. A last message to every room tells the listeners, by its offset, what to wait for.
3. What is read of the log, and who is there, are of one moment: if somebody came or left meanwhile, all is read again.
4. What the broker finds in the log by other ways is what was read of it.
"""

from __future__ import annotations

import time
from pathlib import Path

import zchat
from trials import faults
from trials.cast import INBOX, JOBS, LATER, PURGED, READER, SHORT, SHORT_RECORDS
from trials.histories import Run
from trials.journal import Journal, record
from trials.planners import WORDS, word
from trials.writers import Letter, Writer
from zchat.names import matcher

LEAVES_SECONDS = 30.0
STEADY_SECONDS = 3.5  # longer than a client waits until it asks for a refused JOIN again
CATCH_UP_SECONDS = 90.0
READS_MAX = 10  # of the log, until nobody comes or leaves meanwhile
OUTCOME_SECONDS = 20.0
LAST = 3  # messages of each room that are asked for


class Calm:
    """Everything after the last fault."""

    def __init__(self, stage: faults.Stage, folder: Path) -> None:
        self._stage = stage
        self._folder = folder
        self.complaints: list[tuple[str, str, str]] = []

    def settle(self) -> Run:
        """Everyone but the listeners ends, the listeners catch up, the log is read."""
        stage = self._stage
        for modules in (("writers", "joiners", "purgers", "askers", "planners"), ("servers",)):
            self._end(modules)
        with zchat.connect(stage.broker.address, "boss", wait=20.0) as boss:
            self._wait_for_jobs(boss)
        self._end(("members",))
        caller = self._folder / "caller.journal"
        journal = Journal(caller)
        with zchat.connect(stage.broker.address, READER, wait=20.0) as client:  # who may read all that there is
            journal.write("S", client.session_id, client.log_id)
            self._wait_for_leaves(client)
            writer = Writer("caller", client, journal)
            for _ in range(READS_MAX):
                members = self._members(client)
                last = self._call(client, writer)
                self._wait_for_listeners(last)
                trimmed, latest, found = self._dump(client)
                if _members(client) == members:
                    break
            self._look_up(client, latest, found)
        return Run(stage.actors, caller, self._folder / "log.journal", members, trimmed)

    def _end(self, modules: tuple[str, ...]) -> None:
        actors = self._stage.of(*modules)
        for actor in actors:
            actor.end()
        for actor in actors:
            actor.ended(0)

    def _wait_for_jobs(self, client: zchat.Client) -> None:
        """Until the group has done all."""
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while any(group.low < group.last for group in client.groups(JOBS)):
            if time.monotonic() > deadline:
                self.complaints.append(("jobs_left", JOBS, f"not done after {CATCH_UP_SECONDS:g} s"))
                return
            time.sleep(0.1)

    def _members(self, client: zchat.Client) -> dict[str, dict[str, str]]:
        """Who is in the rooms, once that stays so: a JOIN that a full disk refused is asked again seconds later."""
        members: dict[str, dict[str, str]] = {}
        steady_since = time.monotonic()
        deadline = steady_since + LEAVES_SECONDS
        while time.monotonic() - steady_since < STEADY_SECONDS and time.monotonic() < deadline:
            found = _members(client)
            if found != members:
                members, steady_since = found, time.monotonic()
            time.sleep(0.1)
        return members

    def _wait_for_leaves(self, client: zchat.Client) -> None:
        deadline = time.monotonic() + LEAVES_SECONDS
        while lost := [member.session for member in client.who() if member.state == "lost"]:
            if time.monotonic() > deadline:
                self.complaints.append(("never_left", "broker", f"still lost: {lost}"))
                return
            time.sleep(0.1)

    def _call(self, client: zchat.Client, writer: Writer) -> dict[str, int]:
        """One more message for every room; returns where it is."""
        rooms = [room.name for room in client.rooms() if room.last]
        writer.publish([Letter(room, 10) for room in rooms])
        writer.settle(OUTCOME_SECONDS)
        if writer.unsettled:
            self.complaints.append(("no_outcome", "caller", f"{writer.unsettled} messages in the calm"))
        return {room.name: room.last for room in client.rooms() if room.last}

    def _wait_for_listeners(self, last: dict[str, int]) -> None:
        listeners = self._stage.of(*faults.LISTENERS)
        for actor in listeners:
            wants = matcher(actor.task["patterns"])
            actor.wait_for({room: offset for room, offset in last.items() if wants(room)})
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while behind := [actor.name for actor in listeners if not actor.has_all()]:
            if time.monotonic() > deadline:
                self.complaints.append(("behind", ", ".join(behind), f"not there after {CATCH_UP_SECONDS:g} s"))
                return
            time.sleep(0.1)

    def _look_up(self, client: zchat.Client, latest: dict[str, list[int]], found: dict[str, list[int]]) -> None:
        """The last messages of each room, and what search finds, are what the log has."""
        told: dict[str, list[int]] = {}
        for message in client.history("**", INBOX, last_per_room=LAST):
            told.setdefault(message.room, []).append(message.offset)
        for room in sorted(told.keys() | latest.keys()):
            if told.get(room, []) != latest.get(room, [])[-LAST:]:
                self.complaints.append(("last_wrong", room, f"{told.get(room)}, and the log has {latest.get(room)}"))
        for needle, offsets in found.items():
            there = [message.offset for message in client.search(needle, LATER, last=len(offsets) + 1, timeout=60.0)]
            if there != offsets[::-1]:
                wrong = sorted(set(there) ^ set(offsets))[:5]
                self.complaints.append(("search_wrong", LATER, f"{needle}: of {len(offsets)} it differs in {wrong}"))

    def _dump(self, client: zchat.Client) -> tuple[dict[str, int], dict[str, list[int]], dict[str, list[int]]]:
        """Read the log; returns what was trimmed of rooms, the last messages of each, and where each word is."""
        trimmed: dict[str, int] = {}
        latest: dict[str, list[int]] = {}
        found: dict[str, list[int]] = {word(number): [] for number in range(WORDS)}

        def noticed(notice: zchat.Notice) -> None:
            if notice.kind == "gap" and (notice.room, notice.reason) in ((SHORT, "trimmed"), (PURGED, "purged")):
                trimmed[notice.room] = max(notice.last, trimmed.get(notice.room, 0))
            else:
                self.complaints.append(("gap_in_log", notice.room, f"{notice}"))

        (self._folder / "log.journal").unlink(missing_ok=True)
        dump = Journal(self._folder / "log.journal")
        dump.note("S", client.session_id, client.log_id)
        kept = 0
        for number, message in enumerate(client.history("**", INBOX, presence=True, on_notice=noticed)):
            kept += message.room == SHORT
            if message.event not in ("join", "leave"):
                latest[message.room] = [*latest.get(message.room, [])[1 - LAST :], message.offset]
            if message.room == LATER and len(said := message.text.split(" ", 3)) > 2 and said[2] in found:
                found[said[2]].append(message.offset)
            dump.line(record(message))
            if number % 1000 == 0:
                dump.flush()
        dump.flush()
        if SHORT in trimmed and kept < SHORT_RECORDS:
            self.complaints.append(("trimmed_too_much", SHORT, f"{kept} left, {SHORT_RECORDS} are to be kept"))
        return trimmed, latest, found


def _members(client: zchat.Client) -> dict[str, dict[str, str]]:
    """Room -> session -> user."""
    rooms = [room.name for room in client.rooms() if room.last]
    return {name: {member.session: member.user for member in client.who(name)} for name in rooms}
