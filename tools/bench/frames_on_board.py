# The MicroPython part of frames.py: what accounting costs a slice, in us, as JSON.
#
#     frames_on_board.py LIVE_KILOBYTES

import gc
import json
import sys
import time
from array import array

sys.path.insert(0, __file__.rpartition("/")[0] + "/../../agent")

from house import meter
from house.audit import AuditTable
from house.frames import exact_table
from house.ports import unix_heap
from house.wire import AGENT, FIRST_GUEST

_ROUNDS = 60
_REPEATS = 9


# What a user would write: the heap's use before and after.
class _ByMemAlloc:
    def __init__(self):
        self.before = 0

    def sync(self, owner):
        used = gc.mem_alloc()
        if owner != AGENT:
            self.used = used - self.before
        self.before = used


class _Nothing:
    def sync(self, owner):
        pass


def _quiet():
    pass


def _one_block():
    bytearray(1)


def _many_blocks():
    for _ in range(20):
        bytearray(100)


def _run(table, work):
    gc.collect()
    table.sync(AGENT)
    start = time.ticks_us()
    for _ in range(_ROUNDS):
        table.sync(AGENT)
        work()
        table.sync(FIRST_GUEST)
    return time.ticks_diff(time.ticks_us(), start) / _ROUNDS


# What two syncs add to a slice: the median of runs, each beside one without, as the
# collector's own search for room takes longer and longer after a collection.
def _time(table, work):
    nothing = _Nothing()
    runs = [_run(table, work) - _run(nothing, work) for _ in range(_REPEATS)]
    return sorted(runs)[_REPEATS // 2]


# Live objects of two blocks with holes between them, as on a heap that has been used.
def _fill(kilobytes):
    keep = []
    for _ in range(kilobytes * 1024 // 160):
        keep.append(bytearray(90))
        bytearray(20)
    return keep


def main(kilobytes):
    keep = _fill(kilobytes)
    gc.collect()
    gc.disable()
    tables = (
        ("viper", exact_table(unix_heap, sync="viper")),
        ("plain", exact_table(unix_heap, sync="plain")),
        ("estimate", AuditTable("bench", 16)),
        ("gc.mem_alloc", _ByMemAlloc()),
    )
    live = gc.mem_alloc()
    costs = {}
    for work in (_quiet, _one_block, _many_blocks):
        for name, table in tables:
            if name not in costs:
                costs[name] = []
            costs[name].append(_time(table, work))
    exact = tables[0][1]
    others = {}
    words = array("i", [0] * meter.WORDS)
    words[meter.LIMIT] = 100
    exact.keep_back(100, 100)
    start = time.ticks_us()
    for _ in range(_ROUNDS):
        exact.cap(words)
        exact.uncap()
    others["cap, uncap"] = time.ticks_diff(time.ticks_us(), start) / _ROUNDS
    for name, function in (
        ("collect", exact.collect),
        ("gc.collect", gc.collect),
        ("check", exact.check),
        ("largest_free", exact.largest_free),
    ):
        runs = []
        for _ in range(_REPEATS):
            start = time.ticks_us()
            function()
            runs.append(time.ticks_diff(time.ticks_us(), start))
        others[name] = sorted(runs)[_REPEATS // 2]
    start = time.ticks_us()
    exact.forget(FIRST_GUEST)
    others["forget"] = time.ticks_diff(time.ticks_us(), start)
    gc.collect()
    before = gc.mem_alloc()
    table = exact_table(unix_heap)
    gc.collect()
    ram = gc.mem_alloc() - before
    heap = table.total * table.block
    print(json.dumps({
        "live": live, "heap": heap, "ram": ram, "costs": costs, "others": others, "kept": len(keep),
    }))  # fmt: skip


main(int(sys.argv[1]))
