"""How long an emulated Pico takes from power on to the first telemetry, in the board's time.

    python tools/bench/boot_time.py

`firmware` is MicroPython's own part, up to the first line of Python; `agent` is what follows: every
file of the agent checked, loaded, the mechanisms tested, the first batch given to the line. With
four guests their images are read as well, and the guests start.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "host")]

from guesthouse.board import picosim  # noqa: E402
from guesthouse.board.firmware import Firmware, find_or_build_firmware  # noqa: E402
from guesthouse.cli.flashing import FIRST_START_S  # noqa: E402
from guesthouse.demo.folders import FOLDER  # noqa: E402
from guesthouse.guests.image import load_image  # noqa: E402
from guesthouse.install.filesystem import flash_image  # noqa: E402
from guesthouse.install.guests import files_of  # noqa: E402
from guesthouse.install.package import BoardFile, build_package  # noqa: E402
from guesthouse.install.target import target_of_family  # noqa: E402
from guesthouse.link.client import Client  # noqa: E402
from guesthouse.link.ports import PICO_SIM, PortSpec  # noqa: E402
from guesthouse.link.serial import open_serial  # noqa: E402
from tests.support.pico import run  # noqa: E402

GUESTS = ("sampler", "logger", "blinker", "pipeline")
# Runs before main.py, in the namespace that the REPL has afterwards.
BOOT = """\
import time
began = time.ticks_ms()
first = None
from house import telemetry
_seal = telemetry.Telemetry._seal
def seal(self, kind, n):
    global first
    first = time.ticks_ms()
    telemetry.Telemetry._seal = _seal
    _seal(self, kind, n)
telemetry.Telemetry._seal = seal
"""


def boot(firmware: Firmware, guests: tuple[str, ...]) -> tuple[int, int]:
    """(ms of the firmware, ms of the agent)."""
    target = target_of_family(firmware.family)
    assert target is not None
    files = [
        *build_package(target).everything(),
        *files_of(load_image(FOLDER / name) for name in guests),
        BoardFile("boot.py", BOOT.encode()),
    ]
    flash = flash_image(firmware, files, picosim.FLASH_SIZE)
    with picosim.private_board(firmware=firmware, flash=flash) as board:
        with Client(open_serial(PortSpec(board.path, PICO_SIM, PICO_SIM, 10.0))) as client:
            client.wait_for_agent(FIRST_START_S)
        began, first = map(int, run(board.path, "print(began, first)").split())
    return began, first - began


def main() -> None:
    firmware = find_or_build_firmware(print)
    print(f"MicroPython {firmware.version}; ms of the board's time")
    print(f"{'guests':>8}{'firmware':>10}{'agent':>8}{'in all':>8}")
    for guests in ((), GUESTS):
        began, took = boot(firmware, guests)
        print(f"{len(guests):8}{began:10}{took:8}{began + took:8}", flush=True)


if __name__ == "__main__":
    main()
