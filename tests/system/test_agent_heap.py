"""What the agent keeps of a Pico's heap, with its code executed in place.

What is executed in place lies between firmware and file system. The agent writes it at a boot at
which it is not there already, byte by byte: after power was cut, after an update, or when something
else was written over it.

Most of it is tried with a part of the agent: a boot of the whole takes a minute here.
"""

from __future__ import annotations

import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from guesthouse.board.emulator import PowerCut
from guesthouse.board.firmware import Firmware
from guesthouse.core.assets import agent_dir
from tests.support.agent_pico import (
    REGION,
    SECTOR,
    WRITES,
    AgentHeap,
    at_prompt,
    flash_with_agent,
    move_agent,
    region_of,
    run_agent,
    with_region,
)

PLACES = range(0x100A0000 - REGION, 0x100A0000)
SHARE_MAX = 0.2  # of the firmware's free heap; what the test itself holds is among it
BLANK = b"\xff" * REGION
ERASE = "from house.ports import rp2_xip; rp2_xip.erase()"
TAKE = """\
from house.ports import rp2_xip
try:
    rp2_xip._Region().take()
except rp2_xip.Unfit as error:
    print(error)
"""
SEED = 14
NEW = "a text that was not there before"


@pytest.fixture(scope="module")
def heap(firmware: Firmware, tmp_path_factory: pytest.TempPathFactory) -> AgentHeap:
    """The agent with four guests at its first boot."""
    folder = tmp_path_factory.mktemp("whole")
    flash = flash_with_agent(firmware, folder, guests=4)
    with at_prompt(folder / "flash.bin", flash) as board:
        return run_agent(board)


def test_code_lies_in_flash_and_what_is_there_cannot_be_written(heap: AgentHeap) -> None:
    assert heap.in_place == "ok"
    assert all(address in PLACES for address in heap.code)
    assert heap.refused == 2


def test_the_agent_keeps_a_fifth_of_the_heap_at_most(heap: AgentHeap) -> None:
    assert heap.exact
    assert heap.agent <= SHARE_MAX * heap.free


def test_guests_run_and_tracebacks_have_lines(heap: AgentHeap) -> None:
    source = (agent_dir() / "house" / "telemetry.py").read_text("utf-8").splitlines()
    assert len(heap.guests) == 4
    assert all(slices > 5 for slices in heap.guests.values())
    line = re.search(r'house/telemetry\.py", line (\d+), in record', heap.trace)
    assert line, heap.trace
    assert "ring.take()" in source[int(line[1]) - 1]


def test_a_failure_has_time_to_say_where(heap: AgentHeap) -> None:
    place, cause = heap.told
    assert re.match(r"<stdin>:\d+ in inner < <stdin>:\d+ in outer", place)
    assert cause == "ZeroDivisionError: divide by zero"


def changed(before: bytes, after: bytes) -> int:
    """How many sectors differ."""
    return sum(
        before[at : at + SECTOR] != after[at : at + SECTOR] for at in range(0, REGION, SECTOR)
    )


@dataclass(frozen=True)
class Size:
    """Of what is moved: the whole agent, or a part of it."""

    whole: bool
    moved: str


PART = Size(False, "None None True Table")
WHOLE = Size(True, "None None True Kernel")


def cut_the_power(firmware: Firmware, file: Path, cut_at: int, size: Size) -> None:
    """On a board whose file system is full; then let it boot."""
    flash = flash_with_agent(firmware, file.parent, full=True)
    with pytest.raises(PowerCut), at_prompt(file, flash, cut_at) as board:
        move_agent(board, whole=size.whole)
    with at_prompt(file) as board:
        assert move_agent(board, whole=size.whole) == size.moved


def update(firmware: Firmware, file: Path, size: Size) -> None:
    """Another agent comes as with `flash`, some bytes are damaged; then the board is given back."""
    region = bytearray(region_of(file.read_bytes()))
    region[SECTOR + 1000] ^= 0x55
    other = file.parent / "agent"
    shutil.copytree(agent_dir(), other)
    with (other / "house" / "frames.py").open("a") as lines:
        lines.write(f"\n\ndef one_more():\n    return {NEW!r}\n")
    flash = flash_with_agent(firmware, file.parent, source=other)
    with at_prompt(file, with_region(flash, bytes(region))) as board:
        assert move_agent(board, whole=size.whole) == size.moved
        after = region_of(file.read_bytes())
        assert NEW.encode() in after
        assert board.writes == WRITES * changed(bytes(region), after)
        board.restart()
        assert move_agent(board, whole=size.whole) == size.moved
        assert board.writes == WRITES * changed(bytes(region), after), "a boot that finds all of it"
        board.restart()
        board.run(ERASE)
    assert region_of(file.read_bytes()) == BLANK


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the flash of a board that goes through what follows."""
    return tmp_path_factory.mktemp("part") / "flash.bin"


def test_a_power_cut_while_it_is_written_is_mended_by_the_next_boot(
    firmware: Firmware, file: Path
) -> None:
    cut_the_power(firmware, file, random.Random(SEED).randrange(2, 4 * WRITES), PART)


def test_what_differs_is_written_once_and_all_is_given_back(firmware: Firmware, file: Path) -> None:
    update(firmware, file, PART)


def test_what_somebody_else_keeps_there_is_left_alone(firmware: Firmware, file: Path) -> None:
    flash = bytearray(flash_with_agent(firmware, file.parent))
    flash[0xA0000 - REGION + 5000] = 0x55
    with at_prompt(file, bytes(flash)) as board:
        assert board.run(TAKE) == "there is something else in the flash below the file system"
        assert board.writes == 0


# At which write or erasure: the mark, behind it the first sector, in the midst, near the end.
@pytest.mark.soak
@pytest.mark.parametrize("cut_at", [2, 20, 150, 290])
def test_a_power_cut_anywhere(firmware: Firmware, tmp_path: Path, cut_at: int) -> None:
    cut_the_power(firmware, tmp_path / "flash.bin", cut_at, WHOLE)


@pytest.mark.soak
def test_the_whole_agent_is_updated_and_the_board_given_back(
    firmware: Firmware, tmp_path: Path
) -> None:
    file = tmp_path / "flash.bin"
    with at_prompt(file, flash_with_agent(firmware, tmp_path)) as board:
        assert move_agent(board, whole=True) == WHOLE.moved
    update(firmware, file, WHOLE)


@pytest.mark.soak
def test_the_agent_runs_from_the_heap_where_the_flash_is_somebody_elses(
    firmware: Firmware, tmp_path: Path
) -> None:
    flash = with_region(flash_with_agent(firmware, tmp_path), bytes(REGION))
    with at_prompt(tmp_path / "flash.bin", flash) as board:
        reason = "there is something else in the flash below the file system"
        assert move_agent(board, whole=True) == f"{reason} {reason} False Kernel"
        assert board.writes == 0
