"""The broker's files of keys, beside its loop: looked at four times a second, read and written by another thread.

Rules of this file
1. A file that cannot be understood changes nothing: the keys stay as they were, and the operator is told, once.
2. Jobs are done one after the other, so what was written last is what is known last.
3. Whatever a job raises comes back to the loop as a failure: a job that was lost would be waited for, and who is
   revoked would stay.

Tests: tests/core/test_key_worker.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from zchat.core import Instant
from zchat.core.admission import Admission
from zchat.core.broker_port import BrokerPort
from zchat.core.identity import Enrolment, KeyStore
from zchat.core.read_worker import Later
from zchat.errors import UsageError
from zchat.keys import KeyList

LOOK_SECONDS = 0.25  # a change counts when it is there twice


class KeyWorker:
    """Of one broker."""

    def __init__(
        self,
        store: KeyStore,
        admission: Admission,
        port: BrokerPort,
        later: Callable[[Later], None],
        tell: Callable[[str], object],
        other_key: Callable[[], object],
    ) -> None:
        """`other_key` is called when the broker's own key is another than it has."""
        self.due = 0.0
        self._store = store
        self._admission = admission
        self._port = port
        self._later = later
        self._tell = tell
        self._other_key = other_key
        self._own = admission.identities.server  # as it is known
        self._is_reading = False
        self._waiting: list[Enrolment] = []

    def turn(self, now: Instant) -> None:
        """Do what is due: by time, and what was asked."""
        self._waiting += self._admission.take_enrolments()
        if self._waiting and not self._is_reading:
            self._work(partial(self._enrol, self._waiting.pop(0)))
        if now.seconds >= self.due:
            self.due = now.seconds + LOOK_SECONDS
            if not self._is_reading and self._store.has_changed():
                self._work(self._read)
            if self._admission.elapsed(now):
                self._port.admit(self._admission.identities.hears, now)
        for line in self._admission.audit.take():
            self._tell(line)

    # --- the other thread -------------------------------------------------------------------

    def _work(self, job: Callable[[], None]) -> None:
        self._is_reading = True
        self._port.work(job)

    def _read(self) -> None:
        try:
            listed, failure = self._store.read(), ""
        except Exception as error:
            listed, failure = None, _text(error)
        self._later(partial(self._has_read, listed, failure))

    def _enrol(self, enrolment: Enrolment) -> None:
        try:
            listed, failure = self._store.enrol(enrolment), ""
        except Exception as error:
            listed, failure = None, _text(error)
        self._later(partial(self._has_enrolled, enrolment, listed, failure))

    # --- back in the loop -------------------------------------------------------------------

    def _has_read(self, listed: KeyList | None, failure: str, now: Instant) -> None:
        self._is_reading = False
        if listed is None:
            self._tell(f"{failure}: the keys stay as they were")
            return
        self._admission.audit.note("keys-changed", now, users=str(len(listed.users)))
        self._admission.changed(listed, now)
        self._port.admit(self._admission.identities.hears, now)
        self._look_at_own(listed.server)

    def _look_at_own(self, server: str) -> None:
        if server == self._own:
            return
        self._own = server
        if server:
            self._other_key()
        else:
            self._tell("the file of its own key is gone: at its next start nobody would know it, so put it back")

    def _has_enrolled(self, enrolment: Enrolment, listed: KeyList | None, failure: str, now: Instant) -> None:
        self._is_reading = False
        if listed is None:
            self._tell(f"{failure}: a key that was to be written is not")
        self._admission.enrolled(enrolment, listed, failure, now)
        self.due = now.seconds


def _text(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the keys'}: {error.strerror}"
    return str(error) if isinstance(error, UsageError) else f"the keys: {error!r}"
