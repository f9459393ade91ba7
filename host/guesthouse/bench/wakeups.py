"""How late a control loop with a reservation wakes: alone, beside hogs, and under plain asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guesthouse.bench.measuring import guest, program
from guesthouse.bench.parts import endless, wait_s
from guesthouse.bench.stage import Part, Stage
from guesthouse.core.errors import GuesthouseError
from guesthouse.guests.image import Image
from guesthouse.link.client import Client

BLOCK_US = 50_000  # what the hog takes at a time under plain asyncio
LOOP = "loop10"
BLOCKER = "blocker"
HOGS = ("hog0", "hog1", "hog2")
_PATIENCE_S = 30.0  # of a real board, beside the time of the releases
_FIELDS = ("releases", "missed", "p50_us", "p99_us", "max_us")


@dataclass(frozen=True, slots=True)
class Wakeup:
    """A control loop in one setup; us from each release to the begin of its job.

    ``missed`` were not complete by the next release.
    """

    setup: str
    releases: int
    missed: int
    p50_us: int
    p99_us: int
    max_us: int

    def to_json_dict(self) -> dict[str, Any]:
        """A row of ``wakeups`` (see docs, "JSON")."""
        return {"setup": self.setup, **{name: getattr(self, name) for name in _FIELDS}}


@dataclass(frozen=True, slots=True)
class Loop:
    """The measured loop: its period, its job and its reservation, in us."""

    period_us: int
    work_us: int
    least: tuple[int, int]  # us, period in us
    slice_max_us: int

    def source(self, releases: int) -> str:
        """The same text for the house and for plain asyncio."""
        return program(
            "control_loop", PERIOD_US=self.period_us, WORK_US=self.work_us, RELEASES=releases
        )


def images(loop: Loop, releases: int, memory: int, slice_max: int) -> list[Image]:
    """The loop, and the hog of the plain side, which the house has to stop again and again."""
    return [
        guest(LOOP, loop.source(releases), memory=memory, slice_max=loop.slice_max_us),
        guest(
            BLOCKER,
            program("hog", WORK_US=BLOCK_US),
            memory=memory,
            slice_max=slice_max,
            restart={"policy": "always", "backoff": "1s..1s"},
        ),
    ]


def measure(
    client: Client,
    stage: Stage,
    setup: str,
    loop: Loop,
    releases: int,
    left_s: Callable[[], float] = endless,
) -> Wakeup:
    """The loop on the board, alone or (``setup`` "hogs") beside hogs that fill it, and the blocker.

    The guests are stopped, and are stopped afterwards. Raises GuesthouseError where the
    loop does not come to its end, or no time is left.
    """
    parts = [Part(LOOP, least=loop.least, weight=1)]
    if setup == "hogs":
        parts += [Part(name, weight=10_000) for name in (*HOGS, BLOCKER)]
    guest_model = client.instance(LOOP)
    guest_model.metrics.clear()
    try:
        stage.play(parts[::-1])  # the hogs are there when it begins
        seconds = releases * loop.period_us / 1e6
        most_s = (2 * seconds + _PATIENCE_S) * client.patience
        end = time.monotonic() + wait_s(left_s, most_s, "the control loop ended")
        while not all(name in guest_model.metrics for name in _FIELDS):
            if time.monotonic() > end:
                raise GuesthouseError(
                    f"the control loop did not end ({setup}): {guest_model.last_fault}"
                )
            client.poll(0.1)
        return _found(setup, guest_model.metrics)
    finally:
        stage.stop()


def how(loop: Loop, slice_max: int) -> str:
    """How it is measured, in a sentence."""
    least_us, period_us = loop.least
    return (
        f"Wake-ups: a loop of {loop.period_us // 1000} ms with min = "
        f'"{least_us // 1000}ms/{period_us // 1000}ms"; hogs: {len(HOGS)} that fill the board and '
        f"one that takes {BLOCK_US // 1000} ms at a time and is killed after {slice_max // 1000}; "
        "asyncio-hogs: the same loop beside that one in plain asyncio."
    )


def plain_source(loop: Loop, releases: int) -> str:
    """The loop beside the hog in one plain asyncio loop; prints what was found."""
    hog = program("hog", WORK_US=BLOCK_US)
    return (
        f"{loop.source(releases)}\n\n"
        "async def both():\n"
        "    await tell(*await measure())\n\n"
        "hog = {}\n"
        f"exec({hog!r}, hog)\n"
        "asyncio.create_task(hog['main']())\n"
        "asyncio.run(both())\n"
    )


def plain(printed: str) -> Wakeup:
    """What the program of ``plain_source`` has printed."""
    words = [line.split() for line in printed.splitlines()]
    found = {pair[0]: int(pair[1]) for pair in words if len(pair) == 2}
    return _found("asyncio-hogs", found)


def _found(setup: str, figures: Mapping[str, int]) -> Wakeup:
    return Wakeup(setup, **{name: figures[name] for name in _FIELDS})
