"""What a broker of the simulation says that is not so: wrong kinds, pages that do not go on, damage, HELLO_AGAIN.

Rules of this file
1. A lie that a client can see through costs nobody a message. What it cannot know, a batch that makes no sense in a
   PAGE, may be told as a gap: `told_damaged` has them, for the checker.
2. The lies end with the other faults; by the end of the calm everything is as it should be.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.simulation.network import World
from zchat import wire

HELLO_AGAIN = wire.encode(wire.HelloAgain())
STORM = 20  # of HELLO_AGAIN in a row


def replies(world: World, frame: bytes, told_damaged: Callable[[int], None]) -> list[bytes]:
    """What is sent instead of a reply. `told_damaged` is given the offset of a batch that is spoilt."""
    faults, reply = world.faults, wire.decode_broker(frame)
    if isinstance(reply, wire.For):
        wrapped = wire.for_channel(reply.channel)
        return [wrapped + each for each in replies(world, bytes(reply.message), told_damaged)]
    if world.chance(faults.lie_hello_again):
        world.counts["lies: hello again"] += 1
        return [frame, *[HELLO_AGAIN] * STORM]
    is_answer = isinstance(reply, wire.Page | wire.Position | wire.HeadsAre | wire.Done | wire.CursorsAre)
    if is_answer and world.chance(faults.lie_kind):
        world.counts["lies: another kind"] += 1
        return [wire.encode(wire.RoomsAre(wire.number_of(frame), []))]
    if not isinstance(reply, wire.Page):
        return [frame]
    if world.chance(faults.lie_page):
        world.counts["lies: pages"] += 1
        reply.upto, reply.more = world.random.choice([(0, True), (reply.upto + 1_000, False), (1, True)])
        return [wire.encode(reply)]
    if reply.batches and world.chance(faults.lie_damage):
        world.counts["lies: damage in a page"] += 1
        at = world.random.randrange(len(reply.batches))
        room, batch = reply.batches[at]
        head = wire.decode_head(batch)
        spoilt = msgspec.msgpack.encode([head.kind, head.base, head.prev, head.time, "spoilt"])
        reply.batches[at] = (room, wire.raw(spoilt))
        told_damaged(head.base)
        return [wire.encode(reply)]
    return [frame]


def broadcast(world: World, frame: bytes) -> bytes:
    """What is broadcast to one subscriber instead."""
    if frame[1:2] < b"\3" and world.chance(world.faults.lie_damage):
        world.counts["lies: damage on the way"] += 1
        return frame[: -world.random.randint(1, 5)]
    return frame
