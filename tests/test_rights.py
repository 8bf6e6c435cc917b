"""Rights at a broker over TCP, by bare sockets: what each user gets, and that no byte goes where it may not.

The table says for each thing that can be done who may do it in `ops.a`; everybody else is refused. Then what comes by
itself: on the SUB of whoever subscribes to everything, beside peers that have subscriptions put on others, and on the
ROUTER; also while the rules change.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import zmq

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.keyed import KeyedBroker, start_keyed
from zchat import wire
from zchat.address import parse
from zchat.client import Client
from zchat.errors import WireError
from zchat.keys import Credentials, Grant
from zchat.sockets import curve
from zchat.sockets.client import Connection

pytestmark = pytest.mark.slow  # a process, and sockets

RULES = """
[groups]
ops = ["carol"]

[rooms."ops.**"]
read = ["ann", "group:ops", "ci.*"]
write = ["ann", "group:ops", "ci.*"]
presence = ["ann", "group:ops"]
history = ["ann", "group:ops"]
admin = ["ann", "root"]
"""
CLOSED = 'default = "closed"\n' + RULES
USERS = ("ann", "carol", "ci.7", "root", "bob")  # by name, by group, by pattern, admin alone, and nothing at all
READERS, FULL, ADMINS = {"ann", "carol", "ci.7"}, {"ann", "carol"}, {"ann", "root"}
SECRET, PUBLIC = b"what only some may read", b"what everybody may read"
RECORD = wire.raw(wire.encode_record(PUBLIC))
WAIT_MS = 20_000


class Bare:
    """A user's DEALER and SUB, and all bytes that came on either."""

    def __init__(self, broker: BrokerProcess, user: str) -> None:
        context: zmq.Context[Any] = zmq.Context.instance()
        self.user = user
        self.dealer, self.sub = context.socket(zmq.DEALER), context.socket(zmq.SUB)
        self.dealer.linger = self.sub.linger = 0
        self.dealer.connect(broker.address)
        self.sub.connect(broker.publish_address)
        self.numbers, self.seqs = count(10), count(1)
        self.came: list[bytes] = []  # all of it
        self.direct: list[wire.Direct] = []
        self.welcome = self.until(wire.Hello(wire.VERSION, user), wire.Welcome)

    def close(self) -> None:
        self.dealer.close()
        self.sub.close()

    def until(self, message: wire.ClientMessage, *kinds: type) -> Any:
        """Say it, and wait for an answer of these kinds."""
        self.dealer.send(wire.encode(message))
        while True:
            assert self.dealer.poll(WAIT_MS), f"{self.user} has no answer to {message}"
            answer = self._take(self.dealer.recv())
            if isinstance(answer, kinds):
                return answer

    def ask(self, message: Any) -> Any:
        """The answer to a request."""
        message.request = number = next(self.numbers)
        while True:
            kinds = (
                *(wire.Done, wire.Page, wire.Position, wire.HeadsAre, wire.Present, wire.RoomsAre, wire.CursorsAre),
                *(wire.GroupsAre, wire.Found, wire.ScheduledAre, wire.Replied, wire.Error),
            )
            answer = self.until(message, *kinds)
            if (answer.number if isinstance(answer, wire.Error) else answer.request) == number:
                return answer

    def publish(self, room: str, *bodies: bytes, flags: int = 0) -> wire.Ack | wire.Error:
        records = wire.raw(wire.encode_records(list(bodies)))
        answer: wire.Ack | wire.Error = self.until(
            wire.Publish(next(self.seqs), room, flags, records), wire.Ack, wire.Error
        )
        return answer

    def listen(self) -> None:
        """To everything, on both ways; it is in place when this returns."""
        self.sub.subscribe(b"")
        assert self.ask(wire.Subscribe(0, [b"#", b"+#", *own_topics(self.user)])) == wire.Done(next(self.numbers) - 1)
        nonce = os.urandom(16)
        self.sub.subscribe(wire.PRIVATE_TOPIC + nonce)
        self.heard(lambda: any(nonce in each for each in self.came))

    def heard(self, condition: Callable[[], bool]) -> None:
        """Take what comes, until that is so."""
        deadline = time.monotonic() + WAIT_MS / 1000
        while not condition():
            assert time.monotonic() < deadline, f"{self.user} did not hear it"
            for socket in dict(zmq_poll(self.dealer, self.sub)):
                if socket is self.dealer:
                    self._take(self.dealer.recv())
                else:
                    self.came.append(b"".join(self.sub.recv_multipart()))

    def heard_times(self, what: bytes, times: int) -> None:
        """Take what comes, until that came so often."""
        self.heard(lambda: sum(what in each for each in self.came) >= times)

    def _take(self, frame: bytes) -> Any:
        self.came.append(frame)
        try:
            message = wire.decode_broker(frame)
        except WireError:
            return None
        if isinstance(message, wire.Direct):
            self.direct.append(message)
        return message


def own_topics(user: str) -> list[bytes]:
    return [f"@{user}\0".encode(), f"+@{user}\0".encode()]


def zmq_poll(*sockets: Any) -> list[tuple[Any, int]]:
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)
    return [(socket, events) for socket, events in poller.poll(200)]


class Setup:
    """A broker with rules, and bare sockets of each user."""

    def __init__(self, start_broker: Callable[..., BrokerProcess], path: Path, rules: str) -> None:
        self.path = path
        path.write_text(rules)
        self.broker = start_broker("--memory", "--insecure", "--config", str(path))
        self.users: list[Bare] = []

    def user(self, name: str) -> Bare:
        self.users.append(Bare(self.broker, name))
        return self.users[-1]

    def close(self) -> None:
        for user in self.users:
            user.close()


@pytest.fixture(params=[RULES, CLOSED], ids=["open", "closed"])
def setup(
    start_broker: Callable[..., BrokerProcess], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Setup]:
    made = Setup(start_broker, tmp_path / "broker.toml", request.param)
    yield made
    made.close()


# --- the matrix ---------------------------------------------------------------------------------

BY_NAME: dict[str, tuple[set[str], Callable[[], Any]]] = {
    "join": (READERS, lambda: wire.Join(0, ["ops.a"])),
    "fetch": (READERS, lambda: wire.Fetch(0, ["ops.a"], 0)),
    "heads": (READERS, lambda: wire.Heads(0, ["ops.a"])),
    "seek": (FULL, lambda: wire.Seek(0, ["ops.a"], 1)),
    "latest": (FULL, lambda: wire.Latest(0, ["ops.a"], 0, 0, 1)),
    "search": (FULL, lambda: wire.Search(0, "only", ["ops.a"], 9)),
    "who": (FULL, lambda: wire.Who(0, "ops.a")),
    "groups": (READERS, lambda: wire.Groups(0, "ops.a")),
    "join a group": (FULL, lambda: wire.JoinGroup(0, 1, "ops.a", "workers", 8)),
    "set a group": (ADMINS, lambda: wire.SetGroup(0, "ops.a", "other", 0)),
    "serve": (READERS, lambda: wire.Serve(0, 1, "ops.a")),
    "call": (READERS, lambda: wire.Call(0, "ops.b", RECORD, 100)),
    "schedule": (READERS, lambda: wire.Schedule(0, "one", "ops.a", wire.raw(wire.encode_records([SECRET])), 0, 10**9)),
    "a room that is not there": (READERS, lambda: wire.Heads(0, ["ops.none"])),
}


def test_by_name_who_may_is_served_and_everybody_else_is_refused(setup: Setup) -> None:
    users = {name: setup.user(name) for name in USERS}
    assert isinstance(users["ann"].publish("ops.a", SECRET), wire.Ack)
    for what, (who, message) in BY_NAME.items():
        for name, user in users.items():
            answer = user.ask(message())
            is_denied = isinstance(answer, wire.Error) and answer.code == "denied"
            assert is_denied == (name not in who), f"{what}: {name} gets {answer}"
    for name, user in users.items():
        answer = user.publish("ops.a", SECRET)
        assert isinstance(answer, wire.Ack) == (name in READERS), name
        assert name in READERS or answer.code == "denied"  # type: ignore[union-attr]
        volatile = user.publish("ops.a", SECRET, flags=wire.VOLATILE)
        assert isinstance(volatile, wire.Ack) == (name in READERS), name
    for name in ("bob", "root"):
        assert not any(SECRET in each for each in users[name].came)
    for name in reversed(USERS):  # last, as it removes what was said
        answer = users[name].ask(wire.Purge(0, "ops.a"))
        assert isinstance(answer, wire.Done) == (name in ADMINS), name


def test_by_pattern_what_one_may_not_have_is_left_out_in_silence(setup: Setup) -> None:
    is_closed = "closed" in setup.path.read_text()
    users = {name: setup.user(name) for name in USERS}
    ann = users["ann"]
    ann.ask(wire.Join(0, ["ops.a", "@ann"] if is_closed else ["ops.a", "general", "@ann"]))
    ann.publish("ops.a", SECRET)
    ann.publish("@bob", PUBLIC)
    assert isinstance(ann.publish("general", PUBLIC), wire.Error) == is_closed
    late = {name: setup.user(name) for name in USERS}  # who came when all was said
    for name, user in late.items():
        rooms = {*(["ops.a"] if name in READERS else []), *([] if is_closed else ["general"])}
        own = {"@ann"} if name == "ann" else {"@bob"} if name == "bob" else set()
        listed = user.ask(wire.Rooms(0)).rooms
        assert {room.name for room in listed} == rooms | own, name
        assert {room.name: room.members for room in listed}.get("ops.a", 0) == (1 if name in FULL else 0)
        assert {room for room, *_ in user.ask(wire.Heads(0, ["**", "ops.*"])).rooms} == rooms, name
        page = user.ask(wire.Fetch(0, ["**"], 0))
        assert {room for room, _ in page.batches} == rooms - ({"ops.a"} if name == "ci.7" else set()), name
        assert [gap[0] for gap in page.gaps] == (["ops.a"] if name == "ci.7" else []), name
        history = rooms - ({"ops.a"} if name == "ci.7" else set())
        latest = user.ask(wire.Latest(0, ["**"], 0, 0, 1))
        assert {room for room, _ in latest.batches} == history, name
        found = user.ask(wire.Search(0, "what", ["**"], 9))
        assert {room for room, _ in found.batches} == history, name
        assert user.ask(wire.Seek(0, ["**"], 1)).after <= page.upto
        (member,) = [each for each in user.ask(wire.Who(0)).members if each.session == ann.welcome.session]
        told = set(member.rooms) - {"@ann"}
        assert told == {*(["ops.a"] if name in FULL else []), *([] if is_closed else ["general"])}, name
    ann.ask(wire.SetGroup(0, "ops.a", "workers", 0))
    for name, user in late.items():
        assert [each.name for each in user.ask(wire.Groups(0)).groups] == (["workers"] if name in READERS else [])
        assert name in FULL or not any(SECRET in each for each in user.came), name


def test_what_is_a_users_own_stays_that_whatever_the_rules_say(setup: Setup) -> None:
    ann, bob = setup.user("ann"), setup.user("bob")
    log_id = ann.welcome.log_id
    assert isinstance(bob.publish("@ann", PUBLIC), wire.Ack), "everybody writes to an inbox"
    bob.ask(wire.Schedule(0, "tea", "@ann", wire.raw(wire.encode_records([PUBLIC])), 0, 10**9))
    bob.ask(wire.SetCursor(0, "mine", log_id, 0))
    assert ann.ask(wire.Scheduled(0)).messages == [] and ann.ask(wire.Cursors(0)).cursors == []
    assert isinstance(ann.ask(wire.Cancel(0, "tea")), wire.Done) and len(bob.ask(wire.Scheduled(0)).messages) == 1
    inbox: list[Any] = [
        *(wire.Fetch(0, ["@ann"], 0), wire.Seek(0, ["@ann"], 1), wire.Latest(0, ["@ann"], 0, 0, 1)),
        *(wire.Heads(0, ["@ann"]), wire.Who(0, "@ann"), wire.Join(0, ["@ann"]), wire.Search(0, "what", ["@ann"], 1)),
        *(wire.Purge(0, "@ann"), wire.Serve(0, 1, "@ann"), wire.Subscribe(0, own_topics("ann"))),
    ]
    for message in inbox:
        assert bob.ask(message).code == "denied", message
    for message in inbox[:7]:
        assert not isinstance(ann.ask(message), wire.Error), message


# --- what comes by itself -----------------------------------------------------------------------


def test_what_not_everybody_may_read_is_said_to_those_who_may_and_never_broadcast(setup: Setup) -> None:
    is_closed = "closed" in setup.path.read_text()
    users = {name: setup.user(name) for name in USERS}
    for user in users.values():
        user.listen()
    ann = users["ann"]
    ann.ask(wire.Join(0, ["ops.a"]))
    for flags in (0, wire.VOLATILE):
        ann.publish("ops.a", SECRET, flags=flags)
    ann.publish("@bob", PUBLIC)
    ann.publish("general", PUBLIC)
    for name in sorted(READERS):
        users[name].heard_times(SECRET, 2)
        users[name].heard_times(b"+#ops.a" if name in FULL else b"#ops.a", 1)
    users["bob"].heard_times(b"@bob", 1)
    for name in ("bob", "root"):
        users[name].heard_times(b"#general", 0 if is_closed else 1)
        users[name].listen()  # a SYNC comes behind all that was said
        assert not any(SECRET in each or b"ops.a" in each for each in users[name].came), name
        assert {each.topic for each in users[name].direct} <= set(own_topics("bob"))
    assert not any(each.topic.startswith(b"+") for each in users["ci.7"].direct), "it may not see who is there"
    assert not any(b"@bob" in each for each in users["ann"].came)


def may_read(user: Bare, wanted: bool) -> bool:
    """Whether that is so: it may read `ops.a`, or it may not."""
    return isinstance(user.ask(wire.Heads(0, ["ops.a"])), wire.HeadsAre) == wanted


def misplacing(broker: BrokerProcess, chance: random.Random) -> None:
    """A peer that subscribes to everything, says what is no subscription, and goes, so that its place is used again."""
    context: zmq.Context[Any] = zmq.Context.instance()
    peer = context.socket(zmq.XSUB)
    peer.linger = 0
    peer.connect(broker.publish_address)
    for _ in range(chance.randrange(1, 6)):
        peer.send(chance.choice([b"\1", b"\1#", b"\1#ops.a\0", b"\2junk", b"", b"\0", b"\1+"]))
    peer.poll(chance.choice([0, 1, 5]))
    peer.close()


def test_no_forbidden_byte_is_broadcast_while_subscriptions_are_misplaced_and_rules_change(
    start_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    setup, chance = Setup(start_broker, tmp_path / "broker.toml", RULES), random.Random(7)
    ann, everybody = setup.user("ann"), [setup.user(name) for name in ("bob", "root", "eve")]
    for user in everybody:
        user.listen()
    with zchat.connect(setup.broker.address, user="carol") as carol, carol.listen("ops.a", "**") as messages:
        sent: list[bytes] = []
        for is_open in (False, True, False, True, False):
            setup.path.write_text('default = "open"' if is_open else RULES)
            eventually(partial(may_read, everybody[0], is_open), "the rules hold")
            body = PUBLIC if is_open else SECRET
            for number in range(20):
                misplacing(setup.broker, chance)
                sent.append(b"%s %d %d" % (body, len(sent), number))
                assert isinstance(ann.publish("ops.a", sent[-1]), wire.Ack)
        heard = [messages.get(WAIT_MS / 1000).body for _ in sent]
        assert heard == sent, "who may read it misses nothing, has nothing twice, and all in order"
    for user in everybody:
        user.heard_times(PUBLIC, 1)
        user.listen()
        assert not any(SECRET in each for each in user.came), user.user
    setup.close()


def test_what_is_due_where_its_user_may_not_write_any_more_is_not_sent(
    start_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    setup = Setup(start_broker, tmp_path / "broker.toml", RULES)
    ann, ci = setup.user("ann"), setup.user("ci.7")
    ann.listen()
    for user, room, body in ((ci, "ops.a", SECRET), (ci, "general", PUBLIC), (ann, "ops.a", b"of ann")):
        records = wire.raw(wire.encode_records([body]))
        answer = user.ask(wire.Schedule(0, f"in{room.replace('.', '')}", room, records, 0, 4 * 10**6))
        assert isinstance(answer, wire.Done), answer
    write(setup.path, RULES.replace('write = ["ann", "group:ops", "ci.*"]', 'write = ["ann", "group:ops"]'))
    denied = partial(ci.publish, "ops.a", b"may I?")
    eventually(lambda: isinstance(denied(), wire.Error), "he may not any more")
    for body in (PUBLIC, b"of ann"):
        ann.heard_times(body, 1)
    assert not any(SECRET in each for each in ann.came)
    assert ci.ask(wire.Scheduled(0)).messages == [], "it was taken back"
    setup.close()


# --- the client ---------------------------------------------------------------------------------


def write(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


def test_a_listener_is_told_why_it_ends_and_one_of_a_pattern_goes_on(
    start_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    path = tmp_path / "broker.toml"
    write(path, RULES)
    broker = start_broker("--memory", "--insecure", "--config", str(path))
    with zchat.connect(broker.address, user="bob") as bob, zchat.connect(broker.address, user="ann") as ann:
        with pytest.raises(zchat.Refused, match=r"bob may not read ops\.a"):
            bob.listen("ops.a")
        with ann.listen("ops.a") as named, ann.listen("ops.*") as pattern, ann.listen("general") as general:
            ann.publish("ops.a", "1").result(WAIT_MS / 1000)
            assert named.get(WAIT_MS / 1000).text == pattern.get(WAIT_MS / 1000).text == "1"
            write(path, '[rooms."ops.*"]\nread = ["bob"]\n')
            with pytest.raises(zchat.Refused, match=r"ann may not read ops\.a"):
                named.get(WAIT_MS / 1000)
            ann.publish("general", "2").result(WAIT_MS / 1000)
            assert general.get(WAIT_MS / 1000).text == "2", "what it may have goes on"
            with bob.listen("ops.a", last=9) as messages:
                assert messages.get(WAIT_MS / 1000).text == "1"
            write(path, 'default = "open"')
            eventually(lambda: "ops.a" in [room.name for room in ann.rooms()], "the rules hold")
            bob.publish("ops.a", "3").result(WAIT_MS / 1000)
            assert pattern.get(WAIT_MS / 1000).text == "3"


# --- with keys ----------------------------------------------------------------------------------

KEYED = '[rooms."ops.**"]\nread = ["ann", "web.ann"]\nwrite = ["ann", "web.ann"]\n'


def keyed_client(keyed: KeyedBroker, user: str, credentials: Credentials | None) -> Client:
    connection = Connection(parse(keyed.address), user, {}, None, None, credentials)
    connection.start(WAIT_MS / 1000)
    return Client(connection)


def subscriber(keyed: KeyedBroker, credentials: Credentials | None) -> zmq.Socket[bytes]:
    """A SUB that subscribes to everything, if it is let in."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    sub = context.socket(zmq.SUB)
    sub.linger = 0
    if credentials is not None:
        curve.prove(sub, credentials.pair, keyed.server)
    sub.connect(keyed.broker.publish_address)
    sub.subscribe(b"")
    return sub


def test_with_keys_a_right_is_its_keys_users_and_who_has_no_key_gets_no_byte(
    start_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    write(tmp_path / "broker.toml", KEYED)
    keyed = start_keyed(start_broker, tmp_path, "--config", str(tmp_path / "broker.toml"))
    ann, bob, web, eve = (keyed.let_in(*each) for each in (("ann",), ("bob",), ("web", "web.*"), ("eve",)))
    with keyed.keys.locked():
        keyed.keys.set_user(eve.pair.public, Grant("eve", is_revoked=True))
    eventually(lambda: "event=keys-changed" in keyed.told_of_late(), "the broker has seen it")
    unknown = Credentials(curve.new_pair(), [keyed.server])
    for user, credentials in (("ann", None), ("ann", unknown), ("eve", eve), ("bob", ann), ("ann", web)):
        with pytest.raises(zchat.Refused):
            keyed_client(keyed, user, credentials).close(0)
    outside = [subscriber(keyed, each) for each in (None, unknown, eve)]
    inside = subscriber(keyed, bob)
    with (
        keyed_client(keyed, "ann", ann) as writer,
        keyed_client(keyed, "bob", bob) as reader,
        keyed_client(keyed, "web", web) as gateway,
        gateway.session("web.ann") as its_ann,
        gateway.session("web.bob") as its_bob,
        its_ann.listen("ops.a") as hers,
    ):
        for denied in (reader, gateway, its_bob):
            with pytest.raises(zchat.Refused, match=r"may not read ops\.a"):
                denied.listen("ops.a")
            with pytest.raises(zchat.Refused, match=r"may not write to ops\.a"):
                denied.send("ops.a", "x")
            with pytest.raises(zchat.Refused):
                denied.flush(WAIT_MS / 1000)  # it tells what was refused since the last one
        with its_bob.listen("**") as his:
            writer.send("ops.a", SECRET)
            writer.send("general", PUBLIC)
            assert hers.get(WAIT_MS / 1000).body == SECRET and his.get(WAIT_MS / 1000).body == PUBLIC
            its_ann.send("ops.a", SECRET)
            assert hers.get(WAIT_MS / 1000).body == SECRET
    came = b""
    while PUBLIC not in came:
        writer_again = keyed_client(keyed, "ann", ann)
        writer_again.send("general", PUBLIC)
        writer_again.close()
        while inside.poll(200):
            came += b"".join(inside.recv_multipart())
    assert SECRET not in came
    for sub in outside:
        assert not sub.poll(0), "it was not let in"
    for sub in (*outside, inside):
        sub.close()
