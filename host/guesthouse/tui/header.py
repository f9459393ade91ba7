"""The monitor's three header lines."""

from __future__ import annotations

from rich.style import Style

from guesthouse.core.model import BoardModel
from guesthouse.core.view import header
from guesthouse.core.view.figures import Shares
from guesthouse.core.view.line import Line, Mood
from guesthouse.tui.paint import Painted
from guesthouse.tui.source import LinkStatus


class BoardHeader(Painted, can_focus=False):
    """Board, firmware, agent, uptime, link; the CPU and its promises; heap, losses."""

    DEFAULT_CSS = """
    BoardHeader {
        height: 3;
        padding: 0 1;
        background: $panel;
        overflow: hidden hidden;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._model = BoardModel()
        self._status: LinkStatus | None = None
        self._shares: Shares | None = None
        self._paused = False
        self._shown: list[Line] = []

    def show(
        self, model: BoardModel, status: LinkStatus, shares: Shares | None, paused: bool
    ) -> None:
        """Show the board; repaints only what changed."""
        self._model, self._status, self._shares, self._paused = model, status, shares, paused
        lines = self._lines()
        if lines != self._shown:
            self._shown = lines
            self.refresh()

    def on_resize(self) -> None:
        """The lines are made for a width."""
        self._shown = self._lines()
        self.refresh()

    def _lines(self) -> list[Line]:
        link: Line = [("‖ paused  ", Mood.WARN)] if self._paused else []
        if self._status is not None:
            link = link + self._status.line()
        size = self.size.width
        return [
            header.identity(self._model, link, size),
            header.capacity(self._model, self._shares, size),
            header.account(self._model, self._shares, size),
        ]

    def line_at(self, y: int) -> tuple[Line, Style | None]:
        """See Painted."""
        return (self._shown[y] if y < len(self._shown) else []), None
