"""UF2 files: what is written is read back, and anything damaged is named and refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from guesthouse.board import uf2
from guesthouse.board.firmware import find_or_build_firmware
from guesthouse.core.errors import ExitCode, GuesthouseError

BLOCK = 512
BANNER = b"3.4.0; MicroPython v1.28.0 on 2026-04-06\0; Raspberry Pi Pico with RP2040\0"
FIRMWARE = BANNER + bytes(range(256)) * 9


def packed(*segments: uf2.Segment, family: int = uf2.RP2040) -> bytes:
    return uf2.pack(segments or (uf2.Segment(uf2.FLASH_BASE, FIRMWARE),), family)


def changed(content: bytes, block: int, offset: int, value: int) -> bytes:
    """One word of the header of one block replaced."""
    at = block * BLOCK + offset
    return content[:at] + struct.pack("<I", value) + content[at + 4 :]


def test_what_is_packed_is_read_back_filled_up_to_pages() -> None:
    image = uf2.parse(packed())
    assert image.family == uf2.RP2040
    (segment,) = image.segments
    assert segment.address == uf2.FLASH_BASE
    assert segment.data == FIRMWARE + bytes(-len(FIRMWARE) % 256)


def test_a_file_system_behind_the_firmware_stays_where_it_is() -> None:
    data = uf2.Segment(uf2.FLASH_BASE + 0xA0000, b"files" * 100)
    image = uf2.parse(packed(uf2.Segment(uf2.FLASH_BASE, FIRMWARE), data))
    assert [segment.address for segment in image.segments] == [uf2.FLASH_BASE, data.address]
    flash = image.flash(1 << 20)
    assert flash.startswith(FIRMWARE)
    assert flash[0xA0000:].startswith(data.data)
    assert flash[0x90000] == 0xFF  # erased
    with pytest.raises(GuesthouseError, match="needs 655872 bytes of flash of 4096"):
        image.flash(4096)


@pytest.mark.parametrize("family", [uf2.RP2350_ARM_S, uf2.RP2350_RISCV])
def test_images_for_the_rp2350_are_told_from_those_for_the_rp2040(family: int) -> None:
    # Theirs begin with a block of its own, for an erratum: it is skipped.
    first = uf2.pack([uf2.Segment(uf2.FLASH_BASE + 0xFFFF00, bytes(256))], uf2.ABSOLUTE)
    assert uf2.parse(first + packed(family=family)).family == family


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "it is empty"),
    "text": (lambda _: b"<html>not found</html>" * 100, "does not begin like one"),
    "cut in a block": (lambda good: good[:-100], "was cut: .* no whole number of blocks"),
    "cut between blocks": (lambda good: good[:-BLOCK], "was cut: 9 of 10 blocks"),
    "a block lost": (lambda good: good[:BLOCK] + good[2 * BLOCK :], "number 1 and is 2 of 10"),
    "a block twice": (lambda good: good[:BLOCK] + good, "number 1 and is 0 of 10"),
    "first magic": (lambda good: changed(good, 3, 0, 1), "block 3 is damaged"),
    "second magic": (lambda good: changed(good, 3, 4, 1), "block 3 is damaged"),
    "last magic": (lambda good: changed(good, 9, BLOCK - 4, 1), "block 9 is damaged"),
    "address back": (lambda good: changed(good, 2, 12, uf2.FLASH_BASE), "goes back"),
    "address in RAM": (lambda good: changed(good, 2, 12, 0x20000000), "which is not flash"),
    "begin": (lambda good: changed(good, 0, 12, uf2.FLASH_BASE + 256), "not at the begin"),
    "payload": (lambda good: changed(good, 2, 16, 476), "not one page"),
    "other number of blocks": (lambda good: changed(good, 2, 24, 11), "is 2 of 11"),
    "other chips": (lambda _: packed(family=0x1234), "not for an RP2040 or RP2350"),
    "two chips": (lambda good: good + packed(family=uf2.RP2350_ARM_S), "RP2040 and RP2350 at"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_with_what_is_wrong(tmp_path: Path, damage: str) -> None:
    harm, words = DAMAGES[damage]
    file = tmp_path / "firmware.uf2"
    file.write_bytes(harm(packed()))
    with pytest.raises(GuesthouseError, match=words) as caught:
        find_or_build_firmware(path=file)
    assert caught.value.code == ExitCode.DAMAGED
    assert "micropython.org" in caught.value.hint


def test_a_named_file_is_used_and_never_another_one(tmp_path: Path) -> None:
    file = tmp_path / "firmware.uf2"
    file.write_bytes(packed())
    environ = {"GUESTHOUSE_FIRMWARE": str(file)}
    firmware = find_or_build_firmware(environ=environ)
    assert (firmware.version, firmware.origin, firmware.path) == ("1.28.0", "named", file)
    assert firmware.machine == "Raspberry Pi Pico with RP2040"
    assert firmware.family == uf2.RP2040
    file.unlink()
    with pytest.raises(GuesthouseError, match=r"GUESTHOUSE_FIRMWARE: .* is not there") as caught:
        find_or_build_firmware(environ=environ)
    assert caught.value.hint.endswith("; or unset GUESTHOUSE_FIRMWARE to have one built")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"Adafruit CircuitPython 9.2.1 on", "CircuitPython"), (b"blink", "not MicroPython")],
)
def test_other_firmware_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "firmware.uf2"
    file.write_bytes(packed(uf2.Segment(uf2.FLASH_BASE, content)))
    with pytest.raises(GuesthouseError, match=f"the firmware in .* is {words}"):
        find_or_build_firmware(path=file)


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GuesthouseError, match="is not there"):
        find_or_build_firmware(path=tmp_path)
