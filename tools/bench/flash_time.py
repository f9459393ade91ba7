"""How long the agent takes to get to an emulated Pico: guesthouse flash beside mpremote fs cp.

    python tools/bench/flash_time.py

Each side begins with a blank board and the same compiled files. `board` is the time that passed on
the emulated Pico, which repeats; `here` is this machine's, which emulates busy code many times
slower than a Pico runs it. The last line is guesthouse flash once more, with one file changed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "host")]

from guesthouse.board import picosim  # noqa: E402
from guesthouse.board.firmware import find_or_build_firmware  # noqa: E402
from guesthouse.install.board import ReplBoard  # noqa: E402
from guesthouse.install.flash import flash_board  # noqa: E402
from guesthouse.install.package import BoardFile, Package, build_package  # noqa: E402
from guesthouse.install.repl import Repl  # noqa: E402
from guesthouse.install.target import target_of_family  # noqa: E402
from guesthouse.link.ports import PortSpec  # noqa: E402
from tests.support.pico import run  # noqa: E402

CHANGED = "lib/house/kernel.mpy"


def flash(path: str, package: Package) -> None:
    with Repl(PortSpec(path, "pico-sim", "pico-sim", 10.0)) as repl:
        flash_board(ReplBoard(repl), lambda *_: None, lambda _: package)


def copy(path: str, package: Package) -> None:
    """What one would type without guesthouse; no file is checked."""
    with tempfile.TemporaryDirectory() as folder:
        for file in package.everything():
            place = Path(folder, file.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.data)
        mpremote = Path(sys.executable).with_name("mpremote")
        subprocess.run(
            [mpremote, "connect", path, "fs", "cp", "-r", "lib", "main.py", ":"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )


def measure(name: str, path: str, work: Callable[[], None]) -> None:
    ask = "import time; print(time.ticks_ms())"
    before, began = int(run(path, ask)), time.monotonic()
    work()
    here = time.monotonic() - began
    board = int(run(path, ask)) - before
    print(f"{name:<34} {board / 1000:6.1f} s board {here:7.1f} s here", flush=True)


def main() -> None:
    firmware = find_or_build_firmware(print)
    target = target_of_family(firmware.family)
    assert target is not None
    package = build_package(target)
    print(f"{len(package.files)} files, {package.size} bytes, MicroPython {firmware.version}")
    with picosim.private_board(firmware=firmware) as board:
        measure("mpremote fs cp -r", board.path, lambda: copy(board.path, package))
    changed = tuple(
        BoardFile(file.path, file.data + b"\0") if file.path == CHANGED else file
        for file in package.files
    )
    other = Package(package.version, package.target, changed)
    with picosim.private_board(firmware=firmware) as board:
        measure("guesthouse flash", board.path, lambda: flash(board.path, package))
        measure("guesthouse flash, nothing changed", board.path, lambda: flash(board.path, package))
        measure("guesthouse flash, one file changed", board.path, lambda: flash(board.path, other))


if __name__ == "__main__":
    main()
