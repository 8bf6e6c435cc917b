"""The command palette: rooms to go to, and what there is to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider

from zchat.chat.core.commands import COMMANDS
from zchat.chat.screen.keys import KEYS
from zchat.profile import THEMES


class ChatCommands(Provider):
    """What the palette offers."""

    async def discover(self) -> Hits:
        """Without anything typed."""
        for shown, help_text, act in self._all():
            yield DiscoveryHit(shown, act, help=help_text)

    async def search(self, query: str) -> Hits:
        """What fits."""
        matcher = self.matcher(query)
        for shown, help_text, act in self._all():
            if (score := matcher.match(shown)) > 0:
                yield Hit(score, matcher.highlight(shown), act, help=help_text)

    def _all(self) -> Iterable[tuple[str, str, Callable[[], Any]]]:
        app: Any = self.app
        for name, title in app.titles():
            yield f"go to {title}", "a conversation of yours", partial(app.show, name)
        for theme in THEMES:
            yield f"theme: {theme}", "colours", partial(app.use_theme, theme)
        for key in KEYS:
            if key.action != "command_palette":
                yield key.sentence, key.shown, partial(app.run_action, key.action)
        for word, row in COMMANDS.items():
            yield row.usage, row.sentence, partial(app.begin_command, word)
