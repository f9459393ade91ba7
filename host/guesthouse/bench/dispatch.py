"""What it costs to give one guest the CPU: the house beside plain asyncio and bare generators.

All sides run the same kind of program, tasks in ``while True: await asyncio.sleep(0)``, on the
same MicroPython:

- ours: guests on a board, with every quota on (CPU limit, slice limit and its timer, memory to
  the block) and summary telemetry. From the telemetry: the elapsed time less idle and stolen time,
  over the number of slices. So everything that the agent does counts: dispatch, billing,
  accounting of memory, summaries, the line.
- asyncio: as many tasks in one plain loop in a process of its own, CPU time over switches.
- generator: ``send(None)`` on one generator, CPU time: what the language itself takes.
"""

from __future__ import annotations

import re
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guesthouse.bench.other_side import run_other_side
from guesthouse.board.micropython import MicroPython, Progress
from guesthouse.core.errors import GuesthouseError
from guesthouse.guests.image import Image, build_image
from guesthouse.guests.manifest import normalize
from guesthouse.link.client import Client
from guesthouse.measure.account import Account
from guesthouse.measure.installed import Installed
from guesthouse.measure.watch import Watch

PROGRAMS = Path(__file__).resolve().parent / "programs"
OTHER_SIDE = PROGRAMS / "other_side.py"
GUESTS = 4  # on both sides
BY_TASKS = ((4, 1), (4, 10), (4, 50), (12, 1), (12, 10), (12, 50))  # (guests, tasks of each)


@dataclass(frozen=True, slots=True)
class ByTasks:
    """``us`` for a slice with so many guests of so many tasks each."""

    guests: int
    tasks: int
    us: float


@dataclass(frozen=True, slots=True)
class LeftOut:
    """So many guests of so many tasks each were not measured, and ``why``."""

    guests: int
    tasks: int
    why: str


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Times of one switch in us; each the median of the rounds."""

    board: str
    firmware: str
    ours_us: float
    asyncio_us: float
    generator_us: float
    by_tasks: tuple[ByTasks, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def ratio(self) -> float:
        """Ours over asyncio's."""
        return self.ours_us / self.asyncio_us

    def to_json_dict(self) -> dict[str, Any]:
        """The object of ``bench dispatch --json`` (see docs, "JSON")."""
        return {
            "board": self.board,
            "firmware": self.firmware,
            "ours_us": round(self.ours_us, 3),
            "asyncio_us": round(self.asyncio_us, 3),
            "generator_us": round(self.generator_us, 3),
            "ratio": round(self.ratio, 3),
            "by_tasks": [
                {"guests": one.guests, "tasks": one.tasks, "us": round(one.us, 3)}
                for one in self.by_tasks
            ],
            "left_out": [
                {"guests": one.guests, "tasks": one.tasks, "why": one.why} for one in self.left_out
            ],
        }


def measure(
    client: Client,
    micropython: MicroPython,
    *,
    seconds: float = 1.0,
    rounds: int = 5,
    progress: Progress = lambda text: None,
) -> Dispatch:
    """Measure all sides in turn, ``rounds`` times, ``seconds`` each; then the table by tasks.

    ``client`` is of a board without guests that runs on ``micropython``, greeted, with a summary.
    """
    ours, theirs, bare = [], [], []
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        ours.append(slice_us(client, GUESTS, 1, seconds))
        theirs.append(asyncio_us(micropython, GUESTS, seconds))
        bare.append(generator_us(micropython, seconds / 2))
    by_tasks = []
    for guests, tasks in BY_TASKS:
        progress(f"{guests} guests of {tasks}")
        by_tasks.append(ByTasks(guests, tasks, slice_us(client, guests, tasks, seconds)))
    return Dispatch(
        client.model.board,
        client.model.firmware,
        statistics.median(ours),
        statistics.median(theirs),
        statistics.median(bare),
        tuple(by_tasks),
    )


def slice_us(client: Client, guests: int, tasks: int, seconds: float) -> float:
    """The cost of a slice on the board of ``client``, all included."""
    installed = Installed(client)
    try:
        installed.install([image(number, guests, tasks) for number in range(guests)])
        installed.start()
        client.wait_for_summary()  # loading is over, all tasks are made
        watch = Watch(client)
        watch.run(seconds)
        watch.ask()
        account = watch.account()
    finally:
        installed.remove()
    return cost_of_slice(account)


def cost_of_slice(account: Account) -> float:
    """All that was neither idle nor stolen, over the slices. Raises where a guest has ended."""
    slices = sum(one.used.slices for one in account.guests)
    ended = [one for one in account.guests if one.used.kills or one.used.failures]
    if ended or not slices:
        fault = ", ".join(f"{one.guest.name}: {one.guest.last_fault}" for one in ended)
        raise GuesthouseError(f"the measured guests did not run ({fault or 'no slices'})")
    return (account.elapsed_us - account.idle_us - account.steal_us) / slices


def image(
    number: int, guests: int, tasks: int, memory: int = 64, autostart: bool = False
) -> Image:
    """The measured program as a guest that may have ``memory`` kB.

    Its limits never bind, but they are there and checked.
    """
    manifest = normalize(
        {
            "name": f"sleeper{number}",
            "autostart": autostart,
            # twice what each can get, and together what admission allows: 200 %
            "cpu": {"max": f"{min(100, 200 // guests)}%"},
            "memory": {"max": f"{memory}k"},
        },
        "bench",
    )
    return build_image(manifest, {"main.py": source(tasks).encode()})


def source(tasks: int) -> str:
    """The measured program with so many tasks; the same text for both sides."""
    text = (PROGRAMS / "sleeper.py").read_text(encoding="utf-8")
    return re.sub(r"^TASKS = .*$", f"TASKS = {tasks}", text, flags=re.MULTILINE)


def asyncio_us(micropython: MicroPython, tasks: int, seconds: float) -> float:
    """The cost of a switch in one plain asyncio loop with ``tasks`` tasks."""
    with tempfile.TemporaryDirectory(prefix="guesthouse-") as folder:
        path = Path(folder) / "main.py"
        path.write_text(source(1), encoding="utf-8")
        words = [str(OTHER_SIDE), "asyncio", str(seconds), str(tasks), str(path)]
        return run_other_side(micropython, words, float, seconds=seconds)


def generator_us(micropython: MicroPython, seconds: float) -> float:
    """The cost of a bare ``send``."""
    words = [str(OTHER_SIDE), "generator", str(seconds)]
    return run_other_side(micropython, words, float, seconds=seconds)
