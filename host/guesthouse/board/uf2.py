"""UF2, the file that a Pico takes by drag and drop: read with every block checked, and written.

A file is 512-byte blocks, each with 256 bytes for one place in flash and all it takes to check
that the file is whole. Format: the UF2 specification, https://github.com/microsoft/uf2.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guesthouse.core.errors import ExitCode, GuesthouseError

FLASH_BASE = 0x10000000  # where the RP2040 and the RP2350 see the begin of their flash
FLASH_MAX = 16 << 20  # bytes that they can address there

# Family numbers: what a block is for. A bootloader skips blocks of a family it does not know.
RP2040 = 0xE48BFF56
ABSOLUTE = 0xE48BFF57  # a block of its own before an RP2350's image, works around its erratum E10
RP2350_ARM_S = 0xE48BFF59
RP2350_RISCV = 0xE48BFF5A
RP2350_ARM_NS = 0xE48BFF5B
FAMILIES = {
    RP2040: "RP2040",
    RP2350_ARM_S: "RP2350",
    RP2350_RISCV: "RP2350 (RISC-V)",
    RP2350_ARM_NS: "RP2350 (non-secure)",
}

_BLOCK = 512
_PAYLOAD = 256  # bytes of flash in a block: the RP2040's boot loader takes no other size
_HEADER = struct.Struct("<8I")
_MAGIC = (0x0A324655, 0x9E5D5157)
_MAGIC_END = 0x0AB16F30
_NOT_MAIN_FLASH = 0x00000001
_HAS_FAMILY = 0x00002000


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes that follow each other in flash, from ``address`` (as the processor sees it) on."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Image:
    """What a UF2 puts into flash: ``segments`` in order of address, and for which ``family``."""

    family: int
    segments: tuple[Segment, ...]

    def flash(self, size: int) -> bytearray:
        """The flash of ``size`` bytes as it is after writing this to an erased one."""
        flash = bytearray(b"\xff" * size)
        for segment in self.segments:
            begin = segment.address - FLASH_BASE
            if begin + len(segment.data) > size:
                raise GuesthouseError(
                    f"the firmware needs {begin + len(segment.data)} bytes of flash of {size}"
                )
            flash[begin : begin + len(segment.data)] = segment.data
        return flash


def read(path: Path) -> Image:
    """The image in the file ``path``; GuesthouseError that says what is wrong with it."""
    try:
        if not path.is_file():
            raise GuesthouseError(
                f"{path} is not there",
                "name a UF2 of MicroPython for this board, as from https://micropython.org/download",
                ExitCode.USAGE,
            )
        content = path.read_bytes()
    except OSError as error:
        raise GuesthouseError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return parse(content)
    except ValueError as error:
        raise GuesthouseError(
            f"{path} is not a usable UF2: {error}",
            "download it again: https://micropython.org/download/RPI_PICO has the official ones",
            ExitCode.DAMAGED,
        ) from None


def parse(content: bytes) -> Image:
    """The image in ``content``, every block checked; ValueError with the first thing wrong."""
    if not content:
        raise ValueError("it is empty")
    if content[:4] != struct.pack("<I", _MAGIC[0]):
        raise ValueError("it does not begin like one")
    if len(content) % _BLOCK:
        raise ValueError(f"it was cut: {len(content)} bytes are no whole number of blocks")
    pages: dict[int, list[Segment]] = {}  # by family
    totals: dict[int, int] = {}
    for number in range(len(content) // _BLOCK):
        _take_block(content[number * _BLOCK : (number + 1) * _BLOCK], number, pages, totals)
    if not pages:
        raise ValueError("it is not for an RP2040 or RP2350")
    if len(pages) > 1:
        raise ValueError("it is for " + " and ".join(FAMILIES[each] for each in pages) + " at once")
    ((family, found),) = pages.items()
    if len(found) != totals[family]:
        raise ValueError(f"it was cut: {len(found)} of {totals[family]} blocks are there")
    return Image(family, _join(found))


def pack(segments: Sequence[Segment], family: int) -> bytes:
    """A UF2 with ``segments``, each filled up to whole pages of 256 bytes with zeros."""
    pages = [
        (segment.address + begin, segment.data[begin : begin + _PAYLOAD])
        for segment in segments
        for begin in range(0, len(segment.data), _PAYLOAD)
    ]
    blocks = bytearray()
    for number, (address, page) in enumerate(pages):
        blocks += _HEADER.pack(*_MAGIC, _HAS_FAMILY, address, _PAYLOAD, number, len(pages), family)
        blocks += page.ljust(_BLOCK - _HEADER.size - 4, b"\0") + struct.pack("<I", _MAGIC_END)
    return bytes(blocks)


def preamble(content: bytes) -> bytes:
    """The block before an RP2350's image that works around its erratum; b"" where there is none."""
    first = content[:_BLOCK]
    is_one = len(first) == _BLOCK and _HEADER.unpack_from(first)[7] == ABSOLUTE
    return first if is_one else b""


def _take_block(
    block: bytes, number: int, pages: dict[int, list[Segment]], totals: dict[int, int]
) -> None:
    """Check one block and put its page to those of its family."""
    first, second, flags, address, size, count, total, family = _HEADER.unpack_from(block)
    (last,) = struct.unpack_from("<I", block, _BLOCK - 4)
    if (first, second) != _MAGIC or last != _MAGIC_END:
        raise ValueError(f"block {number} is damaged")
    if flags & _NOT_MAIN_FLASH or family not in FAMILIES or not flags & _HAS_FAMILY:
        return  # a boot loader skips it as well
    found = pages.setdefault(family, [])
    # Counted for each family: a file may carry images for several.
    if count != len(found) or total != totals.setdefault(family, total):
        raise ValueError(f"block {number} should be number {len(found)} and is {count} of {total}")
    if size != _PAYLOAD or address % _PAYLOAD:
        raise ValueError(f"block {number} is not one page of flash")
    if not FLASH_BASE <= address <= FLASH_BASE + FLASH_MAX - size:
        raise ValueError(f"block {number} is for {address:#010x}, which is not flash")
    if not found and address != FLASH_BASE:
        raise ValueError(f"it begins at {address:#010x} and not at the begin of the flash")
    if found and address <= found[-1].address:
        raise ValueError(f"block {number} goes back to {address:#010x}")
    found.append(Segment(address, block[_HEADER.size : _HEADER.size + size]))


def _join(pages: Sequence[Segment]) -> tuple[Segment, ...]:
    """Pages that follow each other as one segment."""
    joined: list[tuple[int, bytearray]] = []
    for page in pages:
        if joined and joined[-1][0] + len(joined[-1][1]) == page.address:
            joined[-1][1].extend(page.data)
        else:
            joined.append((page.address, bytearray(page.data)))
    return tuple(Segment(address, bytes(data)) for address, data in joined)
