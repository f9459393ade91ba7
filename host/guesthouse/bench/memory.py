"""Whether memory quotas hold, in figures: what guests are charged, how far they get beyond their
limit, and what is lost over many kills.

- accuracy: what the board says that a guest holds after a collection, beside the same program alone
  on a fresh boot of the same MicroPython, by ``gc.mem_alloc()``; that side knows nothing of the
  house. Both run the program twice and the second run counts: MicroPython keeps for ever the names
  that it meets for the first time.
- overshoot: guests that take more than their ``memory.max``, and what they held when they were
  ended.
- leak: what the whole heap has lost after many kills of one guest.
"""

from __future__ import annotations

import ast
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guesthouse.bench.other_side import run_other_side
from guesthouse.board.micropython import MicroPython, Progress
from guesthouse.core import wire
from guesthouse.core.errors import GuesthouseError
from guesthouse.guests.image import Image, build_image
from guesthouse.guests.manifest import normalize
from guesthouse.link.client import Client
from guesthouse.link.deploy import deploy

PROGRAMS = Path(__file__).resolve().parent / "programs"
OTHER_SIDE = PROGRAMS / "solo.py"
STEPS = 100
MAX_BYTES = 32 * 1024
KILLS = 300
ALLOWED_BYTES = 64
"""How far accuracy may be off. The collector takes every word on the stack that looks like a
pointer for one, so on either side it may keep an object that nothing refers to any more."""

_WARM_UP = 5  # kills before the first look: the first fill what is made once
_PATIENCE_S = 20.0  # for a guest to do its steps, or to be ended
_LINE = re.compile(r"holds ([0-9]+)")

Solo = Callable[[str, int], int]
"""Bytes that a source holds alone, given the length of its path on the board."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What the board says that a pattern holds, and what it holds alone, in bytes."""

    pattern: str
    live_bytes: int
    solo_bytes: int

    @property
    def error_bytes(self) -> int:
        """Positive where the board says too much."""
        return self.live_bytes - self.solo_bytes


@dataclass(frozen=True, slots=True)
class Overshoot:
    """``peak_bytes`` is what it held, garbage apart, when the agent took notice; ``ended_by`` is
    the reason, ``none`` where it was let run to its own end."""

    pattern: str
    max_bytes: int
    peak_bytes: int
    ended_by: str


@dataclass(frozen=True, slots=True)
class Leak:
    """What the heap has lost over so many kills, in bytes."""

    kills: int
    bytes_lost: int


@dataclass(frozen=True, slots=True)
class Memory:
    """All that was found."""

    board: str
    firmware: str
    exact: bool
    accuracy: tuple[Accuracy, ...]
    overshoot: tuple[Overshoot, ...]
    leak: Leak

    def to_json_dict(self) -> dict[str, Any]:
        """The object of ``bench memory --json`` (see docs, "JSON")."""
        return {
            "board": self.board,
            "firmware": self.firmware,
            "mem_exact": self.exact,
            "accuracy": [
                {
                    "pattern": one.pattern,
                    "live_bytes": one.live_bytes,
                    "solo_bytes": one.solo_bytes,
                    "error_bytes": one.error_bytes,
                }
                for one in self.accuracy
            ],
            "overshoot": [
                {
                    "pattern": one.pattern,
                    "max_bytes": one.max_bytes,
                    "peak_bytes": one.peak_bytes,
                    "ended_by": one.ended_by,
                }
                for one in self.overshoot
            ],
            "leak": {"kills": self.leak.kills, "bytes_lost": self.leak.bytes_lost},
        }


def _names(program: str) -> tuple[str, ...]:
    parsed = ast.parse((PROGRAMS / program).read_text(encoding="utf-8"))
    functions = [one.name for one in parsed.body if isinstance(one, ast.AsyncFunctionDef)]
    return tuple(name for name in functions if name != "main")


PATTERNS = _names("patterns.py")
HOARDERS = _names("hoarders.py")


def source(program: str, pattern: str, steps: int = STEPS) -> str:
    """One of a program's patterns with what is around them: the text of a guest's main.py."""
    text = (PROGRAMS / program).read_text(encoding="utf-8")
    lines = text.splitlines()
    kept: list[str] = []
    for one in ast.parse(text).body:
        if isinstance(one, ast.AsyncFunctionDef) and one.name not in (pattern, "main"):
            continue
        kept += lines[one.lineno - 1 : one.end_lineno]
    joined = "\n".join(kept) + "\n"
    joined = re.sub(r"^STEPS = .*$", f"STEPS = {steps}", joined, flags=re.MULTILINE)
    return re.sub(r"^PATTERN = .*$", f"PATTERN = {pattern}", joined, flags=re.MULTILINE)


def pattern_image(pattern: str, steps: int = STEPS) -> Image:
    """A pattern as a guest without a limit."""
    return _image(pattern, source("patterns.py", pattern, steps), {})


def hoarder_image(pattern: str, max_bytes: int = MAX_BYTES) -> Image:
    """A hoarder as a guest with a limit."""
    return _image(pattern, source("hoarders.py", pattern), {"max": max_bytes})


def _image(pattern: str, text: str, memory: dict[str, int]) -> Image:
    manifest = normalize(
        {
            "name": _name(pattern),
            "autostart": False,
            "cpu": {"slice_max": "50ms", "load_max": "2s"},
            "memory": memory,
            "restart": {"policy": "never"},
        },
        "bench",
    )
    return build_image(manifest, {"main.py": text.encode()})


def _name(pattern: str) -> str:
    return pattern.replace("_", "-")[: wire.NAME_SIZE]


def measure(
    client: Client,
    micropython: MicroPython,
    *,
    steps: int = STEPS,
    kills: int = KILLS,
    progress: Progress = lambda text: None,
) -> Memory:
    """All of it on the board of ``client``, which runs on ``micropython`` and has no guests.

    The client must have greeted the board and seen a summary.
    """

    def solo(text: str, length: int) -> int:
        return _alone(micropython, text, length)

    found = []
    for pattern in PATTERNS:
        progress(f"what {pattern} holds")
        deploy(client, pattern_image(pattern, steps), start=False)
        found.append(accuracy(client, pattern, steps, solo))
        client.command(wire.VERB_REMOVE, {"g": _name(pattern)})
    beyond = []
    for pattern in HOARDERS:
        progress(f"{pattern} against its limit")
        deploy(client, hoarder_image(pattern), start=False)
        beyond.append(overshoot(client, pattern))
        client.command(wire.VERB_REMOVE, {"g": _name(pattern)})
    progress(f"{kills} kills")
    deploy(client, hoarder_image("buffers"), start=False)
    lost = leak(client, "buffers", kills)
    client.command(wire.VERB_REMOVE, {"g": "buffers"})
    return report(client, found, beyond, lost)


def report(
    client: Client, found: Iterable[Accuracy], beyond: Iterable[Overshoot], lost: Leak
) -> Memory:
    """What was found on the board of ``client``."""
    model = client.model
    exact = model.mechanisms.get("frame-table") == "ok"
    return Memory(model.board, model.firmware, exact, tuple(found), tuple(beyond), lost)


def accuracy(client: Client, pattern: str, steps: int, solo: Solo) -> Accuracy:
    """A pattern that is on the board, stopped."""
    name = f"{_name(pattern)}.0"
    for verb in (wire.VERB_START, wire.VERB_RESTART):
        _tell(client, name, verb)
    # Its line was on its way before the end of its slice.
    _until(client, name, lambda: client.instance(name).state == "waiting")
    answer = client.command(wire.VERB_INSPECT, {"g": name, "collect": True})
    length = int(_held(client, name)[-1])
    return Accuracy(pattern, answer["live"], solo(source("patterns.py", pattern, steps), length))


def _tell(client: Client, name: str, verb: int) -> None:
    """Start it, or start it again, and wait until it holds what it will hold."""
    seen = len(_held(client, name))
    client.command(verb, {"g": name})
    _until(client, name, lambda: len(_held(client, name)) > seen)


def overshoot(client: Client, pattern: str, max_bytes: int = MAX_BYTES) -> Overshoot:
    """A hoarder that is on the board, stopped."""
    name = f"{_name(pattern)}.0"
    reason, numbers = _run_to_its_end(client, name)
    # Of these two the record says what was held.
    held = numbers[0] if reason in ("oom", "heap-full") else 0
    return Overshoot(pattern, max_bytes, held, "none" if reason == "returned" else reason)


def leak(client: Client, pattern: str, kills: int) -> Leak:
    """A hoarder that is on the board, stopped; killed again and again."""
    name = f"{_name(pattern)}.0"
    before = 0
    for number in range(_WARM_UP + kills):
        if number == _WARM_UP:
            before = _used(client, name)
        _run_to_its_end(client, name)
    return Leak(kills, _used(client, name) - before)


def _used(client: Client, name: str) -> int:
    used = client.command(wire.VERB_INSPECT, {"g": name, "collect": True})["used"]
    assert isinstance(used, int)
    return used


def _run_to_its_end(client: Client, name: str) -> tuple[str, tuple[int, ...]]:
    ended: list[tuple[str, tuple[int, ...]]] = []
    seen = len(client.model.events)
    last = client.model.events[-1] if client.model.events else None

    def over() -> bool:
        # The list is bounded: what is new stands behind the last one that was seen.
        events = client.model.events
        start = seen if len(events) >= seen and (not seen or events[seen - 1] is last) else 0
        for event in events[start:]:
            if event.name == name and event.new in ("killed", "failed", "exited"):
                ended[:] = [(event.reason, event.numbers)]
        return bool(ended)

    client.command(wire.VERB_START, {"g": name})
    _until(client, name, over)
    return ended[0]


def _held(client: Client, name: str) -> list[str]:
    found = [_LINE.fullmatch(one.text) for one in client.model.logs if one.name == name]
    return [one[1] for one in found if one]


def _until(client: Client, name: str, done: Callable[[], bool]) -> None:
    """Raises GuesthouseError where the guest has ended and that was not what was waited for."""
    end = time.monotonic() + _PATIENCE_S * client.patience
    while not done():
        client.poll(0.02)
        if time.monotonic() > end:
            guest = client.instance(name)
            raise GuesthouseError(
                f"the measured guest {name} does not come to its end ({guest.state}, "
                f"{guest.last_fault or 'no fault'})"
            )


def _alone(micropython: MicroPython, text: str, length: int) -> int:
    with tempfile.TemporaryDirectory(prefix="guesthouse-") as folder:
        path = Path(folder) / "main.py"
        path.write_text(text, encoding="utf-8")
        words = [str(OTHER_SIDE), str(path), str(length)]
        return run_other_side(micropython, words, int, heap="4m")
