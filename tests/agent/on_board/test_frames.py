# The frame table: exact counts, twins that agree, no allocation, the cap, the fallback.

import gc
import random
import sys
from array import array

import micropython
import patterns
from house import frames, frames_plain, meter
from house.collector import GuestCollector
from house.frames import OWNERS, exact_table, open_table, twin_named
from house.heapmap import HeapUnknown, find_heap
from house.ports import unix_heap
from house.wire import AGENT, FIRST_GUEST

ONE = FIRST_GUEST
OTHER = FIRST_GUEST + 1


def _twins():
    fastest = twin_named()
    return [fastest] if fastest is frames_plain else [fastest, frames_plain]


def _tables():
    for twin in _twins():
        yield twin.Table(find_heap(unix_heap, twin.scan))


# A guest's meter, of which the cap reads these two words.
def _meter(limit=meter.NO_BLOCKS_MAX):
    words = array("i", [0] * meter.WORDS)
    words[meter.OWNER] = ONE
    words[meter.LIMIT] = limit
    return words


# Random changes to what `keep` holds: new objects, growth and shrinking in place.
def _mutate(keep):
    index = random.getrandbits(7)
    kind = random.getrandbits(3)
    value = keep[index]
    if kind < 3:
        keep[index] = bytearray(random.getrandbits(9))
    elif kind < 5:
        keep[index] = [None] * random.getrandbits(6)
    elif kind == 5:
        keep[index] = bytearray(random.getrandbits(13))
    elif isinstance(value, list):
        if kind == 6:
            value.extend(range(20))
        else:
            value.clear()
    elif value is not None:
        value.extend(b"0123456789abcdef")


def test_viper_and_plain_twin_agree_on_random_work():
    viper, plain = (list(_tables()) * 2)[:2]
    keep = [None] * 128
    gc.disable()
    viper.sync(AGENT)
    plain.sync(AGENT)
    for seed in range(5):
        random.seed(seed)
        for step in range(400):
            owner = ONE + random.getrandbits(8) % (OWNERS - ONE)
            for _ in range(random.getrandbits(2)):
                _mutate(keep)
            blocks = viper.sync(owner)
            assert blocks == plain.sync(owner) == viper.counts[owner]
            assert viper.counts == plain.counts, step
            assert viper._owners == plain._owners, step
            if viper.free_blocks < viper.total // 2:
                viper._rescan()
                gc.collect()
                viper.sync(AGENT)
                plain.sync(AGENT)
    assert viper.largest_free() == plain.largest_free()
    assert viper.forget(ONE) == plain.forget(ONE)
    assert viper._owners == plain._owners
    assert viper.check() and plain.check()


def test_the_owners_sum_is_what_the_collector_says_after_every_collection():
    for table in _tables():
        gc.disable()
        random.seed(1)
        keep = [None] * 128
        for step in range(500):
            table.sync(AGENT)
            _mutate(keep)
            table.sync(ONE + step % 5)
            if step % 25 == 0:
                table.collect()
                assert table.check(), table.reason


def test_check_notices_changes_behind_the_tables_back():
    for table in _tables():
        assert table.check() and table.exact
        table.counts[ONE] += 1
        assert not table.check()
        assert not table.exact and table.reason


def test_a_block_is_its_allocators_until_it_is_freed():
    for table in _tables():
        gc.disable()
        table.sync(AGENT)
        mine = bytearray(100 * table.block)
        assert table.sync(ONE) == 101 + table.counts[ONE] - 101
        assert table.owner_of(mine) == ONE
        held = table.counts[ONE]
        assert held >= 101
        mine.extend(bytes(100 * table.block))
        table.sync(OTHER)
        before = table.counts[ONE] + table.counts[OTHER]
        mine = None
        table.collect()
        assert before - table.counts[ONE] - table.counts[OTHER] >= 201


def test_syncs_and_caps_allocate_nothing():
    for table in _tables():
        gc.disable()
        keep = [None] * 128
        words = _meter(100)
        table.keep_back(64, 100)
        random.seed(2)
        for _ in range(500):
            _mutate(keep)
            # a locked heap turns any allocation into an error
            micropython.heap_lock()
            table.sync(ONE)
            table.cap(words)
            table.sync(AGENT)
            table.uncap()
            assert table.free_blocks >= 0
            micropython.heap_unlock()
            if table.free_blocks < table.total // 2:
                table.collect()
        before = gc.mem_alloc()
        for _ in range(5000):
            table.sync(ONE)
        assert gc.mem_alloc() == before


def test_a_thousand_kills_and_restarts_lose_nothing():
    table = exact_table(unix_heap)
    makers = [patterns.PATTERNS[name] for name in sorted(patterns.PATTERNS)]
    gc.disable()
    guest = None
    start = agent = 0
    for cycle in range(1000 + len(makers)):
        if cycle == len(makers):  # all modules loaded, all tables grown
            start = gc.mem_alloc()
            agent = table.counts[AGENT]
        make = makers[cycle % len(makers)]
        table.sync(AGENT)
        guest = make()
        for _ in range(cycle % 17 + 1):
            guest.send(None)
        assert table.sync(ONE) > 0
        guest = None
        table.collect()
        if make is not patterns.tasks and cycle >= len(makers):
            assert table.counts[ONE] == 0, (cycle, table.counts[ONE])
        table.forget(ONE)
        assert table.counts[ONE] == 0
        assert table.check(), table.reason
    # tasks() leaves its last task in the event loop that all share in this test
    assert gc.mem_alloc() - start <= 64 * table.block, gc.mem_alloc() - start
    assert table.counts[AGENT] - agent <= 64, table.counts[AGENT] - agent


def test_a_cap_keeps_the_agents_reserve_from_a_guest():
    for table in _tables():
        gc.disable()
        reserve = table.total // 8
        keep = []
        table.collect()
        table.keep_back(reserve, 0)
        table.cap(_meter())
        try:
            while True:
                keep.append(bytearray(500))
        except MemoryError:
            pass
        table.uncap()
        table.sync(ONE)
        assert table.free_blocks >= reserve - 4
        assert bytearray(reserve * table.block // 2)  # the agent still can
        keep = None
        table.collect()
        assert table.check(), table.reason


def test_a_cap_lets_a_guest_take_its_limit_and_the_slack_and_no_more():
    for table in _tables():
        gc.disable()
        table.collect()
        for held, limit, slack in ((0, 3000, 500), (0, 200, 0), (1000, 400, 2000)):
            before = bytearray(held * table.block) if held else None
            table.sync(ONE)
            held = table.counts[ONE]
            table.keep_back(64, slack)
            assert not table.capped()
            # what is free below the highest block in use cannot be kept from it
            holes = unix_heap.read(table.layout.high_word) - table.counts[0]
            table.cap(_meter(limit))
            assert table.capped()
            # One block each, so that every hole is used.
            keep = None
            try:
                while True:
                    keep = (keep,)
            except MemoryError:
                pass
            table.uncap()
            table.sync(ONE)
            room = limit + slack - held
            taken = table.counts[ONE] - held
            assert room - 24 <= taken <= room + holes + 4, (room, holes, taken)
            del before
            keep = None
            table.collect()
            table.forget(ONE)
            assert table.check(), table.reason


# A chain, deeper than the collector's mark stack, at the top of what is in use: were the
# cap to cut it off, the collector would not find all of it.
def test_a_collection_under_the_cap_loses_nothing():
    for table in _tables():
        gc.disable()
        table.collect()
        filler = [bytearray(table.block) for _ in range(table.total // 8)]
        chain = []
        for number in range(500):
            # the link comes last: the collector follows it first and the others pile up
            chain = ([number] * 3, (number, [number]), chain)
        del filler
        table.collect()
        for reserve in (0, table.total // 2, table.total, 2 * table.total):
            table.keep_back(reserve, 0)
            table.cap(_meter())
            length = unix_heap.read(table.layout.length_word)
            assert 4 * length > unix_heap.read(table.layout.high_word)
            assert length <= table.layout.length
            gc.collect()
            assert [bytearray(100) for _ in range(100)]
            gc.collect()
            table.uncap()
        table.collect()
        link = chain
        for number in range(499, -1, -1):
            assert link[0] == [number] * 3
            assert link[1] == (number, [number])
            link = link[2]
        assert table.check(), table.reason


# What the collector asks of a kernel.
class Running:
    def __init__(self, table, owner):
        self.table = table
        self.running_owner = lambda: owner


# Without GuestCollector the second guest's objects would lie in blocks that are still
# charged to the first.
def test_a_guests_own_collection_charges_its_reused_blocks_to_it():
    for table in _tables():
        gc.disable()
        collector = GuestCollector(Running(table, OTHER))
        table.collect()
        table.sync(AGENT)
        for _ in range(500):
            bytearray(50)
        table.sync(ONE)
        collector.collect()
        mine = [bytearray(50) for _ in range(500)]
        table.sync(OTHER)
        assert table.counts[ONE] < 20
        assert table.counts[OTHER] > 1000
        assert collector.mem_alloc() == table.counts[OTHER] * table.block
        assert len(mine) == 500
        mine = None


def test_a_finaliser_and_recursion_to_the_limit_leave_the_sum_exact():
    def deep(n):
        return [deep(n + 1), bytearray(n)]

    for table in _tables():
        gc.disable()
        for _ in range(20):
            table.sync(AGENT)
            opened = open(__file__)  # noqa: SIM115 - left to its finaliser
            opened.read(10)
            try:
                deep(0)
            except RuntimeError:
                pass
            opened = None
            table.sync(ONE)
            table.collect()
            assert table.check(), table.reason


def test_owners_are_limited_to_what_four_bits_tell_apart():
    for twin in _twins():
        layout = find_heap(unix_heap, twin.scan)
        try:
            twin.Table(layout, OWNERS + 1)
        except ValueError:
            pass
        else:
            raise AssertionError
        assert len(twin.Table(layout, 6).counts) == 6


def test_the_unix_port_has_the_exact_table():
    table = open_table(unix_heap)
    assert table.exact, table.reason
    assert table.total * table.block == gc.mem_alloc() + gc.mem_free()


def test_modules_that_viper_needs_are_not_needed_without_it():
    hidden = sys.modules.pop("house.frames_viper", None)
    real = frames.twin_named
    try:
        frames.twin_named = lambda name=None: frames_plain
        table = open_table(unix_heap)
        assert table.exact, table.reason
    finally:
        frames.twin_named = real
        if hidden:
            sys.modules["house.frames_viper"] = hidden
    try:
        exact_table(None)
    except HeapUnknown:
        pass
    else:
        raise AssertionError
