"""The table of guests. Rows are updated in place; the selection belongs to a guest, not a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message

from guesthouse.core.view import table
from guesthouse.core.view.line import Line, Mood
from guesthouse.tui.paint import Painted


class GuestTable(Painted, can_focus=True):
    """One line a guest under a heading that stays."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "step(-1)", show=False),
        Binding("down", "step(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "step(-9999)", show=False),
        Binding("end", "step(9999)", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "guests--cursor",
        "guests--cursor-idle",
        "guests--heading",
    }

    DEFAULT_CSS = """
    GuestTable {
        background: $background;
        .guests--heading { background: $surface; }
        .guests--cursor { background: $cursor; }
        .guests--cursor-idle { background: $surface; }
    }
    """

    class Selected(Message):
        """Another guest is selected (None: there is none)."""

        def __init__(self, instance: int | None) -> None:
            super().__init__()
            self.instance = instance

    def __init__(self) -> None:
        super().__init__()
        self.selected: int | None = None  # id of the instance
        self.empty = "no guests yet"
        # Names outlive a boot of the board, ids do not.
        self._wanted = ""
        self._rows: list[table.Row] = []
        self._lines: list[Line] = []
        self._layout = table.lay_out(78, ())

    def show(self, rows: Sequence[table.Row]) -> None:
        """Show these guests in this order; repaints only the lines that changed."""
        gone_from = self._index()
        self._rows = list(rows)
        named = {row.guest.name: row.guest.id for row in self._rows}
        if self._wanted and self._wanted in named:
            self._choose(named[self._wanted])
        elif all(row.guest.id != self.selected for row in self._rows):
            # Its neighbour, but only for as long as the wanted one is away.
            nearest = min(gone_from or 0, len(self._rows) - 1)
            self._choose(self._rows[nearest].guest.id if self._rows else None)
        self._draw()

    @property
    def rows(self) -> Sequence[table.Row]:
        """What is shown, from top to bottom."""
        return self._rows

    def _draw(self) -> None:
        # one cell at each side: the cursor's mark, and air
        width = max(1, self.size.width - 2)
        layout = table.lay_out(width, [row.guest.name for row in self._rows], history=True)
        everything = layout != self._layout or len(self._rows) != len(self._lines)
        self._layout = layout
        lines = [table.row_line(row, layout) for row in self._rows]
        before, self._lines = self._lines, lines
        size = Size(self.size.width, len(lines) + 1)
        if size != self.virtual_size:
            self.virtual_size = size
        if everything:
            self.refresh()
            return
        for index, line in enumerate(lines):
            if line != before[index]:
                self._refresh_row(index)

    def _refresh_row(self, index: int) -> None:
        y = index + 1 - self.scroll_offset.y
        if 1 <= y < self.size.height:
            self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self) -> None:
        """The columns are chosen for a width."""
        self._draw()
        self._keep_in_sight()

    def on_focus(self) -> None:
        """The cursor looks different."""
        self.refresh()

    def on_blur(self) -> None:
        """The cursor looks different."""
        self.refresh()

    def line_at(self, y: int) -> tuple[Line, Style | None]:
        """See Painted."""
        if y == 0:
            heading: Line = [(" ", Mood.DIM), *table.heading(self._layout)]
            return heading, self.get_component_rich_style("guests--heading", partial=True)
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._lines):
            return ([(f" {self.empty}", Mood.DIM)] if not self._lines and y == 1 else []), None
        if self._rows[index].guest.id != self.selected:
            return [(" ", Mood.PLAIN), *self._lines[index]], None
        look = "guests--cursor" if self.has_focus else "guests--cursor-idle"
        under = self.get_component_rich_style(look, partial=True)
        return [("▸", Mood.ACCENT), *self._lines[index]], under

    def _index(self) -> int | None:
        """The row of the selected guest."""
        for index, row in enumerate(self._rows):
            if row.guest.id == self.selected:
                return index
        return None

    def select(self, instance: int) -> None:
        """Select a guest by its instance's id, bring it in sight, and stay with it."""
        self._wanted = next((r.guest.name for r in self._rows if r.guest.id == instance), "")
        self._choose(instance)

    def _choose(self, instance: int | None) -> None:
        if instance == self.selected:
            return
        before = self._index()
        self.selected = instance
        for index in (before, self._index()):
            if index is not None and index < len(self._lines):
                self._refresh_row(index)
        self._keep_in_sight()
        self.post_message(self.Selected(instance))

    def _keep_in_sight(self) -> None:
        index = self._index()
        if index is None or self.size.height < 2:
            return
        top, room = self.scroll_offset.y, self.size.height - 1
        if index < top:
            self.scroll_to(y=index, animate=False, force=True)
        elif index >= top + room:
            self.scroll_to(y=index - room + 1, animate=False, force=True)

    def action_step(self, steps: int) -> None:
        """Move the selection, stopping at the ends."""
        if self._rows:
            index = min(max((self._index() or 0) + steps, 0), len(self._rows) - 1)
            self.select(self._rows[index].guest.id)

    def action_page(self, pages: int) -> None:
        """Move the selection by what is in sight."""
        self.action_step(pages * max(1, self.size.height - 2))

    def on_click(self, event: events.Click) -> None:
        """Select the guest under the pointer."""
        index = event.y - 1 + self.scroll_offset.y
        if event.y >= 1 and 0 <= index < len(self._rows):
            self.select(self._rows[index].guest.id)
