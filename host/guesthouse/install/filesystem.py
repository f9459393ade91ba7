"""A board's file system as an image, and an image of its flash with the firmware beside it."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from guesthouse.board import uf2
from guesthouse.board.firmware import Firmware
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.install.package import BoardFile

if TYPE_CHECKING:
    from littlefs import LittleFS

# What MicroPython's rp2 port mounts its flash with (ports/rp2/modules/_boot.py, extmod/vfs_lfs.c).
BLOCK = 4096  # bytes that are erased at once
_PROGRAM = 256
_READ = 32
_LOOKAHEAD = 32

# "Binary information" that the Pico's SDK puts into every program, and picotool reads. MicroPython
# names there the block device of its files. From the SDK's binary_info/structure.h.
_MARK = 0x7188EBF2
_MARK_END = 0xE71AA390
_HEADER = struct.Struct("<5I")  # mark, first and end of the entries' addresses, a table, mark
_SEARCHED = 1280  # bytes in which the header is: the boot loader's page and 256 words
_ENTRY = struct.Struct("<2H")  # type, tag
_BLOCK_DEVICE = 7
_MICROPYTHON = 0x504D
_DEVICE = struct.Struct("<3I")  # name, address, size


@dataclass(frozen=True, slots=True)
class Place:
    """Where a firmware keeps its files: bytes from the begin of the flash, and how many."""

    begin: int
    size: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.begin + self.size


def find_place(firmware: Firmware) -> Place:
    """Where ``firmware`` says that its file system is. Raises GuesthouseError where it does not."""
    data = firmware.image().segments[0].data  # the file system of an image of ours is behind it
    found = _place(data)
    if found is None or not 0 < len(data) <= found.begin:
        raise GuesthouseError(
            f"{firmware.path} does not say where its file system is",
            "use an official MicroPython, or flash the board itself: guesthouse flash -p PORT",
            ExitCode.USAGE,
        )
    return found


_BASE = uf2.FLASH_BASE


def _place(data: bytes) -> Place | None:
    """Where the firmware at the begin of ``data`` says that its file system is."""
    at = data.find(struct.pack("<I", _MARK), 0, _SEARCHED)
    found = None
    if at >= 0:
        with contextlib.suppress(struct.error):
            found = _block_device(data, at)
    return found if found is not None and found.size and not found.size % BLOCK else None


def _block_device(data: bytes, at: int) -> Place | None:
    _, first, end, _, mark = _HEADER.unpack_from(data, at)
    if mark != _MARK_END:
        return None
    for address in range(first, end, 4):
        (entry,) = struct.unpack_from("<I", data, address - _BASE)
        if _ENTRY.unpack_from(data, entry - _BASE) == (_BLOCK_DEVICE, _MICROPYTHON):
            _, begin, size = _DEVICE.unpack_from(data, entry - _BASE + _ENTRY.size)
            return Place(begin - _BASE, size)
    return None


def filesystem_image(files: Iterable[BoardFile], size: int) -> bytes:
    """A file system of ``size`` bytes with ``files`` in it. Raises GuesthouseError (full)."""
    from littlefs.errors import LittleFSError

    system = _little_fs(size, mount=True)
    files = list(files)
    try:
        for file in files:
            folder = str(PurePosixPath(file.path).parent)
            if folder != ".":
                system.makedirs(folder, exist_ok=True)
            with system.open(file.path, "wb") as stream:
                stream.write(file.data)
    except (LittleFSError, OSError) as error:
        raise GuesthouseError(
            f"{sum(len(file.data) for file in files)} bytes in {len(files)} files do not fit a "
            f"file system of {size} ({error})",
            "leave guests out",
            ExitCode.REFUSED,
        ) from error
    return bytes(system.context.buffer)


def flash_image(firmware: Firmware, files: Iterable[BoardFile], flash_size: int) -> bytes:
    """A board's whole flash: ``firmware``, and its file system with ``files``."""
    place = find_place(firmware)
    if place.end > flash_size:
        raise GuesthouseError(
            f"{firmware.path} is for a board with {place.end} bytes of flash, not {flash_size}"
        )
    flash = firmware.image().flash(flash_size)
    flash[place.begin : place.end] = filesystem_image(files, place.size)
    return bytes(flash)


def read_file(flash: bytes, path: str) -> bytes | None:
    """A file in the image of a board's whole flash; None where there is none that can be read."""
    from littlefs.errors import LittleFSError

    place = _place(flash)
    if place is None or place.end > len(flash):
        return None
    system = _little_fs(place.size, mount=False)
    system.context.buffer[:] = flash[place.begin : place.end]
    try:
        system.mount()
        with system.open(path, "rb") as stream:
            return bytes(stream.read())
    except (LittleFSError, OSError):
        return None


def _little_fs(size: int, *, mount: bool) -> LittleFS:
    from littlefs import LittleFS

    return LittleFS(
        block_size=BLOCK,
        block_count=size // BLOCK,
        prog_size=_PROGRAM,
        read_size=_READ,
        lookahead_size=_LOOKAHEAD,
        mount=mount,
    )
