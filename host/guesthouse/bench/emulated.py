"""``bench dispatch`` on an emulated Pico: both sides on boards of the bench's own.

The figures are the board's: emulated time, which repeats. The emulator runs busy code some twelve
times slower than a Pico, so what is measured is short, each board begins with its guests in its
flash, and nothing is timed by this machine's clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from guesthouse.bench.dispatch import (
    BY_TASKS,
    GUESTS,
    OTHER_SIDE,
    ByTasks,
    Dispatch,
    LeftOut,
    cost_of_slice,
    image,
    source,
)
from guesthouse.board import picosim
from guesthouse.board.firmware import Firmware
from guesthouse.board.micropython import Progress
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.guests.image import Image
from guesthouse.install.filesystem import flash_image
from guesthouse.install.guests import files_of
from guesthouse.install.package import Package, build_package
from guesthouse.install.repl import Repl
from guesthouse.install.target import target_of_family
from guesthouse.link.client import Client
from guesthouse.link.ports import PICO_SIM, PortSpec, resolve
from guesthouse.link.serial import open_serial
from guesthouse.measure.account import Snapshot, account

_MEMORY_KB = 200  # for the limits of all guests, which admission allows to exceed what there is
_ROUNDS = 100  # of four switches on the other side
# Of a real board's time, and multiplied by the port's patience.
_BOOT_S = 60.0
_OTHER_S = 30.0
_SUMMARY_S = 60.0
_START_S = 10.0  # of the board's own, for all guests to run


def measure(firmware: Firmware, seconds: float, progress: Progress) -> Dispatch:
    """Both sides on boards with ``firmware``; ``seconds`` are the board's."""
    target = target_of_family(firmware.family)
    assert target is not None  # the emulator has refused other firmware
    package = build_package(target)
    progress(f"plain asyncio; then {len(BY_TASKS)} boards, about two minutes each")
    with picosim.private_board(firmware=firmware) as board, Repl(port_of(board)) as repl:
        theirs = float(repl.run(_other(f"in_asyncio(0, {GUESTS}, {source(1)!r})"), _OTHER_S))
        bare = float(repl.run(_other("in_generators(0)"), _OTHER_S))
    progress(f"plain asyncio {theirs:.1f} us, a bare generator {bare:.1f} us")
    found = None
    by_tasks, left_out = [], []
    for guests, tasks in BY_TASKS:
        memory = _MEMORY_KB // guests
        images = [image(number, guests, tasks, memory, autostart=True) for number in range(guests)]
        with board_with(firmware, package, images) as client:
            try:
                us = _slice_us(client, guests, seconds)
            except _DoNotRun as error:
                if found is None:
                    raise
                progress(f"{guests} guests of {tasks}: {error.message}")
                left_out.append(LeftOut(guests, tasks, error.message))
                continue
            progress(f"{guests} guests of {tasks}: {us:.1f} us")
            by_tasks.append(ByTasks(guests, tasks, us))
            found = found or Dispatch(
                client.model.board, client.model.firmware, us, theirs, bare, ()
            )
    assert found is not None
    return replace(found, by_tasks=tuple(by_tasks), left_out=tuple(left_out))


class _DoNotRun(GuesthouseError):
    """Some of the measured guests have ended, or have never run."""


def _other(call: str) -> str:
    text = OTHER_SIDE.read_text(encoding="utf-8")
    return f"{text}\n_ROUNDS = {_ROUNDS}\n{call}\n"


@contextlib.contextmanager
def board_with(
    firmware: Firmware, package: Package, images: Sequence[Image]
) -> Iterator[Client]:
    """A board that has booted with these guests in its flash; greeted, with a summary."""
    files = [*package.everything(), *files_of(images)]
    flash = flash_image(firmware, files, picosim.FLASH_SIZE)
    with (
        picosim.private_board(firmware=firmware, flash=flash) as board,
        Client(open_serial(port_of(board))) as client,
    ):
        client.wait_for_agent(_BOOT_S)
        client.hello()
        client.wait_for_summary(timeout=_SUMMARY_S)  # this one is part of the greeting
        yield client


def _slice_us(client: Client, guests: int, seconds: float) -> float:
    """The cost of a slice once all guests run, over ``seconds`` of the board's time or more.

    From one summary that comes by itself to another: none is asked for, so what asking costs is
    not in the figure.
    """
    while True:
        model = client.wait_for_summary(timeout=_SUMMARY_S)
        instances = model.instances.values()
        ended = [one for one in instances if one.kills or one.failures]
        if ended:
            raise _DoNotRun(
                f"{len(ended)} of {guests} guests have ended ({ended[0].last_fault})",
                "their memory or a Pico's does not suffice",
                ExitCode.FAILURE,
            )
        running = [one for one in instances if one.slices and one.state != "loading"]
        if len(running) == guests:
            break
        if model.elapsed_us > _START_S * 1e6:
            raise _DoNotRun(
                f"{guests - len(running)} of {guests} guests did not run",
                "see what the agent says: guesthouse ps, on a board with as many guests",
                ExitCode.FAILURE,
            )
    before = Snapshot.of(model, 0)
    client.wait_for_summary(count=max(1, round(seconds)), timeout=_SUMMARY_S)
    return cost_of_slice(account(client.model, before, 0, {}))


def port_of(board: picosim.SimBoard) -> PortSpec:
    """The port of a board of one's own."""
    return replace(resolve(PICO_SIM, sims=()), url=board.path)
