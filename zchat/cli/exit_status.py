"""How a command ends: every exception becomes a status of EXIT_STATUSES and at most two lines on stderr.

    ZchatError                   zchat: …   and where we know one, hint: …
    a usage error of typer       the same, status 2 (usage.py)
    Ctrl-C, SIGTERM, SIGHUP      nothing printed; the process ends by that signal; where they may come: interrupts.py
    stdout closed by its reader  0, nothing printed
    an error of ours             one line, status 1; a traceback only with ZCHAT_DEBUG=1

Tests: tests/cli/test_exit_status.py.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from typer._click.exceptions import ClickException, NoArgsIsHelpError  # the only name that every 0.26 … 0.28 has

from zchat.cli import streams, usage
from zchat.cli.interrupts import ReaderGone, handle, interrupts
from zchat.errors import BadName, Refused, Unreachable, ZchatError
from zchat.printable import printable


def run(command: Callable[[], Any]) -> int:
    """Run a command to its exit status."""
    streams.open_all()
    interrupts.install()
    try:
        status = _run(command)
        sys.stdout.flush()
    except KeyboardInterrupt:  # while the last of it was written
        status = 130
    except ReaderGone:
        status = 0
    except streams.OutputFailed as error:
        status = tell(str(error), status=error.exit_status)
    finally:
        handle(signal.SIGINT, signal.SIG_DFL)  # from here on there is nothing left to tell
    return status


def end(status: int) -> NoReturn:
    """End the process. Where a signal ended the command, by that signal: who started it, as a shell's loop, sees it."""
    signum = interrupts.ended_by
    if signum and status == 128 + signum:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    gc.freeze()  # nothing is looked through once more, only to end: 10 ms
    sys.exit(status)


def tell(text: str, hint: str = "", *, status: int = 0) -> int:
    """Print `zchat: text` on stderr, and the hint below it; gives `status` back.

    It is called in distress: nothing is imported, opened or looked up in here.
    """
    lines = [f"zchat: {printable(text)}"] + ([f"hint: {printable(hint)}"] if hint else [])
    print("\n".join(lines), file=sys.stderr, flush=True)
    return status


def _run(command: Callable[[], Any]) -> int:
    try:
        return int(command() or 0)
    except KeyboardInterrupt:
        return 130
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except ZchatError as error:
        return tell(str(error), _hint(error), status=error.exit_status)
    except ClickException as error:
        return _usage_error(error)
    except OSError as error:
        return tell(f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", status=1)
    except Exception as error:
        if os.environ.get("ZCHAT_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}"
        return tell(f"internal error: {what}", "ZCHAT_DEBUG=1 shows where; please report it", status=1)


def _hint(error: ZchatError) -> str:
    if isinstance(error, Unreachable) and "publishes at" in error.why:
        return "a tunnel or container leads both ports on, side by side; else name the second: --broker HOST:PORT,PORT"
    if isinstance(error, Unreachable):
        return "start a broker with `zchat broker`, or name another one with --broker or ZCHAT_BROKER"
    if isinstance(error, Refused) and error.code == "no-server":
        return "zchat serve ROOM --exec COMMAND answers what is asked there"
    if isinstance(error, Refused) and error.code == "wrong-user":
        return "leave --user out; a key may speak for others that `zchat keys invite NAME --gateway PATTERN` lets in"
    if isinstance(error, BadName) and error.kind == "login name":
        return "say who you are with --user or ZCHAT_USER"
    if isinstance(error, BadName) and error.kind in ("room", "pattern"):
        from zchat.cli.guesses import name_meant

        meant = name_meant(error.name)
        is_other = meant not in ("", error.name)  # else it is written well, and of no use here
        return f"here it is written '{meant}'" if is_other and ("*" not in meant or error.kind == "pattern") else ""
    return ""


def _usage_error(error: ClickException) -> int:
    """One line instead of typer's usage, box and error."""
    if isinstance(error, NoArgsIsHelpError):  # `zchat` alone: the help is the answer
        print(error.format_message(), file=sys.stderr)
        return 2
    text, hint = usage.explain(error, sys.argv[1:])
    return tell(text, hint, status=error.exit_code)
