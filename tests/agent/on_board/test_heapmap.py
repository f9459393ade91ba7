# The self-test believes the right layout and no other.

import sys

from house import frames_plain, modules
from house.collector import GuestCollector
from house.frames import open_table, twin_named
from house.heapmap import HeapUnknown, Layout, find_heap, prove
from house.ports import unix_heap

WORD = unix_heap.WORD


def _layout():
    return find_heap(unix_heap, twin_named().scan)


def _rejected(layout):
    try:
        prove(layout)
    except HeapUnknown as error:
        return error.args[0]
    raise AssertionError("believed")


def test_the_layout_that_was_found_is_believed():
    prove(_layout())


def test_both_searches_find_the_same():
    plain = find_heap(unix_heap, frames_plain.scan).__dict__
    assert plain == _layout().__dict__


def test_a_table_one_word_off_is_rejected():
    for off in (-WORD, WORD):
        layout = _layout()
        layout.table += off
        _rejected(layout)


def test_a_pool_one_block_off_is_rejected():
    for off in (-1, 1):
        layout = _layout()
        layout.pool += off * layout.block
        layout.end += off * layout.block
        _rejected(layout)


def test_a_pool_one_word_off_is_rejected():
    for off in (-WORD, WORD):
        layout = _layout()
        layout.pool += off
        layout.end += off
        assert _rejected(layout) == "block size"


def test_another_block_size_is_rejected():
    layout = _layout()
    layout.block *= 2
    _rejected(layout)
    layout.length //= 2
    layout.end = layout.pool + 4 * layout.length * layout.block
    _rejected(layout)
    layout = _layout()
    layout.block //= 2
    layout.length *= 2
    _rejected(layout)


def test_bounds_one_word_off_are_rejected():
    for off in (-WORD, WORD):
        layout = _layout()
        layout.low_word += off
        layout.high_word += off
        _rejected(layout)


def test_bounds_the_wrong_way_round_are_rejected():
    layout = _layout()
    layout.low_word, layout.high_word = layout.high_word, layout.low_word
    _rejected(layout)


def test_a_clock_one_word_off_is_rejected():
    for off in (-WORD, WORD):
        layout = _layout()
        layout.clock_word += off
        assert _rejected(layout) == "allocation clock"


def test_another_length_word_is_rejected():
    layout = _layout()
    layout.length_word += WORD
    assert _rejected(layout) == "length word"


# One area of a split heap looks right in itself, but is not all of it.
def test_an_area_that_is_not_the_whole_heap_is_rejected():
    layout = _layout()
    layout.length //= 2
    layout.end = layout.pool + 4 * layout.length * layout.block
    layout.port = _Port(read=lambda address: layout.length)
    assert _rejected(layout) == "heap has more than one area"


class _Port:
    WORD = WORD

    def __init__(self, regions=unix_heap.regions, read=unix_heap.read, view=unix_heap.view):
        self.regions = regions
        self.read = read
        self.view = view
        self.collect = unix_heap.collect


def _fails():
    raise OSError(2)


def _breaks():
    raise ValueError("broken")


def _reason(port):
    table = open_table(port)
    assert not table.exact
    assert table.counts[0] > 0
    return table.reason


def test_where_the_heap_cannot_be_read_the_table_says_why_and_estimates():
    assert "no access" in _reason(None)
    assert _reason(_Port(regions=_fails)) == "no heap state found"
    assert _reason(_Port(regions=lambda: ())) == "no heap state found"
    assert _reason(_Port(regions=_breaks)) == "ValueError broken"
    low = unix_heap.regions()[0][0]
    assert _reason(_Port(regions=lambda: ((low, low + 256),))) == "no heap state found"
    table = open_table(unix_heap, force_fallback=True)
    assert not table.exact and table.reason == "forced"


# A region that ends one word behind what is being looked for: nothing behind it is read.
def test_no_search_reads_past_a_regions_end():
    low, high = unix_heap.regions()[0]
    area = 0
    for twin in (twin_named(), frames_plain):
        area = twin.scan(unix_heap, low, high, id([1]), 16 * WORD)
        assert area
        # the area just fits, then it does not
        assert twin.scan(unix_heap, low, area + 7 * WORD, id([1]), 16 * WORD) == area
        assert twin.scan(unix_heap, low, area + 5 * WORD, id([1]), 16 * WORD) == 0
        # the very end of the mapping can be looked at
        twin.scan(unix_heap, high - 100 * WORD, high, 1, 16 * WORD)


def test_a_layout_is_what_it_was_given():
    layout = Layout(unix_heap, 1, 2, 3, 4, 5, 6, 7)
    assert layout.high_word == 6 + WORD
    assert layout.block == 4 * WORD


# As it does where an agent could not tidy up behind itself.
def test_the_heap_is_found_with_a_guests_gc_in_its_place():
    real = sys.modules.get("gc")  # nothing, where nobody has been in its place yet
    sys.modules["gc"] = GuestCollector(None)
    for name in ("house.heapmap", "house.audit"):
        if name in sys.modules:
            modules.drop(sys.modules[name])
    try:
        table = open_table(unix_heap)
        assert table.exact, table.reason
        assert open_table(unix_heap, force_fallback=True).total > 0
    finally:
        del sys.modules["gc"]
        if real:
            sys.modules["gc"] = real
