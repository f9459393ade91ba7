"""Where the monitor gets its board from: a live link, a replayed recording and the demo alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from guesthouse.core.model import BoardModel, Event, LogLine
from guesthouse.core.view.line import Line, Mood, clean


class LinkState(StrEnum):
    """What stands between the board and the picture."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"  # the source waits for the port by itself
    REPLAY = "replay"
    ENDED = "ended"  # a replay that is over: the picture is the last one, and true


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """The link in one glance: ``where`` is the port or the file, ``recording`` the file written."""

    state: LinkState
    where: str = ""
    recording: str = ""

    @property
    def lost(self) -> bool:
        """Whether the picture is an old one."""
        return self.state is LinkState.DISCONNECTED

    def line(self) -> Line:
        """The status for the header's right end."""
        where = f" {clean(self.where)}" if self.where else ""
        line: Line
        if self.state is LinkState.CONNECTED:
            line = [("● ", Mood.GOOD), (f"connected{where}", Mood.PLAIN)]
        elif self.state is LinkState.DISCONNECTED:
            line = [(f"✗ link lost, waiting for{where or ' the port'}", Mood.BAD)]
        elif self.state is LinkState.REPLAY:
            line = [("▷ ", Mood.ACCENT), (f"replay{where}", Mood.PLAIN)]
        else:
            line = [("■ ", Mood.OFF), (f"end of{where or ' the recording'}", Mood.PLAIN)]
        if self.recording:
            line += [("  ◉ ", Mood.BAD), (f"recording to {clean(self.recording)}", Mood.PLAIN)]
        return line


@dataclass(slots=True)
class News:
    """What came since the last time somebody asked, oldest first."""

    events: list[Event] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    console: list[str] = field(default_factory=list)  # text as it came, not cut into lines

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return bool(self.events or self.logs or self.console)

    def add(self, items: Iterable[Event | LogLine | str]) -> None:
        """Sort what the tracker found new into its kinds."""
        for item in items:
            if isinstance(item, Event):
                self.events.append(item)
            elif isinstance(item, LogLine):
                self.logs.append(item)
            else:
                self.console.append(item)


class Source(Protocol):
    """A board that delivers updates.

    Everything is called on one event loop. ``model`` changes only inside ``next``, so whoever
    awaits it may read the model in between without a lock.
    """

    @property
    def model(self) -> BoardModel:
        """The board as it is known now; the same object for the life of the source."""
        ...

    @property
    def status(self) -> LinkStatus:
        """The link as it is now."""
        ...

    async def next(self) -> News:
        """Wait until the model or the status has changed, and return what is new since last time.

        Any number of updates between two calls is one change: a slow reader gets fewer, bigger
        ones. After the end of a replay it waits for ever.
        """
        ...

    async def command(self, verb: str, guest: str) -> str:
        """``start``, ``stop``, ``kill`` or ``restart`` a guest by its instance's name.

        Returns the guest's new state. Raises GuesthouseError with a hint where the board refuses,
        does not answer, or where there is no board (a replay).
        """
        ...

    async def close(self) -> None:
        """Let go of the port or the file. ``next`` is not called again."""
        ...
