"""One file with firmware, agent and guests, for boards that take it by drag and drop."""

from __future__ import annotations

import contextlib
import os
import string
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guesthouse.board import uf2
from guesthouse.board.firmware import Firmware
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.guests.image import Image
from guesthouse.install.filesystem import BLOCK, filesystem_image, find_place
from guesthouse.install.guests import files_of
from guesthouse.install.package import build_package
from guesthouse.install.target import target_of_family

INFO = "INFO_UF2.TXT"

# "Board-ID" of a boot loader, by the family that it takes.
_BOARDS = {
    "RPI-RP2": (uf2.RP2040,),
    "RP2350": (uf2.RP2350_ARM_S, uf2.RP2350_RISCV, uf2.RP2350_ARM_NS),
}
_CHUNK = 64 * 1024
_GONE_S = 20.0  # the boot loader restarts the board when it has all blocks


def make_uf2(firmware: Firmware, images: Sequence[Image] = ()) -> bytes:
    """A UF2 with ``firmware``, and a file system with the agent and ``images``.

    Raises GuesthouseError where the firmware cannot have an agent, or has no room for all of it.
    """
    target = target_of_family(firmware.family)
    if target is None:
        raise GuesthouseError(
            f"there is no agent for firmware for the {uf2.FAMILIES[firmware.family]}",
            "firmware for an RP2040 or RP2350 is known",
            ExitCode.USAGE,
        )
    place = find_place(firmware)
    image = firmware.image()
    files = [*build_package(target).everything(), *files_of(images)]
    system = filesystem_image(files, place.size)
    segments = [
        uf2.Segment(uf2.FLASH_BASE + place.begin + begin, system[begin : begin + BLOCK])
        for begin in range(0, place.size, BLOCK)
        if system[begin : begin + BLOCK].strip(b"\xff")
    ]
    # Without the files of an image that has some already.
    programs = [one for one in image.segments if one.address < uf2.FLASH_BASE + place.begin]
    packed = uf2.pack([*programs, *segments], firmware.family)
    return uf2.preamble(firmware.path.read_bytes()) + packed


@dataclass(frozen=True, slots=True)
class Drive:
    """A board in BOOTSEL mode: its drive, and the UF2 families that it takes."""

    path: Path
    board: str
    families: tuple[int, ...]


def find_drives(folders: Iterable[Path] | None = None) -> list[Drive]:
    """The boards in BOOTSEL mode whose drives are mounted; looks at ``folders`` if named."""
    found = []
    for folder in _mounted() if folders is None else folders:
        with contextlib.suppress(OSError):
            drive = _read_drive(folder)
            if drive is not None:
                found.append(drive)
    return found


def choose_drive(drives: Sequence[Drive]) -> Drive:
    """The only one. GuesthouseError that says what to do where there is none, or several."""
    if not drives:
        raise GuesthouseError(
            "no board in BOOTSEL mode is here",
            "unplug the board, hold its BOOTSEL button while you plug it in again, and mount the "
            "drive that appears if the system does not do so itself",
            ExitCode.NO_BOARD,
        )
    if len(drives) > 1:
        raise GuesthouseError(
            f"{len(drives)} boards in BOOTSEL mode are here",
            "choose with --drive: " + ", ".join(f"{one.path} ({one.board})" for one in drives),
            ExitCode.USAGE,
        )
    return drives[0]


def copy_to(drive: Drive, content: bytes, family: int) -> bool:
    """Copy a UF2 to ``drive`` and wait until it is written; whether the board has restarted.

    Raises GuesthouseError where the board takes other files, or goes away too early.
    """
    if family not in drive.families:
        raise GuesthouseError(
            f"{drive.path} is a {drive.board}, and the firmware is for the {uf2.FAMILIES[family]}",
            "name the firmware of this board with --firmware",
            ExitCode.USAGE,
        )
    written = 0
    try:
        with (drive.path / "guesthouse.uf2").open("wb", buffering=0) as file:
            while written < len(content):
                written += file.write(content[written : written + _CHUNK])
            # The board restarts at the last block: that the drive is gone then is how it ends.
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())
    except OSError as error:
        if written < len(content):
            raise GuesthouseError(
                f"{drive.path} took {written} of {len(content)} bytes: {error.strerror}",
                "bring the board into BOOTSEL mode again, and run it again",
            ) from error
    end = time.monotonic() + _GONE_S
    while (drive.path / INFO).exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _read_drive(folder: Path) -> Drive | None:
    file = folder / INFO
    if not file.is_file():
        return None
    for line in file.read_text(encoding="ascii", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Board-ID" and value.strip() in _BOARDS:
            return Drive(folder, value.strip(), _BOARDS[value.strip()])
    return None


def _mounted() -> list[Path]:
    if sys.platform == "win32":
        return [Path(f"{letter}:\\") for letter in string.ascii_uppercase]
    if sys.platform == "darwin":
        return sorted(Path("/Volumes").glob("*"))
    mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    # The system writes blanks in names as \040.
    return [
        Path(fields[1].replace("\\040", " "))
        for fields in map(str.split, mounts)
        if len(fields) > 2 and fields[2] in ("vfat", "msdos")
    ]
