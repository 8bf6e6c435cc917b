#!/usr/bin/env python3
"""web_pictures.py: pictures of the page in a real browser: docs/web.png for the README, or all that there are.

    .venv/bin/python scripts/web_pictures.py              docs/web.png
    .venv/bin/python scripts/web_pictures.py --all DIR    desktop, tablet and phone, light and dark, to be looked at

Chromium is needed (apt-get install chromium). Exit status: 0; 1 when there is none.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

import zchat
from zchat.testing import broker

README = Path(__file__).parent.parent / "docs" / "web.png"
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SIZES = {"desktop": (1280, 760), "tablet": (900, 700), "phone": (390, 844)}
SAID = [
    ("ben", "Morning! The nightly build is green.", "message"),
    ("ben", "Release notes: https://example.com/notes. Have a look, please.", "message"),
    ("Annika", "Looks good. I'll tag it after lunch.", "message"),
    ("ci", "v2.4.1 on web1 and web2", "deploy"),
    ("Zoë", "C'est en ligne, merci à tous !", "message"),
    ("Annika", "Thanks, everybody.\nWho writes the announcement?", "message"),
]


def picture(browser: Browser, url: str, file: Path, size: tuple[int, int], scheme: str, address: str) -> None:
    """One of them."""
    width, height = size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB")  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    page.fill("#who-name", "terry")
    page.click("#who-form button")
    expect(page.locator(".body", has_text="announcement")).to_be_visible()
    for room in ("ops", "build.linux"):
        page.evaluate("room => { const box = document.getElementById('join-room'); box.value = room }", room)
        page.evaluate("document.getElementById('join-form').requestSubmit()")
        expect(page.locator("#room-name")).to_have_text(f"#{room}")
    page.evaluate("document.querySelector('#rooms button').click()")
    with zchat.connect(address, "Annika") as annika:
        annika.send("ops", "disk on web1 is 91 % full")
        annika.send("@terry", "lunch at noon?")
        annika.send("ops", "cleaned up")
    expect(page.locator("#people .badge")).to_have_text("1")
    page.mouse.move(width / 2, 4)
    page.evaluate("document.activeElement.blur()")
    page.screenshot(path=file, animations="disabled")
    context.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Pictures of the page, as it is in a real browser.")
    parser.add_argument("--all", type=Path, metavar="DIR", help="all sizes, light and dark, into a folder")
    asked = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("web_pictures: chromium is needed (apt-get install chromium)", file=sys.stderr)
        return 1
    with broker() as address, sync_playwright() as playwright:
        command = [sys.executable, "-m", "zchat", "web", "--listen", "0", "--broker", address]
        web = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert web.stderr is not None
        found = re.search(r"http://\S+(?=,)", web.stderr.readline())
        assert found is not None, "it is ready"
        users = {name: zchat.connect(address, name) for name in ("Annika", "ben", "Zoë", "ci")}
        heard = [user.listen("general") for user in users.values()]
        for name, text, event in SAID:
            users[name].send("general", text, event=event)
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        try:
            if asked.all is None:
                picture(browser, found[0], README, SIZES["desktop"], "light", address)
            else:
                asked.all.mkdir(parents=True, exist_ok=True)
                for name, size in SIZES.items():
                    for scheme in ("light", "dark"):
                        picture(browser, found[0], asked.all / f"{name}-{scheme}.png", size, scheme, address)
        finally:
            browser.close()
            for each in heard:
                each.close()
            for user in users.values():
                user.close()
            web.terminate()
            web.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
