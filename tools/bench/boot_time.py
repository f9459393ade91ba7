"""How long an emulated Pico takes from power on to the first telemetry at its host, in its time.

    python tools/bench/boot_time.py

Every file of the agent is checked and loaded, the mechanisms are tested, and the agent's code is
brought to flash: the first boot writes it, later ones find it there. With four guests their images
are read as well. `writes` are pages and erased sectors of the flash.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "host")]

from guesthouse.board.emulator import FLASH_SIZE  # noqa: E402
from guesthouse.board.firmware import Firmware, find_or_build_firmware  # noqa: E402
from guesthouse.core import wire  # noqa: E402
from guesthouse.demo.folders import FOLDER  # noqa: E402
from guesthouse.guests.image import load_image  # noqa: E402
from guesthouse.install.filesystem import flash_image  # noqa: E402
from guesthouse.install.guests import files_of  # noqa: E402
from tests.support.emulated import EmulatedPico  # noqa: E402
from tests.support.flashes import agent_files  # noqa: E402

GUESTS = ("sampler", "logger", "blinker", "pipeline")
BOOTS = ("first", "second")


def boot(file: Path) -> tuple[float, int]:
    """(seconds of the board's, writes to its flash), with the port open from the beginning."""
    board = EmulatedPico(file)
    try:
        board.attach(True)
        board.take_until(wire.MAGIC)
        return board.seconds, board.writes
    finally:
        board.close()


def install(firmware: Firmware, file: Path, guests: tuple[str, ...]) -> None:
    images = files_of(load_image(FOLDER / name) for name in guests)
    file.write_bytes(flash_image(firmware, [*agent_files(firmware), *images], FLASH_SIZE))


def main() -> None:
    firmware = find_or_build_firmware(print)
    print(f"MicroPython {firmware.version}; ms of the board's time")
    print(f"{'guests':>8}{'boot':>8}{'ms':>8}{'writes':>8}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "flash.bin")
        for guests in ((), GUESTS):
            install(firmware, file, guests)
            for number in BOOTS:
                seconds, writes = boot(file)
                ms = round(1000 * seconds)
                print(f"{len(guests):8}{number:>8}{ms:8}{writes:8}", flush=True)


if __name__ == "__main__":
    main()
