"""One broker: its sockets bound, its core, its log, and the thread that drives its loop.

Spec: docs/design.md, "The cycle". Tests: tests/sockets/test_broker.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from zchat.address import Address, Published
from zchat.core.broker import BrokerCore
from zchat.core.broker_loop import BrokerLoop
from zchat.core.identity import Identities, KeyStore
from zchat.core.log import Log, WordIndex, facts_of
from zchat.core.rights import Rights, RuleSource
from zchat.keys import KeyPair
from zchat.settings import Settings
from zchat.sockets import options
from zchat.sockets.broker_port import SocketBrokerPort
from zchat.sockets.clock import instant


class Broker:
    """One broker: `start` binds, `run` serves until `stop`."""

    def __init__(
        self,
        log: Log,
        bind: Address,
        settings: Settings | None = None,
        tell: Callable[[str], object] | None = None,
        publisher_port: int = 0,  # 0: the next after `bind`, any where that is any
        advertised: Published | None = None,  # None: clients find it by that
        index: WordIndex | None = None,  # for searches; None: they look through the log
        rules: RuleSource | None = None,  # who may do what; None: everybody everything
        own: KeyPair | None = None,  # its own key,
        keys: KeyStore | None = None,  # and those that it lets in; None: everybody
        *,
        comes_again: bool = False,  # whether somebody starts it anew, with what it has kept
    ) -> None:
        options.check_libzmq()
        self.settings = settings or Settings()
        self.address = bind  # with the port that was got, once started
        self.publisher_address = bind.publisher(Published(publisher_port or (bind.port + 1 if bind.port else 0)))
        self._advertised = advertised
        self._log = log
        self._index = index
        self._rules = rules
        self._own, self._keys = own, keys
        self._comes_again = comes_again
        self.ends_for_key = False  # once `run` has ended: its own key is another, and it is to be started with that
        self._tell = tell or (lambda text: None)  # for the operator: one line

    def start(self) -> None:
        """Bind both sockets. Raises StartError, BadAddress or BadKey."""
        listed = self._keys.read() if self._keys is not None else None
        if listed is not None and self._own is not None:
            listed = listed._replace(server=self._own.public)  # another since then is found by the first look
        self.lets_in_anybody = listed is None or bool(listed.users or listed.invites)
        identities = Identities(listed)
        self._port = port = SocketBrokerPort(self.settings, self._tell, self._own, identities)
        try:
            self.address = options.bind(port.router, self.address)
            options.name_every_peer(port.router)
            self.publisher_address = options.bind(port.xpub, self.publisher_address)
            publisher_port = self.publisher_address.port
            published = self._advertised or Published(publisher_port, beside=self.address.port)
            facts = facts_of(self._log, self.settings.users_seen_max)
            rights = None if self._rules is None else Rights(self._rules.rules)
            core = BrokerCore(self.settings, facts, _session_ids(), published, instant(), rights, identities)
            port.start(publisher_port)
        except BaseException:
            port.close()
            raise
        changed = None if self._rules is None else self._rules.changed
        self._loop = BrokerLoop(core, self._log, port, self._tell, self._index, changed, self._keys, self._other_key)

    def stop(self) -> None:
        """Make `run` end: what was accepted is committed and told first. Safe in a signal handler."""
        self._loop.stop()

    def _other_key(self) -> None:
        """A listener keeps the key that it was bound with, so the broker is started anew: docs/design.md says why."""
        if self._comes_again:
            self.ends_for_key = True
            self.stop()
        else:
            self._tell("its own key is another: that counts from its next start on")

    def run(self) -> None:
        """Serve until `stop`, then close all but the log. Raises LogError when that keeps nothing more."""
        loop, port = self._loop, self._port
        try:
            while not loop.is_over:
                loop.turn(port.poll(loop.rest(), receives=loop.receives, is_alone=loop.is_alone))
        finally:
            port.close()
        if loop.failure is not None:
            raise loop.failure


def _session_ids() -> Iterator[str]:
    """Random names: nobody can guess one, and none comes twice."""
    while True:
        yield secrets.token_urlsafe(12)
