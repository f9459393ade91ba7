"""The monitor's own two themes, and what it needs from any other."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="guesthouse-dark",
    primary="#7aa8f0",
    secondary="#5a7fb8",
    accent="#e8b466",
    foreground="#d5dae3",
    background="#12161d",
    surface="#191f29",
    panel="#202835",
    success="#86c98a",
    warning="#e6b35c",
    error="#f07f7f",
    dark=True,
    variables={
        "text-faint": "#8089a0",
        "track": "#4a5468",
        "rule": "#39435a",
        "cursor": "#2a3a59",
        "footer-background": "#202835",
        "footer-key-foreground": "#e8b466",
        "scrollbar": "#39435a",
        "scrollbar-background": "#12161d",
    },
)

LIGHT = Theme(
    name="guesthouse-light",
    primary="#2a5caa",
    secondary="#4a76b8",
    accent="#8a5a00",
    foreground="#272c36",
    background="#fbfaf7",
    surface="#f2f0ea",
    panel="#e6e3da",
    success="#2a7a3a",
    warning="#965d00",
    error="#b62f2f",
    dark=False,
    variables={
        "text-faint": "#6a7080",
        "track": "#b9bcc4",
        "rule": "#c4c2ba",
        "cursor": "#d3e0f5",
        "footer-background": "#e6e3da",
        "footer-key-foreground": "#8a5a00",
        "scrollbar": "#c4c2ba",
        "scrollbar-background": "#fbfaf7",
    },
)

_NEEDED = ("text-faint", "track", "rule", "cursor")


def defaults(dark: bool) -> dict[str, str]:
    """Our variables under a theme that does not know them (any of Textual's own)."""
    return {name: (DARK if dark else LIGHT).variables[name] for name in _NEEDED}
