#!/usr/bin/env python3
"""chat_pictures.py: pictures of `zchat chat`, drawn by itself: docs/chat.svg for the README, or all that there are.

    .venv/bin/python scripts/chat_pictures.py              docs/chat.svg
    .venv/bin/python scripts/chat_pictures.py --all DIR    80x24, 120x40 and 40x20 in each theme, to be looked at

The extra `chat` is needed. With --all and Chromium there are PNG files, too, by playwright.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import sys
from pathlib import Path

import zchat.aio
from zchat.aio import Client
from zchat.chat.screen.app import ChatApp
from zchat.profile import ChatProfile
from zchat.testing import broker

README = Path(__file__).parent.parent / "docs" / "chat.svg"
SIZES = ((80, 24), (120, 40), (40, 20))
README_SIZE = (104, 28)
THEMES = ("dark", "light", "contrast")
CODE = "that was it:\n```\nwith connect() as client:\n    client.send('ops', 'v2')\n```"
SAID = (
    ("ben", "Morning! The nightly build is green. 🎉", "message"),
    ("ben", "Release notes: https://example.com/notes/2.4.1. Have a look, please.", "message"),
    ("Annika", "Looks good. I'll tag it after lunch, when `make check` has run on both machines.", "message"),
    ("Annika", "@terry can you write the announcement?", "message"),
    ("ci", "v2.4.1 on web1 and web2", "deploy"),
    ("Zoë", "C'est en ligne, merci à tous !", "message"),
    ("李明", CODE, "message"),
    ("Zoë", "dances", "action"),
)


async def fill(address: str) -> list[Client]:
    """Have people talk; they stay."""
    people = {name: await zchat.aio.connect(address, name) for name in ("ben", "Annika", "Zoë", "ci", "李明")}
    terry = await zchat.aio.connect(address, "terry")
    for room in ("general", "ops", "build.linux"):
        await terry.set_cursor(f"chat.{room}", 0)
        for name in ("ben", "Annika", "Zoë", "李明"):
            await people[name].join(room)
    await people["Annika"].send("general", "release day: 2.4.1 is coming", event="topic")
    for name, text, event in SAID[:3]:
        await people[name].send("general", text, event=event)
    last = max([message.offset async for message in terry.history("general")])
    await terry.set_cursor("chat.general", last)
    for name, text, event in SAID[3:]:
        await people[name].send("general", text, event=event)
    await people["ben"].send("ops", "disk on web1 is 91 % full")
    await people["Zoë"].send("ops", "terry: look at web2, too")
    await people["ci"].send("build.linux", "passed in 4 min")
    await people["Annika"].send("@terry", "lunch at noon?")
    await terry.close()
    return list(people.values())


async def picture(address: str, size: tuple[int, int], theme: str) -> str:
    """One of them, as SVG."""
    async with zchat.aio.connect(address, "terry") as client:
        app = ChatApp(client, ["general"], ChatProfile(theme=theme), Path())
        async with app.run_test(size=size) as pilot:
            for _ in range(400):
                await pilot.pause(0.02)
                conversations = app.session.conversations.all
                if all(each.is_live for each in conversations.values()) and "@annika" in conversations:
                    break
            await pilot.press(*"on it")
            await pilot.pause(0.3)
            return app.export_screenshot(title="zchat chat", simplify=True)


async def draw(folder: Path | None) -> list[Path]:
    """All that is asked for."""
    made = []
    with broker() as address:
        people = await fill(address)
        if folder is None:
            README.write_text(steady(await picture(address, README_SIZE, "dark")))
            made.append(README)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            for width, height in SIZES:
                for theme in THEMES:
                    made.append(folder / f"{width}x{height}-{theme}.svg")
                    made[-1].write_text(await picture(address, (width, height), theme))
        for client in people:
            await client.close()
    return made


def steady(svg: str) -> str:
    """Without what changes each time."""
    return re.sub(r"terminal-\d+", "terminal", svg)


def png(files: list[Path]) -> None:
    """The same as a browser shows them."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        for file in files:
            page.goto(file.resolve().as_uri())
            page.screenshot(path=file.with_suffix(".png"))
        browser.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Pictures of zchat chat.")
    parser.add_argument("--all", type=Path, metavar="DIR", help="all sizes and themes, into a folder")
    asked = parser.parse_args()
    made = asyncio.run(draw(asked.all))
    if asked.all is not None and shutil.which("chromium"):
        png(made)
    for file in made:
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
