"""How a command ends: every exception becomes a status of EXIT_STATUSES and at most two lines on stderr.

    ZchatError                   zchat: …   and where we know one, hint: …
    a usage error of typer       the same, status 2
    Ctrl-C, SIGTERM, SIGHUP      130, 143, 129, nothing printed; where they may come: interrupts.py
    stdout closed by its reader  0, nothing printed
    an error of ours             one line, status 1; a traceback only with ZCHAT_DEBUG=1

Tests: tests/cli/test_ending.py.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from typer._click.exceptions import ClickException, NoArgsIsHelpError  # the only name that every 0.26 … 0.28 has

from zchat.cli.interrupts import handle, interrupts
from zchat.errors import Unreachable, ZchatError
from zchat.printable import printable


def run(command: Callable[[], Any]) -> int:
    """Run a command to its exit status."""
    _open_standard_streams()
    interrupts.install()
    try:
        status = _run(command)
        sys.stdout.flush()
    except KeyboardInterrupt:  # while the last of it was written
        status = 130
    except BrokenPipeError:
        status = 0
    except OSError as error:
        status = tell(f"{error.filename or 'standard output'}: {error.strerror or error}", status=1)
    finally:
        handle(signal.SIGINT, signal.SIG_DFL)  # from here on there is nothing left to tell
        _forget_stdout()
    return status


def tell(text: str, hint: str = "", *, status: int = 0) -> int:
    """Print `zchat: text` on stderr, and the hint below it; gives `status` back.

    It is called in distress: nothing is imported, opened or looked up in here.
    """
    lines = [f"zchat: {printable(text)}"] + ([f"hint: {printable(hint)}"] if hint else [])
    try:
        print("\n".join(lines), file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody reads stderr any more; the status still tells
    return status


def _run(command: Callable[[], Any]) -> int:
    try:
        return int(command() or 0)
    except KeyboardInterrupt:
        return 130
    except SystemExit as exit_:
        # typer turns a closed pipe into an exit with 1
        if isinstance(exit_.__context__, BrokenPipeError):
            raise BrokenPipeError from exit_
        return exit_.code if isinstance(exit_.code, int) else 1
    except ZchatError as error:
        return tell(str(error), _hint(error), status=error.exit_status)
    except ClickException as error:
        return _usage_error(error)
    except OSError:
        raise
    except Exception as error:
        if os.environ.get("ZCHAT_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}"
        return tell(f"internal error: {what}", "ZCHAT_DEBUG=1 shows where; please report it", status=1)


def _hint(error: ZchatError) -> str:
    if isinstance(error, Unreachable):
        return "start a broker with `zchat broker`, or name another one with --broker or ZCHAT_BROKER"
    return ""


def _usage_error(error: ClickException) -> int:
    """One line instead of typer's usage, box and error."""
    if isinstance(error, NoArgsIsHelpError):  # `zchat` alone: the help is the answer
        print(error.format_message(), file=sys.stderr)
        return 2
    text = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help" if context is not None else ""
    if text.startswith("No such option: -") and hint.startswith("zchat send"):
        hint = "a text that begins with a dash goes after two: zchat send ROOM -- -5"
    return tell(text[:1].lower() + text[1:], hint, status=error.exit_code)


def _open_standard_streams() -> None:
    """Where a standard stream is closed, open nothing in its place.

    Else the next socket or file gets descriptor 1, and what is printed goes into it.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def _forget_stdout() -> None:
    """What could not be written must not fail once more when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)
