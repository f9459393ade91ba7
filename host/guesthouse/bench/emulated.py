"""``bench dispatch`` on an emulated Pico: both sides on boards of the bench's own.

The figures are the board's: emulated time, which repeats. The emulator runs busy code some thirty
times slower than a Pico, so what is measured is short, each board begins with its guests in its
flash, and nothing is timed by this machine's clock.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

from guesthouse.bench.dispatch import (
    GUESTS,
    OTHER_SIDE,
    ByTasks,
    Dispatch,
    Progress,
    cost_of_slice,
    image,
    source,
)
from guesthouse.board import picosim
from guesthouse.board.firmware import Firmware
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.install.filesystem import flash_image
from guesthouse.install.guests import files_of
from guesthouse.install.package import Package, build_package
from guesthouse.install.repl import Repl
from guesthouse.install.target import target_of_family
from guesthouse.link.client import Client
from guesthouse.link.ports import PICO_SIM, PortSpec, resolve
from guesthouse.link.serial import open_serial
from guesthouse.measure.watch import Watch

# (guests, tasks of each). 12 guests of 50 tasks do not fit a Pico's memory.
BY_TASKS = ((4, 1), (4, 10), (4, 50), (12, 1), (12, 10))
_ROUNDS = 100  # of four switches on the other side
# Of a real board's time, and multiplied by the port's patience.
_BOOT_S = 60.0
_OTHER_S = 30.0
_SUMMARY_S = 30.0
_LIMIT_S = 400.0  # of this machine's time, for all guests to run


def measure(firmware: Firmware, seconds: float, progress: Progress) -> Dispatch:
    """Both sides on boards with ``firmware``; ``seconds`` are the board's."""
    target = target_of_family(firmware.family)
    assert target is not None  # the emulator has refused other firmware
    package = build_package(target)
    progress("plain asyncio")
    with picosim.private_board(firmware=firmware) as board, Repl(_port(board)) as repl:
        theirs = float(repl.run(_other(f"in_asyncio(0, {GUESTS}, {source(1)!r})"), _OTHER_S))
        bare = float(repl.run(_other("in_generators(0)"), _OTHER_S))
    found = None
    by_tasks = []
    for guests, tasks in BY_TASKS:
        progress(f"{guests} guests of {tasks}")
        with _board(firmware, package, guests, tasks) as client:
            us = _slice_us(client, guests, seconds)
            by_tasks.append(ByTasks(guests, tasks, us))
            found = found or Dispatch(
                client.model.board, client.model.firmware, us, theirs, bare, ()
            )
    assert found is not None
    return replace(found, by_tasks=tuple(by_tasks))


def _other(call: str) -> str:
    text = OTHER_SIDE.read_text(encoding="utf-8")
    return f"{text}\n_ROUNDS = {_ROUNDS}\n{call}\n"


@contextlib.contextmanager
def _board(firmware: Firmware, package: Package, guests: int, tasks: int) -> Iterator[Client]:
    """A board that has booted with so many guests."""
    images = [image(number, guests, tasks, autostart=True) for number in range(guests)]
    files = [*package.everything(), *files_of(images)]
    flash = flash_image(firmware, files, picosim.FLASH_SIZE)
    with (
        picosim.private_board(firmware=firmware, flash=flash) as board,
        Client(open_serial(_port(board))) as client,
    ):
        client.wait_for_agent(_BOOT_S)
        client.hello()
        yield client


def _slice_us(client: Client, guests: int, seconds: float) -> float:
    """The cost of a slice once all guests run, over ``seconds`` of the board's time."""
    end = time.monotonic() + _LIMIT_S
    while True:
        model = client.wait_for_summary(timeout=_SUMMARY_S)
        running = [one for one in model.instances.values() if one.slices and one.state != "loading"]
        if len(running) == guests:
            break
        if time.monotonic() > end:
            raise GuesthouseError(
                f"{guests - len(running)} of the measured guests did not run",
                "see what the agent says: guesthouse ps, on a board with as many guests",
                ExitCode.FAILURE,
            )
    watch = Watch(client)
    while client.model.elapsed_us - watch.began_us < seconds * 1e6:
        client.wait_for_summary(timeout=_SUMMARY_S)
    watch.run(0.0)
    return cost_of_slice(watch.account())


def _port(board: picosim.SimBoard) -> PortSpec:
    return replace(resolve(PICO_SIM, sims=()), url=board.path)
