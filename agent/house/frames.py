# The frame table: who owns each block of the heap, exact to the block.
#
# Beside the collector's allocation table stands a shadow, the table as it was at
# the last sync, and an owner of 4 bits for each block. A sync compares the two:
# blocks that appeared belong to whoever ran since the last sync, blocks that went
# are taken off their owners. What one slice allocates and frees again leaves no
# trace and costs nobody anything.
#
# What the accounting rests on, and the kernel must keep:
# - Between sync(AGENT) and the guest's send, and between its return and
#   sync(guest), the agent neither allocates nor frees.
# - Collections happen through collect() only, and automatic collection is off: a
#   block that is freed and taken again between two syncs keeps its former owner.
# - sync() and all the rest are called by the agent, outside of guests' slices;
#   GuestCollector says how a guest's own gc.collect() is let in.

import gc
from array import array

from micropython import const

from . import modules
from .wire import AGENT

OWNERS = 16
NOBODY = 0  # owns the free blocks

# Owners lie in groups of 16 bits, one for the four blocks of a byte in the table. A
# word in front stands for the block before the first, and keeps the groups aligned
# for code that reads words.
OWNERS_PAD = 4
_ALIGN = const(8)  # the sync compares this many table bytes at a time
WORDS_PER_BLOCK = 4


class HeapUnknown(Exception):
    pass


# Addresses unless said otherwise: `table` of 2 bits a block with `length` bytes,
# `pool` to `end` with blocks of `block` bytes, the word with the table's length,
# the word with the lowest table byte that may be free (behind it the one with the
# highest block in use), and the word that counts blocks handed out.
class Layout:
    def __init__(self, port, table, length, pool, end, length_word, low_word, clock_word):
        self.port = port
        self.block = WORDS_PER_BLOCK * port.WORD
        self.table = table
        self.length = length
        self.pool = pool
        self.end = end
        self.length_word = length_word
        self.low_word = low_word
        self.high_word = low_word + port.WORD
        self.clock_word = clock_word


# What both twins share: they differ in _setup() and in how the table is walked.
#
#   block           bytes in a block
#   total           blocks in the heap
#   counts[owner]   blocks charged to owner, live or garbage; counts[0] is the sum
#   allocated[owner]  blocks handed out while owner ran, since the last collection
#   sync(owner)     charges what appeared since the last sync; returns owner's count.
#                   Allocates nothing.
#   keep_back(reserve, slack)  how many blocks the next two are about
#   cap(words)      keeps the highest `reserve` blocks of the heap, as far as they are free,
#                   from the guest whose meter this is, until uncap(); and lets it take no more
#                   than `slack` beyond its limit, as far as there are no holes. Both allocate
#                   nothing.
#   capped()        whether that is so now
#   forget(owner, heir)  hands what is left of an ended guest to another; returns the blocks
#   largest_free()  blocks in the longest run of free ones
#   owner_of(thing) who is charged for the object
class FrameTable:
    exact = True

    def __init__(self, layout, owners=OWNERS):
        if not AGENT < owners <= OWNERS:
            raise ValueError("an owner has 4 bits")
        self.reason = ""
        self.checked = (0, 0)  # bytes of all owners and of the heap, at the last check
        self.layout = layout
        self.block = layout.block
        self.total = 4 * layout.length
        self.counts = array("i", [0] * owners)
        self.allocated = array("i", [0] * owners)
        port = layout.port
        self._word = port.WORD
        # Live memory: the collector's table, the highest block in use, the allocation clock
        # and the table's length.
        self._table = port.view(layout.table, layout.length)
        self._high = port.view(layout.high_word, port.WORD)
        self._clock = port.view(layout.clock_word, port.WORD)
        self._length = port.view(layout.length_word, port.WORD)
        groups = (layout.length + _ALIGN - 1) // _ALIGN * _ALIGN
        self._shadow = bytearray(groups)
        self._owners = bytearray(OWNERS_PAD + 2 * groups)
        self._setup()
        self.sync(AGENT)

    @property
    def free_blocks(self):
        return self.total - self.counts[0]

    # Collects garbage. `owner` is charged for what appeared since the last sync: the agent
    # between slices, the guest itself where its own call ends up here.
    def collect(self, owner=AGENT):
        self.sync(owner)
        self._rescan()
        self.layout.port.collect()
        self.sync(owner)
        allocated = self.allocated
        for index in range(len(allocated)):
            allocated[index] = 0

    # Whether the owners' sum is what the collector says. If not, something collected or
    # allocated behind the table's back (another heap area, say), and nothing is exact
    # from here on. It walks the whole heap: for now and then, not for every slice.
    def check(self):
        self.uncap()
        self.sync(AGENT)
        used = gc.mem_alloc()
        counts = self.counts
        blocks = 0
        for index in range(1, len(counts)):
            blocks += counts[index]
        self.checked = (blocks * self.block, used)
        if blocks == counts[0] and blocks * self.block == used:
            return True
        self.exact = False
        self.reason = "owners' sum %d, heap %d bytes" % (blocks * self.block, used)
        return False

    def owner_of(self, thing):
        number = (id(thing) - self.layout.pool) // self.block
        pair = self._owners[OWNERS_PAD + number // 2]
        return pair >> 4 if number & 1 else pair & 15

    def _setup(self):
        raise NotImplementedError

    # Makes the next sync look at the whole table, as a collection changes it anywhere.
    def _rescan(self):
        raise NotImplementedError

    def sync(self, owner):
        raise NotImplementedError

    def cap(self, blocks):
        raise NotImplementedError

    def uncap(self):
        raise NotImplementedError

    def forget(self, owner, heir=AGENT):
        raise NotImplementedError

    def largest_free(self):
        raise NotImplementedError


# The exact table where this interpreter's heap can be read and proves to be what it
# seems, else the estimate, which says why. Never raises.
def open_table(port, force_fallback=False, owners=OWNERS):
    reason = "forced"
    if not force_fallback:
        try:
            table = exact_table(port, owners)
            if table.check():
                return table
            reason = table.reason
            table = None
        except HeapUnknown as error:
            reason = error.args[0]
        except Exception as error:  # whatever a port that nobody tried comes up with
            reason = "%s %s" % (type(error).__name__, error)
    from .audit import AuditTable

    return AuditTable(reason, owners)


# Raises HeapUnknown.
def exact_table(port, owners=OWNERS, sync=None):
    if port is None:
        raise HeapUnknown("no access to the heap on this port")
    twin = twin_named(sync)
    from . import heapmap

    try:
        layout = heapmap.find_heap(port, twin.scan)
    finally:
        modules.drop(heapmap)
    return twin.Table(layout, owners)


# The module that walks the table: "viper", "plain", or None for the fastest that this
# interpreter has. Without a native code generator viper does not compile.
def twin_named(name=None):
    if name != "plain":
        try:
            from . import frames_viper

            return frames_viper
        except (SyntaxError, ImportError):
            if name:
                raise
    from . import frames_plain

    return frames_plain
