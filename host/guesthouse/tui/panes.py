"""Panes of wrapped text below the table: why, events, log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style
from textual.geometry import Region, Size

from guesthouse.core.view.line import Line, Mood, wrap
from guesthouse.tui.paint import Painted


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A line that is wrapped to the pane, its later lines indented by ``indent`` cells."""

    spans: tuple[tuple[str, Mood], ...]
    indent: int = 0

    @classmethod
    def of(cls, line: Line, indent: int = 0) -> Paragraph:
        """From a line."""
        return cls(tuple(line), indent)


class Pane(Painted, can_focus=True):
    """Paragraphs, scrolled. With ``tail`` it follows its end until the reader scrolls away."""

    DEFAULT_CSS = """
    Pane {
        height: 1fr;
        width: 1fr;
        padding: 0 1;
        /* text is wrapped for one width, whether the bar shows or not */
        scrollbar-gutter: stable;
        border-top: solid $rule;
        border-title-color: $foreground;
        border-title-background: $background;
        border-title-style: bold;
        background: $background;
        &:focus {
            border-top: heavy $primary;
            border-title-color: $primary;
        }
    }
    """

    def __init__(self, id: str, tail: bool = False, empty: str = "") -> None:
        super().__init__(id=id)
        self._tail = tail
        self._empty = Paragraph.of([(empty, Mood.DIM)])
        self._paragraphs: Sequence[Paragraph] = ()
        self._lines: list[Line] = []
        self._wrapped: dict[Paragraph, list[Line]] = {}
        self._wrapped_for = 0
        self._title = ""
        self._following = tail

    def show(self, paragraphs: Sequence[Paragraph]) -> None:
        """Show these; repaints only the lines that changed, and stays where the reader is."""
        if paragraphs == self._paragraphs and self._lines:
            return
        self._paragraphs = list(paragraphs)
        self._draw()

    def entitle(self, markup: str) -> None:
        """Set the title; the border is drawn again only if it changed."""
        if markup != self._title:
            self._title = markup
            self.border_title = markup

    @property
    def text(self) -> str:
        """All lines as text, those out of sight included."""
        return "\n".join("".join(text for text, _ in line) for line in self._lines)

    def _draw(self) -> None:
        width = self.scrollable_content_region.width
        if width <= 0:
            return
        if width != self._wrapped_for:
            self._wrapped, self._wrapped_for = {}, width
        wrapped: dict[Paragraph, list[Line]] = {}
        lines: list[Line] = []
        for paragraph in self._paragraphs or (self._empty,):
            made = self._wrapped.get(paragraph)
            if made is None:
                made = wrap(list(paragraph.spans), width, paragraph.indent)
            wrapped[paragraph] = made
            lines += made
        self._wrapped = wrapped
        before, self._lines = self._lines, lines
        top = self.scroll_offset.y
        size = Size(width, len(lines))
        if size != self.virtual_size:
            self.virtual_size = size
        if self._following and self.max_scroll_y != top:
            # forced: the scrollbar that would allow it appears only with the next layout
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
        for y in range(self.size.height):
            old = before[top + y] if top + y < len(before) else None
            new = lines[top + y] if top + y < len(lines) else None
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Whoever scrolls away from the end reads; whoever returns to it follows again."""
        super().watch_scroll_y(old_value, new_value)
        self._following = self._tail and round(new_value) >= self.max_scroll_y

    def on_resize(self) -> None:
        """Wrap anew."""
        self._draw()
        self.refresh()

    def on_show(self) -> None:
        """A pane that was hidden had no width to wrap for."""
        self._draw()

    def line_at(self, y: int) -> tuple[Line, Style | None]:
        """See Painted."""
        index = y + self.scroll_offset.y
        return (self._lines[index] if index < len(self._lines) else []), None
