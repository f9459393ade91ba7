# The estimate that stands in for the frame table where the heap cannot be read.
#
# All that stock firmware tells is how much of the heap is in use, by a walk over all of
# it. So now and then, for a bounded part of the time, one slice is put between two
# collections: what the heap has grown by, that guest keeps. Between samples the growth
# of live data is shared out by slices and by what the samples said. A guest that makes
# much garbage is not taken for one that hoards, but the figures lag behind, and a burst
# between samples is charged to whoever looked likely: they are estimates, and are called
# so everywhere.
#
# Nothing here depends on automatic collection being off.

import sys
import time
from array import array

from micropython import const

from .frames import gc  # the module itself, not what stands for it
from .wire import AGENT

# Samples take at most one part in this many of the time.
_BUDGET = const(50)
_SHORTEST_PAUSE_US = const(5000)
# Blocks as in the exact table, so that figures mean the same on both.
_BLOCK = 32 if sys.maxsize > 0x7FFFFFFF else 16
# Rates are kept in 1/256 blocks a slice, as a mean of about the last 64 samples: guests
# that grow step by step and shrink at once show only in many.
_RATE_UNIT = const(256)
_SAMPLES = const(64)


# Answers to all that FrameTable does. Here counts[owner] is live data as estimated at the
# last collection or sample, and counts[0] the heap's use then.
class AuditTable:
    exact = False

    def __init__(self, reason, owners):
        self.reason = reason
        self.checked = (0, 0)
        self.block = _BLOCK
        self.counts = array("i", [0] * owners)
        self.allocated = array("i", [0] * owners)
        self._slices = array("i", [0] * owners)
        self._rates = array("i", [0] * owners)
        self._samples = array("i", [0] * owners)
        self._watching = False
        self._ended = 0  # blocks of guests that were forgotten and not yet collected
        start = time.ticks_us()
        gc.collect()
        used = gc.mem_alloc() // _BLOCK
        self._cost = time.ticks_diff(time.ticks_us(), start)
        self._pause()
        self.total = used + gc.mem_free() // _BLOCK
        self.counts[0] = used
        self.counts[AGENT] = used

    # Two collections a sample.
    def _pause(self):
        pause = max(2 * _BUDGET * self._cost, _SHORTEST_PAUSE_US)
        self._due = time.ticks_add(time.ticks_us(), pause)

    @property
    def free_blocks(self):
        return self.total - self.counts[0]

    # Called before each slice for the agent and after it for the guest, as on the exact
    # table.
    def sync(self, owner):
        if owner == AGENT:
            if time.ticks_diff(time.ticks_us(), self._due) >= 0:
                # from here as at the end of the sample: a caller's frame may lie on the heap
                self._share_out(self._live())
                self._watching = True
            else:
                self._watching = False
        elif self._watching:
            self._watching = False
            grown = gc.mem_alloc() // _BLOCK - self.counts[0]
            self.allocated[owner] += max(grown, 0)
            kept = self._live()
            self.counts[owner] += kept
            self._samples[owner] = samples = min(self._samples[owner] + 1, _SAMPLES)
            self._rates[owner] += (kept * _RATE_UNIT - self._rates[owner]) // samples
            self._settle()
            self._pause()
        else:
            self._slices[owner] += 1
        return self.counts[owner]

    # Collects; growth of live data since the last collection, in blocks.
    def _live(self):
        start = time.ticks_us()
        gc.collect()
        used = gc.mem_alloc() // _BLOCK
        self._cost = time.ticks_diff(time.ticks_us(), start)
        grown = used - self.counts[0]
        self.counts[0] = used
        return grown

    def collect(self, owner=AGENT):
        self._watching = False
        self._share_out(self._live())

    def _share_out(self, grown):
        counts = self.counts
        slices = self._slices
        rates = self._rates
        if grown < 0:
            # what ended guests left, and went now, was the agent's for the time being
            gone = min(self._ended, -grown)
            counts[AGENT] -= gone
            grown += gone
            self._ended = 0
        sign = 1 if grown > 0 else -1
        weight = 0
        for index in range(1, len(slices)):
            weight += max(sign * slices[index] * rates[index], 0)
        left = grown
        for index in range(1, len(slices)):
            if weight:
                part = grown * max(sign * slices[index] * rates[index], 0) // weight
                counts[index] += part
                left -= part
            slices[index] = 0
            self.allocated[index] = 0
        counts[AGENT] += left
        self._settle()

    # Nobody owns less than nothing: what was taken too much, the largest give.
    def _settle(self):
        counts = self.counts
        for owner in range(1, len(counts)):
            while counts[owner] < 0:
                largest = AGENT
                for other in range(1, len(counts)):
                    if counts[other] > counts[largest]:
                        largest = other
                part = min(-counts[owner], counts[largest])
                if part <= 0:
                    counts[owner] = 0
                else:
                    counts[largest] -= part
                    counts[owner] += part

    # The sum is right by construction; whose it is, nobody knows for certain.
    def check(self):
        return True

    # Whose it is then, nobody can tell from here: the agent's.
    def forget(self, owner, heir=AGENT):
        blocks = self.counts[owner]
        self.counts[AGENT] += blocks
        self._ended += blocks
        self.counts[owner] = 0
        self.allocated[owner] = 0
        self._rates[owner] = 0
        self._samples[owner] = 0
        self._slices[owner] = 0
        return blocks

    # No view of the heap: nothing to keep back, no runs and no owners to see.
    def keep_back(self, reserve, slack):
        pass

    def cap(self, words):
        pass

    def uncap(self):
        pass

    def capped(self):
        return False

    def largest_free(self):
        return 0

    def owner_of(self, thing):
        return 0


# Puts an estimate in the place of a table that was found wrong, with its figures to begin with.
def take_over(kernel, reason):
    old = kernel.table
    table = AuditTable(reason, len(old.counts))
    counts = table.counts
    for owner in range(AGENT + 1, len(counts)):
        counts[owner] = old.counts[owner]
        counts[AGENT] -= old.counts[owner]
    table._settle()
    kernel.table = table
    gc.enable()  # the estimate has no use for planned collections
