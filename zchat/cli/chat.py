"""`zchat chat`: two-way chat in a terminal.

Tests: tests/chat.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zchat.cli import completion, exit_status, options, streams
from zchat.cli.interrupts import ENDS, interrupts

if TYPE_CHECKING:
    from zchat.chat.plain.chat import PlainChat
    from zchat.chat.screen.app import ChatApp
    from zchat.profile import ChatProfile

INSTALL = "pip install 'zchat[chat]'"
TOLD_SECONDS = 1.0  # nobody wonders before that
BY_CTRL_C = 130  # what the plain chat gives where the key was pressed: a terminal in its mode sends no signal
END_SECONDS = 5.0  # for it to end in order, without a terminal


def chat(
    rooms: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ROOM]...",
            help="Rooms to go to; @bob is the conversation with bob.",
            autocompletion=completion.targets,
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines above the one that is typed: for slow lines and screen readers.")
    ] = False,
    theme: Annotated[
        str | None, typer.Option("--theme", metavar="NAME", help="dark, light or contrast.  [default: dark]")
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            "--notify", metavar="HOW", help="When somebody speaks to you: bell, osc9, osc777 or off.  [default: off]"
        ),
    ] = None,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> int:
    """Chat in rooms, and with one user alone.

    The rooms that you are in, and how far you have read, are kept by the broker: they are there on each
    machine. F1 or /help shows the commands and keys. Where input or output is no terminal, or Textual is
    not installed, it is --plain.

    Examples:
      zchat chat
      zchat chat ops general
      zchat chat @bob
      zchat chat --plain ops
    """
    from zchat import profile
    from zchat.chat.core.commands import place

    names = list(map(place, rooms or ()))
    found = profile.read().chat
    asked = found._replace(theme=theme or found.theme, notify=notify or found.notify)
    profile.check_chat(asked)
    came: list[int] = []
    status = asyncio.run(_chat(names, plain, asked, options.ToBroker(broker, user, wait), came))
    if came:
        interrupts.end_by(came[0])
    if status == BY_CTRL_C:
        interrupts.end_by(signal.SIGINT)
    return status


async def _chat(
    names: list[str], plain: bool, asked: ChatProfile, connecting: options.ToBroker, came: list[int]
) -> int:
    import zchat.aio
    from zchat.chat.plain.terminal import is_terminal

    loop = asyncio.get_running_loop()
    screen = None if plain or not is_terminal() else _screen()
    faces: list[PlainChat | ChatApp] = []
    broker, user, wait = connecting
    tells = exit_status.tell if sys.stderr.isatty() else str
    telling = loop.call_later(TOLD_SECONDS, tells, f"no broker answers yet, waiting up to {wait:g} s")
    try:
        client = await zchat.aio.connect(
            broker, user, wait=wait, on_notice=lambda notice: faces[0].on_notice(notice) if faces else None
        )
    finally:
        telling.cancel()
    async with client:
        downloads = Path(asked.downloads or ".").expanduser()
        if screen is None:
            from zchat.chat.plain.chat import PlainChat

            faces.append(PlainChat(client, names, downloads))
        else:
            faces.append(screen(client, names, asked, downloads))

        def stop(signum: int) -> None:
            came.append(signum)
            faces[0].quit()

        for signum in ENDS:
            if signum == signal.SIGTERM or signal.getsignal(signum) is not signal.SIG_IGN:
                loop.add_signal_handler(signum, stop, signum)

        def quit_soon() -> None:
            with suppress(RuntimeError):  # the loop is closed: it is over
                loop.call_soon_threadsafe(faces[0].quit)

        if screen is None:
            streams.when_reader_goes(quit_soon)
        else:
            threading.Thread(target=_end_without_terminal, args=(quit_soon,), daemon=True).start()
        return await faces[0].run_to_end()


def _end_without_terminal(end: Callable[[], object]) -> None:
    """In a thread of its own. A terminal that goes is told of by SIGHUP, but not to everybody; Textual reads its end
    again and again, and may wait for ever to write to it."""
    terminal = select.poll()
    terminal.register(sys.stdin, select.POLLHUP)
    terminal.poll()
    end()
    time.sleep(END_SECONDS)
    os._exit(1)


def _screen() -> type[ChatApp] | None:
    """The whole screen; None where what it needs is missing."""
    try:
        from zchat.chat.screen.app import ChatApp
    except ModuleNotFoundError as error:
        exit_status.tell(f"this is the plain chat, as {error.name} is not installed", INSTALL)
        return None
    return ChatApp
