# The MicroPython part of garbage.py: prints its table.

import sys

_HERE = __file__.rpartition("/")[0]
sys.path[:0] = [_HERE + "/../../tests/agent/on_board", _HERE + "/../../agent"]

from board import Board
from house import wire

_SOURCE = """\
import asyncio
from time import ticks_us, ticks_diff
async def main():
    await asyncio.sleep_ms(0)
    begin = ticks_us()
    for _ in range(%d):
        bytearray(%d)
        sum(range(%d))
    print(ticks_diff(ticks_us(), begin))
"""
_BYTES = 16000000  # of each run
_RUNS = 10
_LIMIT = 32768


# Bytes in a ms and how many of the runs were not ended.
def _run(size, spins):
    board = Board()
    count = _BYTES // (size + 64)
    passed = 0
    least = 0
    for number in range(_RUNS):
        name = "g%d" % number
        guest = board.guest(
            name, _SOURCE % (count, size, spins), mem_max=_LIMIT, slice_max_us=3000000
        )
        if board.end(guest, 20000)[0] == wire.STATE_EXITED:
            passed += 1
            us = int(guest.log.lines(0)[1][-1])
            least = min(least, us) if least else us
        board.kernel.lifecycle.remove(guest)
    board.close()
    return _BYTES * 1000 // least if least else 0, passed


def main():
    print("%8s %8s %14s %8s" % ("bytes", "spins", "kB in a ms", "goes on"))
    for size in (100, 1000, 10000):
        for spins in (3000, 1000, 300, 100, 30, 0):
            if size == 100 and spins > 300:
                continue
            rate, passed = _run(size, spins)
            print("%8d %8d %14d %5d/%d" % (size, spins, rate // 1000, passed, _RUNS))


main()
