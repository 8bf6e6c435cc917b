"""A process that is wicked to a broker, in some strands at once, until it is told to end. Drawn from a seed.

The journal gets a line for each turn before it happens, so that the last ones are there when the broker is not:

    Y time port state deed,deed pace     a peer of one connection; then its end: `Z end`
    C time recipe                        several connections that belong together
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from random import Random

from trials.control import Control

from attacks import deeds, zmtp
from attacks.peers import Peer, Place, end

STRANDS = 4  # threads: most of the time each waits for the other side
KEPT_PEERS_MAX = 40  # of a strand, that stay open and do nothing
WORD_SECONDS = 0.1  # to wait for an answer
RECIPES_SHARE = 0.12
DRIBBLED_BYTES = 300
PAUSE_SECONDS = 0.01


class Attacker:
    """One strand: a stranger with many connections."""

    def __init__(self, control: Control, strand: int, lock: threading.Lock) -> None:
        task = control.task
        self._control, self._lock = control, lock
        self._draw = Random(f"{task['seed']} {strand}")
        self._place = Place(*task["place"])
        self._place.check()
        self._kept: deque[Peer] = deque()

    def run(self) -> None:
        """Until told to end."""
        draw, stopping = self._draw, self._control.stopping
        while not stopping.is_set():
            if draw.random() < RECIPES_SHARE:
                recipe = draw.choice(RECIPES)
                self._write("C", round(time.time(), 3), recipe.__name__)
                recipe(self)
            else:
                self._one()
            while len(self._kept) > KEPT_PEERS_MAX:
                draw.choice((Peer.fin, Peer.reset))(self._kept.popleft())
            stopping.wait(draw.random() * PAUSE_SECONDS)
        for peer in self._kept:
            draw.choice((Peer.fin, Peer.reset))(peer)

    # --- one connection ---------------------------------------------------------------------

    def _one(self) -> None:
        draw = self._draw
        publisher = draw.random() < 0.4
        state = draw.choice(STATES)
        choice = [*deeds.EVERYWHERE, *(deeds.PUBLISHER if publisher else deeds.ROUTER) * 2]
        chosen = [draw.choice(choice) for _ in range(draw.choice((0, 1, 1, 2, 5)))]
        pace = draw.choice(("whole", "whole", "whole", "dribbled", "halved", "late"))
        names = ",".join(deed.__name__ for deed in chosen) or "nothing"
        self._write("Y", round(time.time(), 3), "xpub" if publisher else "router", state, names, pace)
        peer = self._dial(publisher)
        self._come_to(peer, state, publisher)
        for deed in chosen:
            self._send(peer, deed(draw), pace)
            if draw.random() < 0.4:
                peer.read()
        if draw.random() < 0.3:
            self._control.stopping.wait(draw.random() * WORD_SECONDS)
        self._end(peer)

    def _come_to(self, peer: Peer, state: str, publisher: bool) -> None:
        draw = self._draw
        right = (b"SUB", b"XSUB") if publisher else (b"DEALER", b"DEALER", b"REQ", b"ROUTER")
        kind = draw.choice(right if draw.random() < 0.8 else zmtp.SOCKET_TYPES)
        name = deeds.routing_id(draw)
        if state == "greeted":
            peer.send(zmtp.greeting(draw.randrange(2)))
        elif state == "old":
            peer.send(draw.choice((zmtp.greeting_1((name or b"")[:200]), zmtp.greeting_2(kind, name or b""))))
        elif state == "unread":  # it does not wait for the other side's words
            peer.send(zmtp.handshake(kind, name, draw.randrange(2)))
        elif state in ("ready", "hello"):
            peer.greet(kind, name, draw.randrange(2))
            if state == "hello" and not publisher:
                peer.send(deeds.hello(draw))
                peer.read(WORD_SECONDS, 100)

    def _send(self, peer: Peer, data: bytes, pace: str) -> None:
        draw = self._draw
        if pace == "dribbled":
            peer.dribble(data[:DRIBBLED_BYTES], draw.choice((0.0, 0.0, 0.001)))
            peer.send(data[DRIBBLED_BYTES:])
        elif pace == "halved":
            peer.send(data[: draw.randrange(len(data) + 1)])
        elif pace == "late":
            half = len(data) // 2
            peer.send(data[:half])
            self._control.stopping.wait(draw.random() * WORD_SECONDS)
            peer.send(data[half:])
        else:
            peer.send(data)

    # --- many -------------------------------------------------------------------------------

    def full_queues(self) -> None:
        """Queues that are full, a PING behind, and a reset while the program is busy."""
        draw = self._draw
        publisher = draw.random() < 0.3
        kind = b"SUB" if publisher else draw.choice((b"DEALER", b"REQ", b"ROUTER"))
        busy = self._dial(False)
        busy.greet(b"DEALER")
        busy.send(deeds.hello(draw))
        busy.read(WORD_SECONDS, 100)
        peers = [self._dial(publisher) for _ in range(draw.choice((1, 5, 20)))]
        for peer in peers:
            peer.greet(kind, deeds.routing_id(draw) if draw.random() < 0.2 else None)
        busy.send(deeds.questions(draw))
        for peer in peers:
            peer.send(b"".join(deeds.subscription(draw) for _ in range(5)) if publisher else deeds.small_and_ping(draw))
            if draw.random() < 0.5:
                peer.send(zmtp.ping(1, b"x" * draw.randrange(17)) * draw.choice((1, 50)))
        self._control.stopping.wait(draw.choice((0.0, 0.0, 0.05, 0.3, 1.0)))
        for peer in peers:
            if draw.random() < 0.6:
                peer.reset()
            else:
                self._end(peer)
        self._end(busy)

    def squatters(self) -> None:
        """Names that a ROUTER is about to give, then peers without a name; and one name twice."""
        draw = self._draw
        for _ in range(draw.choice((3, 15))):
            peer = self._dial(False)
            peer.send(zmtp.handshake(b"DEALER", b"\0" + deeds.given_id(draw)))
            self._kept.append(peer)
        twice = draw.randbytes(5)
        for _ in range(draw.choice((2, 5))):
            peer = self._dial(False)
            peer.greet(b"DEALER", twice)
            peer.send(deeds.hello(draw) + zmtp.frame(b"x" * 1000) * 50)
            self._kept.append(peer)
        for _ in range(draw.choice((5, 40))):
            peer = self._dial(False)
            peer.send(zmtp.handshake(b"DEALER"))
            self._end(peer)

    def crowd(self) -> None:
        """Many connects at once that say nothing, or a part of a greeting, and end together."""
        draw = self._draw
        said = draw.choice((b"", b"\xff", zmtp.greeting(), zmtp.handshake(b"SUB"), zmtp.handshake(b"DEALER")))
        said = said[: draw.randrange(len(said) + 1)] if draw.random() < 0.5 else said
        peers = [self._dial(draw.random() < 0.5) for _ in range(draw.choice((10, 60)))]
        for peer in peers:
            if said:
                peer.send(said)
        if draw.random() < 0.5:
            self._control.stopping.wait(draw.random() * WORD_SECONDS)
        how = draw.choice((Peer.fin, Peer.reset))
        for peer in peers:
            how(peer)

    def every_cut(self) -> None:
        """One whole course of bytes, cut at every byte of its beginning, a connection for each."""
        draw = self._draw
        publisher = draw.random() < 0.5
        whole = zmtp.handshake(b"SUB" if publisher else b"DEALER", None, draw.randrange(2))
        whole += deeds.subscription(draw)[:40] if publisher else deeds.hello(draw) + deeds.letter(draw)[:40]
        how = draw.choice((Peer.fin, Peer.reset))
        for cut in range(draw.randrange(1, 10), len(whole), 7):
            peer = self._dial(publisher)
            peer.send(whole[:cut])
            how(peer)

    def endless(self) -> None:
        """A message that never ends, and then does not end."""
        draw = self._draw
        peer = self._dial(draw.random() < 0.3)
        peer.greet(draw.choice((b"DEALER", b"SUB")))
        part = zmtp.frame(draw.randbytes(draw.choice((0, 100, 400))), zmtp.MORE) * 100
        for _ in range(draw.choice((10, 200))):
            if not peer.send(part):
                break
        self._end(peer)

    def _dial(self, publisher: bool) -> Peer:
        return Peer(self._place.host, self._place.publisher if publisher else self._place.router)

    def _end(self, peer: Peer) -> None:
        self._write("Z", end(peer, self._draw))
        if peer.is_open:
            self._kept.append(peer)

    def _write(self, *fields: object) -> None:
        with self._lock:
            self._control.journal.write(*fields)


STATES = ("connected", "greeted", "old", "unread", "ready", "ready", "hello", "hello")
RECIPES: tuple[Callable[[Attacker], None], ...] = (
    Attacker.full_queues,
    Attacker.full_queues,
    Attacker.squatters,
    Attacker.crowd,
    Attacker.every_cut,
    Attacker.endless,
)


def main() -> None:
    """Attack until told to end."""
    control = Control()
    lock = threading.Lock()
    strands = [threading.Thread(target=Attacker(control, number, lock).run) for number in range(STRANDS)]
    print("ready", flush=True)
    control.going.wait()
    for strand in strands:
        strand.start()
    for strand in strands:
        strand.join()


if __name__ == "__main__":
    main()
