"""Questions and help over the monitor."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from guesthouse.core.view import states
from guesthouse.core.view.line import Mood

_COLOURS = {
    Mood.GOOD: "$success",
    Mood.WARN: "$warning",
    Mood.BAD: "$error",
    Mood.OFF: "$text-faint",
    Mood.ACCENT: "$primary",
}


class Confirm(ModalScreen[bool]):
    """A yes or no; Enter on the question as it opens means no."""

    DEFAULT_CSS = """
    Confirm {
        align: center middle;
        #question {
            width: auto;
            max-width: 90%;
            height: auto;
            padding: 1 3;
            background: $panel;
            border: round $error;
        }
        #text { width: auto; height: auto; margin-bottom: 1; }
        #answers { width: auto; height: auto; }
        Button { margin-right: 2; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, explanation: str, yes: str, no: str) -> None:
        super().__init__()
        self._text = Content.assemble((question, "bold"), "\n", (explanation, "$text-faint"))
        self._yes, self._no = yes, no

    def compose(self) -> ComposeResult:
        """The question over its two answers."""
        with Vertical(id="question"):
            yield Static(self._text, id="text")
            with Horizontal(id="answers"):
                yield Button(f"{self._yes} (y)", variant="error", id="yes", compact=True)
                yield Button(f"{self._no} (n)", id="no", compact=True)

    def on_mount(self) -> None:
        """What ends a guest is never the default."""
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A click or Enter."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        """A key."""
        self.dismiss(answer)


_KEYS = (
    ("↑ ↓", "select a guest"),
    ("tab", "move between the guests and the panes"),
    ("s", "stop the guest, or start it if it has ended"),
    ("k", "kill the guest (asks first)"),
    ("r", "restart the guest"),
    ("w", "why: the guest's state, call chain, quotas, last lines"),
    ("e l", "events; log and console"),
    ("/", "filter guests, events and log; Esc clears"),
    ("p", "pause the picture; the board runs on"),
    ("t", "light or dark"),
    ("q", "quit; the board runs on"),
)


class Help(ModalScreen[None]):
    """The keys and how to read the picture."""

    DEFAULT_CSS = """
    Help {
        align: center middle;
        #help {
            width: auto;
            max-width: 96%;
            height: auto;
            max-height: 100%;
            padding: 0 2;
            background: $panel;
            border: round $primary;
            border-title-style: bold;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "close")
    ]

    def compose(self) -> ComposeResult:
        """One text."""
        text = Static(_help(), id="help")
        text.border_title = "help"
        yield text


def _help() -> Content:
    parts: list[str | tuple[str, str]] = []
    for keys, meaning in _KEYS:
        parts += [(f"{keys:>4}  ", "bold $primary"), f"{meaning}\n"]
    parts.append("\n")
    for index, (glyph, name, mood) in enumerate(states.LEGEND):
        parts += [(f"{glyph} ", _COLOURS[mood]), f"{name:<13}"]
        if index % 4 == 3:
            parts.append("\n")
    parts += [
        ("\n━━┿━━╸──┤ ", "$success"),
        "use now; ",
        ("┼", "bold"),
        " is the reservation, ",
        ("┤", "bold"),
        " the limit; ",
        ("┿━", "$error"),
        " is above it\n",
        "~ is an estimate · pressure: share of time it wanted the CPU in vain",
    ]
    return Content.assemble(*parts)
