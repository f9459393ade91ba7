"""The demo's guests under plain asyncio: one MicroPython, one loop, until one of them hangs."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guesthouse.board.micropython import MicroPython
from guesthouse.core import assets
from guesthouse.core.errors import GuesthouseError
from guesthouse.demo.folders import CONTROL_PERIOD_MS, FOLDER
from guesthouse.guests.image import find_entry

RUNNER = FOLDER / "plain_asyncio.py"
FROZEN_S = 3.0  # without a tick of a 10 ms loop: long enough for anybody to believe it
LONGEST_S = 20.0  # then it has not frozen
_LIFETIME_S = 60  # the process ends itself after this, should this one be gone

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PlainRun:
    """What was seen from outside. Times in ms since the loop began; None where it never was.

    ``releases`` of the control loop came, of ``due`` in the time that was watched.
    """

    guests: int
    releases: int
    watched_ms: int
    last_tick_ms: int | None
    last_line: str  # the last that any of the programs printed
    last_line_ms: int | None
    frozen: bool

    @property
    def due(self) -> int:
        """How many releases a loop of 10 ms has in this time."""
        return self.watched_ms // CONTROL_PERIOD_MS

    @property
    def silent_ms(self) -> int:
        """From the last tick to the end."""
        return self.watched_ms - (self.last_tick_ms or 0)

    def to_json_dict(self) -> dict[str, Any]:
        """The key ``plain_asyncio`` that --compare adds to the demo's object."""
        return {
            "guests": self.guests,
            "frozen": self.frozen,
            "watched_us": self.watched_ms * 1000,
            "releases": self.releases,
            "releases_due": self.due,
            "silent_us": self.silent_ms * 1000,
            "last_line": self.last_line,
            "last_line_us": None if self.last_line_ms is None else self.last_line_ms * 1000,
        }


def run_plain(
    micropython: MicroPython,
    folders: Sequence[Path],
    tell: Tell = lambda line: None,
    *,
    frozen_s: float = FROZEN_S,
    longest_s: float = LONGEST_S,
) -> PlainRun:
    """Run the guests in ``folders`` together until their loop has frozen, then end the process.

    ``tell`` hears what the programs print and when the ticks stop. Raises GuesthouseError where
    the process ends by itself.
    """
    programs = [f"{find_entry((one / 'main.py').read_bytes())[0]}:{one}" for one in folders]
    command = [
        *micropython.argv,
        *("-X", "heapsize=1m"),
        *(str(RUNNER), str(_LIFETIME_S), str(assets.agent_dir()), *programs),
    ]
    with (
        tempfile.TemporaryDirectory(prefix="guesthouse-") as folder,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
        ) as process,
    ):
        try:
            return _watch(process, tell, frozen_s, longest_s)
        finally:
            process.kill()  # a loop that hangs hears nothing gentler


class _Reader:
    """Sums up the runner's lines."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.guests = self.releases = 0
        self.last_tick_ms: int | None = None
        self.last_line = ""
        self.last_line_ms: int | None = None
        self.began: float | None = None  # the host's clock at the loop's time 0
        self.ticked = 0.0  # the host's clock at the last tick
        self.other: list[str] = []
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.decode("utf-8", "replace"))

    def _line(self, line: str) -> None:
        kind, _, rest = line.partition(" ")
        ms, _, text = rest.partition(" ")
        if kind == "task":
            self.guests += 1
        elif kind == "tick" and ms.isdigit():
            self.releases += 1
            self.last_tick_ms = int(ms)
            self.ticked = time.monotonic()
            if self.began is None:
                self.began = self.ticked - int(ms) / 1000
        elif kind == "says" and ms.isdigit():
            self.last_line, self.last_line_ms = text, int(ms)
            self.tell(f"{int(ms) / 1000:7.3f} s  a program says: {text}")
        else:
            self.other.append(line)  # an exception that some task did not catch


def _watch(
    process: subprocess.Popen[bytes], tell: Tell, frozen_s: float, longest_s: float
) -> PlainRun:
    assert process.stdout is not None
    reader = _Reader(tell)
    start = time.monotonic()
    frozen = False
    while not frozen and time.monotonic() - start < longest_s:
        if select.select([process.stdout], [], [], 0.05)[0]:
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                raise GuesthouseError(
                    f"plain asyncio ended with status {process.wait()}",
                    "\n  ".join(reader.other[-8:]),
                )
            reader.feed(data)
        frozen = reader.began is not None and time.monotonic() - reader.ticked > frozen_s
    now = time.monotonic()
    return PlainRun(
        reader.guests,
        reader.releases,
        round((now - (reader.began or start)) * 1000),
        reader.last_tick_ms,
        reader.last_line,
        reader.last_line_ms,
        frozen,
    )
