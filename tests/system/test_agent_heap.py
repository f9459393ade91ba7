"""What the agent keeps of a Pico's heap, with its code executed in place.

What is executed in place lies between firmware and file system. The agent writes it at a boot at
which it is not there already, byte by byte: after power was cut, after an update, or when something
else was written over it.
"""

from __future__ import annotations

import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from guesthouse.board import picosim
from guesthouse.board.firmware import Firmware
from guesthouse.core.assets import agent_dir
from guesthouse.install.board import ReplBoard
from guesthouse.install.repl import Repl
from guesthouse.link.ports import PortSpec
from tests.support.agent_pico import (
    REGION,
    AgentHeap,
    begin_to_move,
    damage,
    flash_with_agent,
    move_agent,
    region_of,
    run_agent,
)

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

PLACES = range(0x100A0000 - REGION, 0x100A0000)
SHARE_MAX = 0.2  # of the firmware's free heap; what the test itself holds is among it
MOVED = "None None True <class 'Kernel'>"
BLANK = b"\xff" * REGION


def region(board: picosim.SimBoard) -> bytes:
    return region_of((board.root / picosim.FLASH_FILE).read_bytes())


@dataclass(frozen=True)
class Boots:
    """The agent with four guests at its first boot, and what the next boots made of the flash."""

    first: AgentHeap
    second: str
    after_second: bytes
    damaged: bytes
    third: str
    after_third: bytes


@pytest.fixture(scope="module")
def boots(firmware: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Boots:
    folder = tmp_path_factory.mktemp("guests")
    flash = flash_with_agent(firmware, folder, guests=4)
    with picosim.private_board(firmware=firmware, flash=flash) as board:
        first = run_agent(board.path)
        second, after_second = move_agent(board.path), region(board)
        damage(board.path, 2, 1024)
        damaged = region(board)
        third = move_agent(board.path)
        return Boots(first, second, after_second, damaged, third, region(board))


def test_code_lies_in_flash(boots: Boots) -> None:
    assert boots.first.in_place == "ok"
    assert all(address in PLACES for address in boots.first.code)


def test_the_agent_keeps_a_fifth_of_the_heap_at_most(boots: Boots) -> None:
    assert boots.first.exact
    assert boots.first.agent <= SHARE_MAX * boots.first.free


def test_guests_run_and_tracebacks_have_lines(boots: Boots) -> None:
    source = (agent_dir() / "house" / "telemetry.py").read_text("utf-8").splitlines()
    assert len(boots.first.guests) == 4
    assert all(slices > 5 for slices in boots.first.guests.values())
    line = re.search(r'house/telemetry\.py", line (\d+), in record', boots.first.trace)
    assert line, boots.first.trace
    assert "ring.take()" in source[int(line[1]) - 1]


def test_a_failure_has_time_to_say_where(boots: Boots) -> None:
    place, cause = boots.first.told
    assert re.match(r"<stdin>:\d+ in inner < <stdin>:\d+ in outer", place)
    assert cause == "ZeroDivisionError: divide by zero"


def test_what_is_damaged_is_written_anew_and_the_same_as_before(boots: Boots) -> None:
    assert (boots.second, boots.third) == (MOVED, MOVED)
    assert boots.damaged != boots.after_second
    assert boots.after_third == boots.after_second


# At which write or erasure: the mark, behind it the first sector, in the midst, near the end.
CUT_S = 400.0
CUTS = (2, 20, 150, 290)


def cut_the_power(firmware: Firmware, folder: Path, cut_at: int) -> None:
    """On a board whose file system is full; then let it boot, and give it back."""
    flash = flash_with_agent(firmware, folder, guests=0, full=True)
    with picosim.private_board(firmware=firmware, flash=flash, cut_at=cut_at) as board:
        begin_to_move(board.path)
        end = time.monotonic() + CUT_S
        while (now := picosim.refresh(board)) is None or now.last_end != "exit status 75":
            assert time.monotonic() < end, "the power was not cut"
            time.sleep(0.2)
        flash = (board.root / picosim.FLASH_FILE).read_bytes()
    with picosim.private_board(firmware=firmware, flash=flash) as board:
        assert move_agent(board.path) == MOVED
        with Repl(PortSpec(board.path, "pico-sim", "pico-sim", 10.0)) as repl:
            ReplBoard(repl).release()
        assert region(board) == BLANK


def test_a_power_cut_while_it_is_written_is_mended_by_the_next_boot(
    firmware: Firmware, tmp_path: Path
) -> None:
    cut_the_power(firmware, tmp_path, CUTS[2])


@pytest.mark.soak
@pytest.mark.parametrize("cut_at", CUTS)
def test_a_power_cut_anywhere(firmware: Firmware, tmp_path: Path, cut_at: int) -> None:
    cut_the_power(firmware, tmp_path, cut_at)


def test_what_somebody_else_keeps_there_is_left_alone(firmware: Firmware, tmp_path: Path) -> None:
    flash = bytearray(flash_with_agent(firmware, tmp_path, guests=0))
    flash[0xA0000 - REGION + 5000] = 0x55
    with picosim.private_board(firmware=firmware, flash=bytes(flash)) as board:
        told = move_agent(board.path)
        reason = "there is something else in the flash below the file system"
        assert told.startswith(f"{reason} {reason} False")
        assert region(board) == region_of(bytes(flash))
