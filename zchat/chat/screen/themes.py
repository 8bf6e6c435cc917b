"""The colours of the screen: dark, light, and one of high contrast; the colours of users in each."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="dark",
    primary="#7aa2f7",
    secondary="#9ece6a",
    accent="#ff9e64",
    warning="#e0af68",
    error="#f7768e",
    success="#9ece6a",
    foreground="#c8d0e8",
    background="#16171f",
    surface="#1b1d27",
    panel="#23263440",
    dark=True,
    variables={
        "footer-key-foreground": "#7aa2f7",
        "footer-background": "#16171f",
        "dim": "#6b7390",
        "code": "#242736",
        "speaks": "#2a2330",
        "found": "#2d3556",
    },
)
LIGHT = Theme(
    name="light",
    primary="#2257c4",
    secondary="#2e6b1f",
    accent="#b1440c",
    warning="#8a5a00",
    error="#b3153a",
    success="#2e6b1f",
    foreground="#22242c",
    background="#ffffff",
    surface="#f4f5f8",
    panel="#e8eaf0",
    dark=False,
    variables={
        "footer-key-foreground": "#2257c4",
        "footer-background": "#ffffff",
        "dim": "#666b7a",
        "code": "#eceef3",
        "speaks": "#fdf1e3",
        "found": "#dfe8ff",
    },
)
CONTRAST = Theme(
    name="contrast",
    primary="#ffff00",
    secondary="#00ff00",
    accent="#ffb000",
    warning="#ffff00",
    error="#ff6060",
    success="#00ff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#202020",
    dark=True,
    variables={
        "footer-key-foreground": "#ffff00",
        "footer-background": "#000000",
        "dim": "#d0d0d0",
        "code": "#303030",
        "speaks": "#402800",
        "found": "#003060",
    },
)
THEMES = {theme.name: theme for theme in (DARK, LIGHT, CONTRAST)}

_ON_DARK = (
    *("#f7768e", "#ff9e64", "#e0af68", "#9ece6a", "#73daca", "#7dcfff"),
    *("#7aa2f7", "#bb9af7", "#ff7eb6", "#c0ca7a", "#4fd6be", "#d19a66"),
)
_ON_LIGHT = (
    *("#b3153a", "#b1440c", "#8a5a00", "#2e6b1f", "#00695c", "#00618a"),
    *("#2257c4", "#6a3fb5", "#a81d6b", "#5b6300", "#00717d", "#7a4a21"),
)
_IN_CONTRAST = (
    *("#ff8080", "#ffb000", "#ffff00", "#00ff00", "#00ffcc", "#00ffff"),
    *("#80b0ff", "#d0a0ff", "#ff90ff", "#d0ff60", "#60ffe0", "#ffd090"),
)


def users_colours(theme: Theme) -> tuple[str, ...]:
    """Twelve, each to be read on the theme's background."""
    if theme.name == "contrast":
        return _IN_CONTRAST
    return _ON_DARK if theme.dark else _ON_LIGHT
