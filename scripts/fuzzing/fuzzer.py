"""A process that sends course after course to one broker, or to its doors, until it is told to end.

ready        it may be told to go
{…}          at its end: courses of each level, bytes that it was told, and what it was told that is another's

The journal gets `Q level number` before each course, so that the last ones are known when the broker is not there. The
task says the seed and the number of the first course.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from random import Random

import zmq
from attacks.peers import ENDS, Peer, Place
from trials.control import Control

from fuzzing import courses, doors
from fuzzing.courses import Course, KeyedCourse
from zchat.keys import KeyPair
from zchat.sockets.curve import prove

AWAITED_SECONDS = 0.05
KEPT_PEERS_MAX = 30  # that stay open
KEYED_MILLISECONDS = 5
TAIL_BYTES = 100  # what is another's may come in two pieces

Draws = Callable[[Random], Course]


class Fuzzer:
    """Its connections, one after the other."""

    def __init__(self, control: Control) -> None:
        task = control.task
        self._control = control
        self._place = Place(*task["place"])
        self._place.check()
        self._secret = bytes.fromhex(task["secret"])
        self._kept: deque[Peer] = deque()
        self._levels: dict[str, Draws] = {**courses.LEVELS, **doors.LEVELS}
        self._context = zmq.Context()
        self._context.linger = 0
        self.counts: Counter[str] = Counter()
        self.told_bytes = 0
        self.leaked = 0

    def run(self) -> None:
        """Until told to end."""
        task = self._control.task
        for number in count(task["first"], task["step"]):
            if self._control.stopping.is_set():
                break
            level = task["levels"][number // task["step"] % len(task["levels"])]
            self._control.journal.write("Q", level, number)
            self.counts[level] += 1
            draw = Random(f"{task['seed']} {level} {number}")
            if level == "keyed":
                self._take_keyed(courses.keyed(draw), *task["keys"])
            else:
                self._take(self._levels[level](draw))
        for peer in self._kept:
            peer.reset()
        self._context.destroy()

    def _take_keyed(self, course: KeyedCourse, pair: list[str], server: str) -> None:
        place = self._place
        socket = self._context.socket(zmq.XSUB if course.publisher else zmq.DEALER)
        prove(socket, KeyPair(*pair), server)
        socket.connect(f"tcp://{place.host}:{place.publisher if course.publisher else place.router}")
        for message in course.messages:
            try:
                socket.send_multipart(message, zmq.DONTWAIT)
            except zmq.Again:  # it is not connected any more
                break
            while socket.poll(KEYED_MILLISECONDS):
                told = b"".join(socket.recv_multipart())
                self.told_bytes += len(told)
                self.leaked += self._secret in told
        socket.close()

    def _take(self, course: Course) -> None:
        place = self._place
        peer = Peer(place.host, place.publisher if course.publisher else place.router)
        tail = b""
        for data, awaited in course.pieces:
            if not peer.send(data):
                break
            told = peer.read(AWAITED_SECONDS if awaited else 0.0, max(1, awaited))
            self.told_bytes += len(told)
            self.leaked += self._secret in tail + told
            tail = told[-TAIL_BYTES:]
        ENDS[course.end](peer)
        if peer.is_open:
            self._kept.append(peer)
        while len(self._kept) > KEPT_PEERS_MAX:
            self._kept.popleft().fin()


def main() -> None:
    """Fuzz until told to end."""
    control = Control()
    fuzzer = Fuzzer(control)
    print("ready", flush=True)
    control.going.wait()
    fuzzer.run()
    print(json.dumps({"courses": fuzzer.counts, "told": fuzzer.told_bytes, "leaked": fuzzer.leaked}), flush=True)


if __name__ == "__main__":
    main()
