"""The monitor's screen: takes news from the source, keeps what the panes show, sends commands."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen
from textual.widgets import Footer, Input

from guesthouse.core.errors import GuesthouseError
from guesthouse.core.model import BoardModel, InstanceModel, LogLine
from guesthouse.core.view import states, table
from guesthouse.core.view.figures import clock
from guesthouse.core.view.history import History
from guesthouse.core.view.line import Mood, clean
from guesthouse.core.view.story import Entry, Story, name_of, told
from guesthouse.tui.dialogs import Confirm, Help
from guesthouse.tui.guests import GuestTable
from guesthouse.tui.header import BoardHeader
from guesthouse.tui.panes import Pane, Paragraph
from guesthouse.tui.source import News, Source
from guesthouse.tui.why import explain

EVENTS_SHOWN = 300
LOGS_SHOWN = 500
_CLOCK_WIDTH = 11
_CHROME = 3  # two header lines and the footer
_BELOW_LEAST = 6  # the panes below the table, their rule included
_DONE = {"start": "started", "stop": "stopped", "kill": "killed", "restart": "restarted"}


class MonitorScreen(Screen[None], inherit_bindings=False):
    """Header, guests, panes, footer."""

    AUTO_FOCUS = "GuestTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "quit"),
        Binding("s", "start_stop", "start/stop"),
        Binding("k", "kill", "kill"),
        Binding("r", "restart", "restart"),
        Binding("w", "pane('why')", "why"),
        Binding("e", "pane('events')", "events", show=False),
        Binding("l", "pane('log')", "log", show=False),
        Binding("slash", "filter", "filter"),
        Binding("p", "pause", "pause"),
        Binding("tab", "move(1)", "move"),
        Binding("shift+tab", "move(-1)", show=False),
        Binding("escape", "clear_filter", show=False),
        Binding("ctrl+c", "copy_text", show=False),
        Binding("t", "app.toggle_light", "light/dark", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
    ]

    DEFAULT_CSS = """
    MonitorScreen {
        background: $background;
        layout: vertical;
        #filter {
            display: none;
            height: 1;
            background: $surface;
            &.-open { display: block; }
        }
        #below { height: 1fr; layout: horizontal; }
        #right { width: 1.2fr; height: 1fr; layout: vertical; }
        #below.-two > #right, #below.-stack > #right { margin-left: 1; }
        #below.-columns > #right, #below.-columns #log { margin-left: 1; }
        /* one pane at a time */
        #below.-tabs > #why { display: none; }
        #below.-tabs.-show-why > #why { display: block; }
        #below.-tabs.-show-why > #right { display: none; }
        #below.-tabs.-show-events #log, #below.-two.-show-events #log { display: none; }
        #below.-tabs.-show-log #events, #below.-two.-show-log #events { display: none; }
        #below.-two.-show-why #log { display: none; }
        #below.-columns > #right { layout: horizontal; width: 2.2fr; }
        #below.-stack #events, #below.-columns #events { height: 1.4fr; }
        #below.-columns #events, #below.-columns #log { height: 1fr; }
        &.-stale GuestTable, &.-stale #why { tint: $background 55%; }
    }
    """

    def __init__(self, source: Source, frame_s: float) -> None:
        super().__init__()
        self._source = source
        self._frame_s = frame_s
        self._frozen: BoardModel | None = None  # the picture while paused
        self._held: deque[News] = deque(maxlen=1000)  # news that came while paused
        self._history = History()
        self._story = Story(EVENTS_SHOWN)
        self._logs: deque[tuple[LogLine, Paragraph]] = deque(maxlen=LOGS_SHOWN)
        self._told: dict[int, tuple[tuple[str, str], Paragraph]] = {}  # by the entry's number
        self._console_tail = ""
        self._needle = ""
        self._pane = "events"
        self._arranged: tuple[str, str] = ("", "")
        # Held, not looked up: while the app closes, news may still come to a screen without them.
        self._header = BoardHeader()
        self._filter = Input(
            placeholder="part of a name, a state or a reason", id="filter", compact=True
        )
        self._guests = GuestTable()
        self._below = Container(id="below")
        self._why = Pane("why", empty="no guest selected")
        self._events = Pane("events", tail=True, empty="nothing has happened yet")
        self._log_pane = Pane("log", tail=True, empty="no guest has printed anything yet")
        self._panes = (self._why, self._events, self._log_pane)

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield self._header
        yield self._filter
        yield self._guests
        with self._below:
            yield self._why
            with Container(id="right"):
                yield self._events
                yield self._log_pane
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """What the model knows already, then the news."""
        model = self._source.model
        self._absorb(News(list(model.events), list(model.logs)))
        self.paint()
        self._listen()

    # --- news ---------------------------------------------------------------------

    @work(exclusive=True)
    async def _listen(self) -> None:
        while True:
            news = await self._source.next()
            if self._frozen is None:
                self._absorb(news)
                self.paint()
            else:
                self._history.observe(self._source.model)
                self._held.append(news)
                self._paint_header()  # a lost link is told even while paused
            await asyncio.sleep(self._frame_s)

    def _absorb(self, news: News) -> None:
        self._history.observe(self._source.model)
        for event in news.events:
            self._story.tell(event)
        self._logs.extend((line, _log(line)) for line in news.logs)
        for text in news.console:
            self._take_console(text)

    def _take_console(self, text: str) -> None:
        """Console text comes in pieces; a line is shown when it is whole."""
        *lines, tail = (self._console_tail + text).replace("\r\n", "\n").split("\n")
        # A board that never ends its line must not make it grow for ever.
        while len(tail) > 500:
            lines.append(tail[:500])
            tail = tail[500:]
        self._console_tail = tail
        now = self._source.model.elapsed_us
        made = (LogLine(now, 0, "console", line) for line in lines if line.strip())
        self._logs.extend((line, _log(line)) for line in made)

    # --- painting -----------------------------------------------------------------

    @property
    def _model(self) -> BoardModel:
        return self._frozen or self._source.model

    def paint(self) -> None:
        """Bring everything on the screen up to date; widgets repaint only what changed."""
        if not self.is_attached:
            return  # the app is closing
        with self.app.batch_update():
            self._paint_header()
            self._paint_guests()
            self._paint_why()
            self._paint_events()
            self._paint_logs()

    def _paint_header(self) -> None:
        status = self._source.status
        self._header.show(self._model, status, self._history.shares, self._frozen is not None)
        self.set_class(status.lost, "-stale")

    def _paint_guests(self) -> None:
        model = self._model
        guests = sorted(model.instances.values(), key=lambda guest: guest.id)
        rows = [
            table.Row(guest, model.heap_bytes, self._history.cpu(guest.id))
            for guest in guests
            if self._matches(guest.name, guest.state, table.last_fault(guest))
        ]
        guest_table = self._guests
        guest_table.empty = "no guest matches the filter" if guests else "no guests yet"
        guest_table.show(rows)
        self._arrange(len(rows))

    def _paint_why(self) -> None:
        pane = self._why
        guest = self._selected()
        if guest is None:
            pane.show(())
            return
        logs = [line for line, _ in reversed(self._logs) if line.instance == guest.id]
        room = max(4, pane.size.height // 4)
        pane.show(
            explain(
                guest,
                self._story.of(guest.id, room),
                logs[:room][::-1],
                self._history.cpu(guest.id),
            )
        )

    def _paint_events(self) -> None:
        before, self._told = self._told, {}
        shown: list[Paragraph] = []
        for entry in self._story.entries:
            name, words = name_of(entry, self._model), entry.words()
            made = before.get(entry.number)
            if made is None or made[0] != (name, words):
                made = ((name, words), _event(entry, name))
            self._told[entry.number] = made
            if self._matches(name, words):
                shown.append(made[1])
        self._events.show(shown)

    def _paint_logs(self) -> None:
        self._log_pane.show(
            [made for line, made in self._logs if self._matches(line.name, line.text)]
        )

    def _matches(self, *texts: str) -> bool:
        return not self._needle or any(self._needle in text.lower() for text in texts)

    def _selected(self) -> InstanceModel | None:
        selected = self._guests.selected
        return None if selected is None else self._model.instances.get(selected)

    # --- layout -------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Another arrangement of the panes, perhaps."""
        self._arrange(len(self._model.instances))

    def _arrange(self, rows: int) -> None:
        """Give the table what it needs, and the panes the arrangement that fits the rest."""
        width, height = self.size
        if not height:
            return
        chrome = _CHROME + self._filter.has_class("-open")
        wanted = max(rows, 1) + 1
        given = max(3, min(wanted, height - chrome - _BELOW_LEAST))
        guests = self._guests
        if guests.styles.height is None or guests.styles.height.value != given:
            guests.styles.height = given
        below = height - chrome - given
        if width < 100:
            arrangement = "tabs"
        elif below < 14:
            arrangement = "two"
        else:
            arrangement = "stack" if width < 160 else "columns"
        guest = self._selected()
        name = clean(guest.name) if guest else ""
        if (arrangement, self._pane) != self._arranged:
            self._arranged = (arrangement, self._pane)
            self._below.set_classes(f"-{arrangement} -show-{self._pane}")
        self._title(arrangement, name)

    def _title(self, arrangement: str, name: str) -> None:
        """Panes that share a place carry each other's names, the one in front in brackets."""
        shared = {"tabs": ("why", "events", "log"), "two": ("events", "log")}.get(arrangement, ())
        for pane in self._panes:
            this = pane.id or ""
            title = f"why {name}" if this == "why" and name else this
            if this in shared:
                title = "  ".join(
                    f"\\[{title}]"
                    if other == this
                    else f"[dim @click=screen.pane('{other}')]{other}[/]"
                    for other in shared
                )
            pane.entitle(title)

    # --- keys ---------------------------------------------------------------------

    @on(GuestTable.Selected)
    def _another_guest(self) -> None:
        self._why.scroll_to(y=0, animate=False)
        self._paint_why()
        self._arrange(len(self._guests.rows))

    def action_move(self, step: int) -> None:
        """Focus the next place: guests, why, events, log."""
        places = [self._guests, *self._panes]
        focused = self.focused
        at = places.index(focused) if focused in places else 0
        place = places[(at + step) % len(places)]
        if isinstance(place, Pane):
            self.action_pane(place.id or "")
        else:
            place.focus()

    def action_pane(self, pane: str) -> None:
        """Bring a pane to the front and focus it."""
        self._pane = pane
        self._arrange(len(self._guests.rows))
        target = next(place for place in self._panes if place.id == pane)
        # A pane that was hidden can be focused only when the styles have been applied.
        self.call_after_refresh(target.focus)

    def action_filter(self) -> None:
        """Open the filter's line."""
        box = self._filter
        box.add_class("-open")
        self._arrange(len(self._guests.rows))
        self.call_after_refresh(box.focus)

    def action_clear_filter(self) -> None:
        """Show everything again."""
        box = self._filter
        box.value = ""
        box.remove_class("-open")
        self._guests.focus()
        self.paint()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self._needle = event.value.strip().lower()
        self.paint()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        if self._needle:
            self._guests.focus()  # the line stays open: it says what is left out
        else:
            self.action_clear_filter()

    def action_pause(self) -> None:
        """Hold the picture, or let it run on from where the board is now."""
        if self._frozen is None:
            self._frozen = copy.deepcopy(self._source.model)
            self._paint_header()
            return
        self._frozen = None
        while self._held:
            self._absorb(self._held.popleft())
        self.paint()

    def action_help(self) -> None:
        """Keys and legend."""
        self.app.push_screen(Help())

    # --- commands -----------------------------------------------------------------

    def action_start_stop(self) -> None:
        """Start a guest that has ended, stop one that has not."""
        if guest := self._selected():
            self._command("start" if states.ended(guest.state) else "stop", guest.name)

    def action_restart(self) -> None:
        """Restart the selected guest."""
        if guest := self._selected():
            self._command("restart", guest.name)

    def action_kill(self) -> None:
        """Kill the selected guest, if the user means it."""
        guest = self._selected()
        if guest is None:
            return
        name = guest.name

        def answered(yes: bool | None) -> None:
            if yes:
                self._command("kill", name)

        explanation = "It ends at once, wherever it is, and its files are closed."
        self.app.push_screen(Confirm(f"Kill {clean(name)}?", explanation, "kill", "keep"), answered)

    @work(group="commands")
    async def _command(self, verb: str, guest: str) -> None:
        try:
            await self._source.command(verb, guest)
        except GuesthouseError as error:
            text = clean(error.message) + (f"\n{clean(error.hint)}" if error.hint else "")
            self.notify(text, title=f"{verb} {clean(guest)}", severity="error", markup=False)
        else:
            # Not the state in the reply: it may be the one before the board got round to it.
            self.notify(f"{clean(guest)} {_DONE.get(verb, verb)}", timeout=2, markup=False)


def _event(entry: Entry, name: str) -> Paragraph:
    return Paragraph.of(
        [
            (f"{clock(entry.time_us):>{_CLOCK_WIDTH - 2}}  ", Mood.DIM),
            (f"{states.glyph(entry.state)} ", states.mood(entry.state)),
            (f"{clean(name)} ", Mood.STRONG),
            *told(entry),
        ],
        _CLOCK_WIDTH + 2,
    )


def _log(line: LogLine) -> Paragraph:
    if line.name == "console":
        return Paragraph.of([("  console  ", Mood.DIM), (clean(line.text), Mood.OFF)], _CLOCK_WIDTH)
    return Paragraph.of(
        [
            (f"{clock(line.time_us):>{_CLOCK_WIDTH - 2}}  ", Mood.DIM),
            (f"{clean(line.name)} ", Mood.ACCENT),
            (
                f"{'! ' if line.error else ''}{clean(line.text)}",
                Mood.BAD if line.error else Mood.PLAIN,
            ),
        ],
        _CLOCK_WIDTH,
    )
