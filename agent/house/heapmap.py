# Where the collector keeps its state, found by its shape and proved by probes.
#
# Stock firmware offers no way to ask. The words lie at other addresses in every
# build, so they are searched for each time, and nothing is believed that the
# self-test has not shown with objects of known size.
#
# This module is needed once, at boot: frames.py lets go of it.

import sys

from micropython import const
from uctypes import addressof

from .frames import HeapUnknown, Layout, WORDS_PER_BLOCK
from .frames import gc  # the module itself, not what stands for it

FREE = const(0)
HEAD = const(1)
TAIL = const(2)

# In the state of one heap area, in words:
#   0 allocation table   1 its length in bytes   2 finaliser table
#   (3 a further table in newer firmware)   then pool start, pool end,
#   lowest table byte that may have a free block, highest block in use
_LENGTH = const(1)
_POOL = const(3)
_POOL_NEWER = const(4)
_LOW_AFTER_POOL = const(2)
_AFTER_POOL = const(4)

# How far behind the area the allocation clock is searched for, in bytes.
_CLOCK_RANGE = const(2048)
# Two thresholds to recognise the word by, in blocks.
_MARKS = (0x12345, 0x23456)


# The layout of this interpreter's heap, tested; raises HeapUnknown with the reason.
def find_heap(port, scan):
    if sys.byteorder != "little":
        raise HeapUnknown("big-endian machine")
    probe = id([None])
    word = port.WORD
    try:
        regions = port.regions()
    except OSError:
        regions = ()
    for low, high in regions:
        area = scan(port, low, high, probe, 4 * WORDS_PER_BLOCK * word)
        if area:
            break
    else:
        raise HeapUnknown("no heap state found")
    length = port.read(area + _LENGTH * word)
    first = _POOL
    pool = port.read(area + first * word)
    end = port.read(area + (first + 1) * word)
    if end - pool != 4 * length * WORDS_PER_BLOCK * word:
        first = _POOL_NEWER
        pool = end
        end = port.read(area + (first + 1) * word)
    layout = Layout(
        port,
        port.read(area),
        length,
        pool,
        end,
        area + _LENGTH * word,
        area + (first + _LOW_AFTER_POOL) * word,
        _find_clock(port, area + (first + _AFTER_POOL) * word, high),
    )
    prove(layout)
    return layout


# The threshold for automatic collections can be written through gc.threshold(), so
# its word shows itself; the allocation clock is the word before it.
def _find_clock(port, low, high):
    word = port.WORD
    block = WORDS_PER_BLOCK * word
    candidates = list(range(low, min(low + _CLOCK_RANGE, high - word + 1), word))
    before = gc.threshold()
    try:
        for mark in _MARKS:
            gc.threshold(mark * block)
            candidates = [address for address in candidates if port.read(address) == mark]
    finally:
        gc.threshold(before)
    if len(candidates) != 1:
        raise HeapUnknown("no unique threshold word")
    return candidates[0] - word


# Shows that every fact the accounting rests on holds; raises HeapUnknown if not.
def prove(layout):
    _prove_geometry(layout)
    _prove_probes(layout)
    _prove_clock(layout)
    _prove_bounds(layout)


def _prove_geometry(layout):
    if layout.table & 3:
        raise HeapUnknown("unaligned table")
    if layout.end - layout.pool != 4 * layout.length * layout.block:
        raise HeapUnknown("pool and table differ in size")
    if not layout.table + layout.length < layout.pool:
        raise HeapUnknown("table does not lie before the pool")
    if layout.port.read(layout.length_word) != layout.length:
        raise HeapUnknown("length word")
    layout.port.collect()
    if gc.mem_alloc() + gc.mem_free() != layout.end - layout.pool:
        raise HeapUnknown("heap has more than one area")


def _prove_probes(layout):
    table = layout.port.view(layout.table, layout.length)
    block = layout.block
    pool = layout.pool
    probes = []
    for size in (1, block, block + 1, 3 * block, 10 * block + 1, 40 * block):
        probe = bytearray(size)
        probes.append(probe)
        offset = addressof(probe) - pool
        if offset % block:
            raise HeapUnknown("block size")
        first = offset // block
        count = (size + block - 1) // block
        if not 0 <= first <= 4 * layout.length - count:
            raise HeapUnknown("probe outside of the pool")
        if _kind(table, first) != HEAD:
            raise HeapUnknown("probe has no head")
        for number in range(first + 1, first + count):
            if _kind(table, number) != TAIL:
                raise HeapUnknown("probe has no tail")
        after = first + count
        if after < 4 * layout.length and _kind(table, after) == TAIL:
            raise HeapUnknown("probe's tail is too long")
        if _kind(table, (id(probe) - pool) // block) != HEAD:
            raise HeapUnknown("object has no head")


def _prove_clock(layout):
    read = layout.port.read
    clock = layout.clock_word
    start = read(clock)
    own = read(clock) - start  # reading allocates too
    start = read(clock)
    _probe = bytearray(50 * layout.block)  # and the object itself
    if read(clock) - start - own != 51:
        raise HeapUnknown("allocation clock")


# No block below the low word's byte is free, none above the high word's is in use.
# The sync looks only between the two.
def _prove_bounds(layout):
    read = layout.port.read
    table = layout.port.view(layout.table, layout.length)
    block = layout.block
    first = bytearray(50 * block)
    last = bytearray(50 * block)
    hole = (addressof(first) - layout.pool) // block
    top = (addressof(last) - layout.pool) // block + 49
    del first
    layout.port.collect()
    low = read(layout.low_word)
    # a stale pointer on the stack may keep the hole from being one
    if _kind(table, hole) == FREE and low > (hole + 49) // 4:
        raise HeapUnknown("low word is above a free block")
    _singles = [bytearray(1) for _ in range(200)]
    risen = read(layout.low_word)
    high = read(layout.high_word)
    if not low < risen <= layout.length:
        raise HeapUnknown("low word does not follow allocations")
    if not top <= high <= 4 * layout.length:
        raise HeapUnknown("high word is below a block in use")
    for number in range(risen):
        kinds = table[number]
        if not (kinds & 3 and kinds & 12 and kinds & 48 and kinds & 192):
            raise HeapUnknown("free block below the low word")
    for number in range(high // 4 + 1, layout.length):
        if table[number]:
            raise HeapUnknown("block in use above the high word")


def _kind(table, number):
    return (table[number >> 2] >> (2 * (number & 3))) & 3
