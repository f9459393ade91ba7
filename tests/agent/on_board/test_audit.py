# The estimate: never called exact, its sum right, the largest holder the right one.

import gc
import time

from house.audit import AuditTable
from house.frames import open_table
from house.ports import unix_heap
from house.wire import AGENT, FIRST_GUEST

ONE = FIRST_GUEST
OTHER = FIRST_GUEST + 1


def _slice(table, owner, work):
    table.sync(AGENT)
    work()
    table.sync(owner)


def test_an_estimate_says_that_it_is_one_and_why():
    table = open_table(unix_heap, force_fallback=True)
    assert table.exact is False
    assert table.reason == "forced"


def test_the_owners_sum_is_the_heaps_after_every_collection():
    table = AuditTable("test", 16)
    gc.disable()
    keep = []
    for turn in range(300):
        _slice(table, ONE, lambda: keep.append(bytearray(200)))
        _slice(table, OTHER, lambda: bytearray(300))
        if turn % 50 == 0:
            keep.clear()
            table.collect()
            assert sum(table.counts[1:]) == table.counts[0]
            assert abs(table.counts[0] * table.block - gc.mem_alloc()) < 2000
            assert min(table.counts) >= 0


def test_who_hoards_is_told_from_who_makes_garbage():
    table = AuditTable("test", 16)
    table._pause = lambda: None  # every seventh call is due, whatever the clock says
    keep = [None] * 1000
    state = [0, 0]

    def hoard():
        keep[state[0]] = bytearray(200)
        state[0] += 1

    def waste():
        for _ in range(30):
            bytearray(200)

    def turn(owner, work):
        state[1] += 1
        table._due = time.ticks_add(time.ticks_us(), 0 if state[1] % 7 == 0 else 1000000)
        _slice(table, owner, work)

    for _ in range(1000):
        turn(ONE, hoard)
        turn(OTHER, waste)
    table.collect()
    held = 1000 * 250
    assert table.counts[ONE] * table.block > held // 2, table.counts
    assert table.counts[OTHER] * table.block < held // 10, table.counts


def test_measuring_takes_a_bounded_number_of_slices():
    table = AuditTable("test", 16)
    measured = [0]
    real = table._live

    def live():
        measured[0] += 1
        return real()

    table._live = live
    table._due = time.ticks_us()  # a machine that was away has made the pause long
    for _ in range(100000):
        table.sync(AGENT)
        table.sync(ONE)
    assert 0 < measured[0] < 10000, measured


def test_an_ended_guest_is_forgotten():
    table = AuditTable("test", 16)
    table.counts[ONE] = 100
    table.counts[AGENT] -= 100
    total = table.counts[0]
    assert table.forget(ONE) == 100
    assert table.counts[ONE] == 0 and table.counts[0] == total
    assert sum(table.counts[1:]) == total


def test_it_answers_to_all_that_the_exact_table_does():
    exact = open_table(unix_heap)
    estimate = open_table(unix_heap, force_fallback=True)
    for name in dir(exact):
        if not name.startswith("_") and name != "layout":
            assert hasattr(estimate, name), name
