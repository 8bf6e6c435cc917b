"""What takes several requests, as steps: each one is carried out, and what comes of it says which is next.

    steps.send(answer) ─► Ask, Join, Listen … ─► StopIteration: done

Rules of this file
1. Who runs steps only waits: a thread, an event loop and the simulator run the same ones.
2. A step's answer is what the broker said, an ERROR too: the steps decide what it means.

Tests: tests/core/test_steps.py.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer, Request, given
from zchat.errors import WireError

if TYPE_CHECKING:
    from zchat.core.calling import RoomServer
    from zchat.core.client_session import SessionCore
    from zchat.core.working import GroupWorker, Receiver

T = TypeVar("T")


class Ask(NamedTuple):
    """A request; done when it is answered."""

    request: Request


class BecomeMember(NamedTuple):
    """Become a member; done when that is answered, or was nothing to ask."""

    rooms: set[str]


class Leave(NamedTuple):
    """Take a `Join` back; done as that is."""

    rooms: set[str]


class PlaceCursor(NamedTuple):
    """Store a cursor, in the log that the broker has by then; done when that is answered."""

    name: str
    offset: int


class Listen(NamedTuple):
    """Subscribe; done, without an answer, once everything from then on will be delivered."""

    listener: Receiver


class TakePart(NamedTuple):
    """Be a member of a group; done when that is answered. Its `Listen` came before."""

    worker: GroupWorker


class TakeNoPart(NamedTuple):
    """Be none any more, once what was done is stored."""

    worker: GroupWorker


class CallServers(NamedTuple):
    """Ask who serves a room; done when all have replied."""

    call: wire.Call


class ServeRoom(NamedTuple):
    """Take requests; done when the broker knows."""

    server: RoomServer


class ServeNoMore(NamedTuple):
    """Take none any more."""

    server: RoomServer


Step: TypeAlias = (
    Ask | BecomeMember | Leave | PlaceCursor | Listen | TakePart | TakeNoPart | CallServers | ServeRoom | ServeNoMore
)
Steps: TypeAlias = Generator[Step, Answer, T]


def done(step: Step) -> Steps[None]:
    """One step, and nothing else; it is done when the broker says so. Raises Refused, WireError."""
    given((yield step), wire.Done)


def purge(room: str, upto: int, before: int | None) -> Steps[None]:
    """Have a room purged up to an offset, 0 being all of it; or of what is older than a time. Raises Refused."""
    if before is not None:
        upto = given((yield Ask(wire.Seek(0, [room], 0, before))), wire.Position).after
        if not upto:
            return
    given((yield Ask(wire.Purge(0, room, upto))), wire.Done)


def all_scheduled() -> Steps[list[wire.ScheduledMessage]]:
    """All that the user has scheduled, the next due first, page by page. Raises Refused, WireError."""
    found: list[wire.ScheduledMessage] = []
    while True:
        last = found[-1] if found else None
        question = wire.Scheduled(0) if last is None else wire.Scheduled(0, last.due, last.id)
        page = given((yield Ask(question)), wire.ScheduledAre)
        if page.more and not page.messages:
            raise WireError("bad-frame", "a page of what is scheduled has nothing, and says that there is more")
        found += page.messages
        if not page.more:
            return found


def begin(step: Step, core: SessionCore, now: Instant) -> int:
    """Carry it out. Returns the number of the request whose answer it waits for; 0: it waits for none."""
    match step:
        case Ask(request):
            return core.ask(request, now)
        case BecomeMember(rooms):
            return core.join(rooms, now)
        case Leave(rooms):
            return core.part(rooms, now)
        case PlaceCursor(name, offset):
            assert core.welcome is not None, "connected"
            return core.ask(wire.SetCursor(0, name, core.welcome.log_id, offset), now)
        case Listen(listener):
            core.listen(listener, now)
            return 0
        case TakePart(worker):
            return core.working.join(worker, core, now)
        case TakeNoPart(worker):
            return core.working.leave(worker, core, now)
        case CallServers(call):
            return core.calling.call(call, core)
        case ServeRoom(server):
            return core.calling.serve(server, core, now)
        case ServeNoMore(server):
            return core.calling.end(server, core, now)
