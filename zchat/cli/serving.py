"""Being a broker: a log and the sockets put together, in the process that `zchat broker` has for it.

Rules of this file: what may be needed in distress (no descriptor or memory left) is loaded before the broker is ready.

Tests: tests/cli/test_broker.py, tests/cli/test_watch.py, tests/cli/test_distress.py.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from zchat.cli import exit_status, watch
from zchat.cli.interrupts import ENDS, handle, interrupts
from zchat.errors import StartError

if TYPE_CHECKING:
    from zchat.address import Address, Published
    from zchat.core.log import Log
    from zchat.core.rights import RuleSource
    from zchat.key_folder import KeyFolder
    from zchat.keys import KeyPair
    from zchat.log.search.filler import Filler
    from zchat.settings import Settings
    from zchat.sockets.broker import Broker

    Opened = TypeVar("Opened")

IN_USE_SECONDS = 1.0  # a broker that was killed a moment ago holds its folder and its ports for no longer
IN_USE_LOOK_SECONDS = 0.02
# A thread that computes lets the others go on this often. The log's writer and the readers need the interpreter for a
# moment some ten times in a commit or a page: beside a loop that is busy with questions each would wait Python's 5 ms.
SWITCH_SECONDS = 0.001


def serve(
    at: Address,
    published: Published | None,
    folder: Path | None,
    sync: str,
    settings: Settings,
    child: watch.Child | None,
    keys: Path | None = None,
    *,
    searches: bool = True,
    rules: RuleSource | None = None,
) -> None:
    """Be the broker, until a signal ends it. Where it `searches`, a log on disk has an index of words.

    `keys` is the folder of those that it lets in; None: everybody.
    """
    faulthandler.enable()  # libzmq ends a process that trips over one of its asserts: then say where
    threading.excepthook = _end_with_thread
    from zchat.sockets.broker import Broker
    from zchat.sockets.memory import keep_for_broker

    keep_for_broker()
    sys.setswitchinterval(SWITCH_SECONDS)
    ports = child.ports if child else watch.Ports()
    if ports.port:
        at = at._replace(port=ports.port)
    key_folder, own = _open_keys(keys) if keys is not None else (None, None)
    log = _patiently(lambda: _open_log(folder, sync, settings.log_bytes_max))
    filler = _filler(log, folder) if folder and searches else None
    index, comes_again = filler.index if filler else None, child is not None and folder is not None

    def start() -> Broker:
        more = (published, index, rules, own, key_folder)
        running = Broker(log, at, settings, exit_status.tell, ports.publisher_port, *more, comes_again=comes_again)
        running.start()
        return running

    try:
        running = _patiently(start)
        came: list[int] = []

        def stop(signum: int, frame: FrameType | None) -> None:
            came.append(signum)
            running.stop()

        for signum in ENDS:
            handle(signum, stop)
        if child:  # first: whoever reads the line may count on these ports from then on
            child.ready(watch.Ports(running.address.port, running.publisher_address.port))
        if key_folder:
            key_folder.note_address(str(running.address))
        _announce(running, "in memory" if folder is None else str(folder), own)
        running.run()
        if child and running.ends_for_key and not came:
            child.comes_again()
        for signum in ENDS:  # Ctrl-C comes twice: from the terminal, and passed on by the parent
            handle(signum, signal.SIG_IGN)
    finally:
        if filler:
            filler.close()  # first: who closes the log last moves its WAL
        log.close()
    if signal.SIGINT in came[:1] and not child:  # with a parent, it is the parent that ends so
        interrupts.end_by(signal.SIGINT)


def _patiently(opens: Callable[[], Opened]) -> Opened:
    """What it opens; what is in use may come free in a moment, when the one that has it is about to end."""
    deadline = time.monotonic() + IN_USE_SECONDS
    while True:
        try:
            return opens()
        except StartError as error:
            if not error.is_in_use or time.monotonic() > deadline:
                raise
        time.sleep(IN_USE_LOOK_SECONDS)


def _open_log(folder: Path | None, sync: str, bytes_max: float) -> Log:
    if folder is None:
        from zchat.log.memory import MemoryLog

        return MemoryLog()
    from zchat.log.sqlite.log import SqliteLog

    return SqliteLog(folder, sync=sync, tell=exit_status.tell, bytes_max=bytes_max)


def _open_keys(folder: Path) -> tuple[KeyFolder, KeyPair]:
    """The folder, and the broker's own key, which is made at the first start. Raises BadKey, StartError."""
    from zchat.key_folder import KeyFolder
    from zchat.sockets.curve import new_pair

    keys = KeyFolder(folder)
    try:
        keys.make()
        with keys.locked():  # `zchat keys invite` may make it at this moment
            own = keys.own(new_pair)
    except OSError as error:
        raise StartError(f"{error.filename or folder}: {error.strerror}") from error
    return keys, own


def _filler(log: Log, folder: Path) -> Filler:
    from zchat.log.search.filler import Filler

    return Filler(log, folder, exit_status.tell)


def _announce(running: Broker, log: str, own: KeyPair | None) -> None:
    """The ready line: programs wait for it, so it is the last thing before serving."""
    if own is not None:
        exit_status.tell(f"lets in who has a key; its own is {own.public}")
        if not running.lets_in_anybody:
            exit_status.tell("nobody is let in yet: zchat keys invite NAME --keys DIR prints a line for zchat join")
    elif not running.address.is_local:
        exit_status.tell(
            f"warning: {running.address} is open to the network: whoever reaches the port can read and write every room"
        )
    line = f"zchat broker ready on {running.address} (publishes on {running.publisher_address}), log {log}"
    print(line, file=sys.stderr, flush=True)
    _notify_systemd(os.environ.get("NOTIFY_SOCKET", ""))


def _notify_systemd(path: str) -> None:
    """For units with `Type=notify`: sd_notify(3)."""
    if not path:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", path.replace("@", "\0", 1) if path.startswith("@") else path)
    except OSError as error:
        exit_status.tell(f"cannot tell systemd that the broker is ready: {error.strerror}")


def _end_with_thread(died: threading.ExceptHookArgs) -> None:
    """A broker that has lost one of its threads would serve by halves: it ends, and is started again."""
    if died.exc_type is not SystemExit:
        if os.environ.get("ZCHAT_DEBUG"):
            threading.__excepthook__(died)
        thread = died.thread.name if died.thread else "a thread"
        what = f"{died.exc_type.__name__}: {died.exc_value}"
        os._exit(exit_status.tell(f"internal error in {thread}: {what}: the broker ends", status=1))
