"""Painting lines of the shared view: one colour for each mood, taken from the theme."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.scroll_view import ScrollView
from textual.strip import Strip

from guesthouse.core.view.line import Line, Mood
from guesthouse.core.view.line import width as width_of


class Painted(ScrollView):
    """A widget made of lines. Subclasses return them from ``line_at`` and refresh what changed."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"paint--{mood}" for mood in Mood}

    DEFAULT_CSS = """
    Painted {
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        .paint--plain { color: $foreground; }
        .paint--strong { color: $foreground; text-style: bold; }
        .paint--dim { color: $text-faint; }
        .paint--good { color: $success; }
        .paint--warn { color: $warning; }
        .paint--bad { color: $error; }
        .paint--off { color: $text-faint; }
        .paint--accent { color: $primary; }
        .paint--track { color: $track; }
    }
    """

    def line_at(self, y: int) -> tuple[Line, Style | None]:
        """What stands in row ``y`` of the widget, and a style under the whole row if it has one."""
        raise NotImplementedError

    _base: Style | None = None

    def render_lines(self, crop: Region) -> list[Strip]:
        """Textual's line API: several lines, with one look-up of what lies under them all."""
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Textual's line API: one line."""
        line, under = self.line_at(y)
        base = self._base if self._base is not None else self.rich_style
        if under is not None:
            base += under
        segments = [
            Segment(text, base + self.get_component_rich_style(f"paint--{mood}", partial=True))
            for text, mood in line
            if text
        ]
        size = self.size.width
        return Strip(segments, width_of(line)).adjust_cell_length(size, base)
