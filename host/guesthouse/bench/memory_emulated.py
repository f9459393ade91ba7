"""``bench memory`` on emulated Picos of the bench's own, whose guests are in their flash at boot.

The other side runs on a board without the agent, one soft reset for each program. The emulator runs
busy code some twelve times slower than a Pico, so guests do fewer steps and are killed less.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from guesthouse.bench.memory import (
    OTHER_SIDE,
    PATTERNS,
    Memory,
    accuracy,
    hoarder_image,
    leak,
    overshoot,
    pattern_image,
    report,
)
from guesthouse.board import picosim
from guesthouse.board.firmware import Firmware
from guesthouse.board.micropython import Progress
from guesthouse.guests.image import Image
from guesthouse.install.filesystem import flash_image
from guesthouse.install.guests import files_of
from guesthouse.install.package import Package, build_package
from guesthouse.install.repl import Repl
from guesthouse.install.target import target_of_family
from guesthouse.link.client import Client
from guesthouse.link.ports import PICO_SIM, PortSpec, resolve
from guesthouse.link.serial import open_serial

STEPS = 30
KILLS = 20
MAX_BYTES = 8 * 1024
_AT_ONCE = 7  # guests on one board: each takes memory and time at boot, also while it is stopped
# What is more than a board has left is ended by the heap's end, not by the limit.
HOARDERS = ("small_objects", "dict_entries", "buffers", "doubling_string", "one_slice", "garbage")
# Of a real board's time, and multiplied by the port's patience.
_BOOT_S = 60.0
_SOLO_S = 30.0
_SUMMARY_S = 30.0


def measure(
    firmware: Firmware, progress: Progress, patterns: Sequence[str] = PATTERNS, kills: int = KILLS
) -> Memory:
    """All of it on boards with ``firmware``."""
    target = target_of_family(firmware.family)
    assert target is not None  # the emulator has refused other firmware
    package = build_package(target)

    def solo(text: str, length: int) -> int:
        call = OTHER_SIDE.read_text(encoding="utf-8") + f"\nalone({text!r}, {length})\n"
        with picosim.private_board(firmware=firmware) as board, Repl(_port(board)) as repl:
            return int(repl.run(call, _SOLO_S))

    found = []
    for at in range(0, len(patterns), _AT_ONCE):
        some = patterns[at : at + _AT_ONCE]
        progress(f"a board boots with {', '.join(some)}")
        with _board(firmware, package, [pattern_image(one, STEPS) for one in some]) as client:
            for pattern in some:
                found.append(accuracy(client, pattern, STEPS, solo))
                progress(f"{pattern}: error {found[-1].error_bytes} bytes")
    progress(f"a board boots with {', '.join(HOARDERS)}")
    with _board(
        firmware, package, [hoarder_image(pattern, MAX_BYTES) for pattern in HOARDERS]
    ) as client:
        beyond = []
        for pattern in HOARDERS:
            beyond.append(overshoot(client, pattern, MAX_BYTES))
            progress(f"{pattern}: {beyond[-1].peak_bytes} of {MAX_BYTES} bytes")
        progress(f"{kills} kills")
        lost = leak(client, "buffers", kills)
        return report(client, found, beyond, lost)


@contextlib.contextmanager
def _board(firmware: Firmware, package: Package, images: list[Image]) -> Iterator[Client]:
    """A board that has booted with these guests, none of them started."""
    flash = flash_image(firmware, [*package.everything(), *files_of(images)], picosim.FLASH_SIZE)
    with (
        picosim.private_board(firmware=firmware, flash=flash) as board,
        Client(open_serial(_port(board))) as client,
    ):
        client.wait_for_agent(_BOOT_S)
        client.hello()
        client.wait_for_summary(timeout=_SUMMARY_S)
        yield client


def _port(board: picosim.SimBoard) -> PortSpec:
    return replace(resolve(PICO_SIM, sims=()), url=board.path)
