"""The serial line of an emulated Pico in the hands of the agent's port, with real firmware.

One board for all of it, whose agent is there but does not run: emulated code is slow.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from guesthouse.board.emulator import FLASH_SIZE
from guesthouse.board.firmware import Firmware
from guesthouse.install.filesystem import flash_image
from tests.support.agent_pico import at_prompt
from tests.support.emulated import EmulatedPico
from tests.support.flashes import agent_files

END = b"\x04>"

# What it takes while the cable is pulled, how long that holds it up, and what it takes later.
WRITES = """\
import time
from house.ports import rp2
rp2.open_serial()
print("go")
time.sleep_ms(200)
data = b"x" * 64
taken = longest = 0
for _ in range(12):
    began = time.ticks_ms()
    taken += rp2.serial_write(data, 64)
    longest = max(longest, time.ticks_diff(time.ticks_ms(), began))
    time.sleep_ms(5)
time.sleep_ms(1200)
for _ in range(6):
    taken += rp2.serial_write(data, 64)
    time.sleep_ms(5)
rp2.close_serial()
print("", longest, taken)
"""

# As long as the agent's own, with what else there is on a board.
COLLECTIONS = """\
import time
from house.ports import rp2_heap
live = [bytes(12) for _ in range(4500)]
print("go")
for count in range(18):
    rp2_heap.collect()
    print(count, end=" ")
    time.sleep_ms(3)
"""


@pytest.fixture(scope="module")
def board(
    firmware: Firmware, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmulatedPico]:
    flash = flash_image(firmware, agent_files(firmware, starts=False), FLASH_SIZE)
    with at_prompt(tmp_path_factory.mktemp("line") / "flash.bin", flash) as pico:
        yield pico


def test_a_pulled_cable_holds_nobody_up_and_what_was_taken_arrives(board: EmulatedPico) -> None:
    board.start(WRITES)
    board.take_until(b"go\r\n")
    board.run_for(0.05)
    board.pull_cable()
    board.run_for(0.8)
    board.wake_bus()
    said = board.take_until(END).split(b"\x04")[0]
    arrived = said.count(b"x")
    longest, taken = (int(word) for word in said.replace(b"x", b"").split())
    assert longest < 100, "ms: the USB stack waits for half a second where nothing fits"
    assert arrived == taken > 64, "the line goes on when the bus does, and nothing is lost"
    board.send(b"\x02")
    board.take_until(b">>> ")


def test_a_port_that_is_opened_while_the_board_collects_does_not_go_deaf(
    board: EmulatedPico,
) -> None:
    board.start(COLLECTIONS)
    board.take_until(b"go\r\n")
    for _ in range(8):
        board.attach(False)
        board.run_for(0.006)
        board.attach(True)
        board.run_for(0.04)
    board.take_until(END)
    board.send(b"\x02")
    board.take_until(b">>> ")
    assert board.run("print(6 * 7)") == "42"
