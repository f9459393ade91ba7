"""The monitor as an application."""

from __future__ import annotations

from textual.app import App
from textual.screen import Screen

from guesthouse.tui.screen import MonitorScreen
from guesthouse.tui.source import Source
from guesthouse.tui.themes import DARK, LIGHT, defaults

FRAME_S = 0.1  # between two pictures: what comes in between is drawn at once


class MonitorApp(App[None]):
    """Shows the board of ``source`` until the user quits, then closes the source.

    ``dark`` chooses between the two themes; ``frame_s`` is the least time between two pictures.
    """

    TITLE = "Guesthouse"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, source: Source, *, dark: bool = True, frame_s: float = FRAME_S) -> None:
        super().__init__()
        self.source = source
        self.frame_s = frame_s
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = DARK.name if dark else LIGHT.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own variables, for themes that lack them."""
        return defaults(self.current_theme.dark)

    def get_default_screen(self) -> Screen[None]:
        """The one screen."""
        return MonitorScreen(self.source, self.frame_s)

    def action_toggle_light(self) -> None:
        """Between the two themes."""
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name

    async def on_unmount(self) -> None:
        """However it ended."""
        await self.source.close()
