# The estimate that stands in for the frame table where the heap cannot be read.
#
# All that stock firmware tells is how much of the heap is in use, by a walk over all of
# it. So the heap is measured now and then, before and after one slice, at a bounded part
# of the time. A measured slice's growth is its owner's for certain, and gives the
# owner's rate; growth that was not watched is shared out by slices and rates. What a
# collection frees is taken off those who grew since the last one, in proportion. A
# guest that makes much garbage therefore covers up a little for one that hoards, and
# the figures are called estimates everywhere.

import gc
import sys
import time
from array import array

from micropython import const

from .wire import AGENT

# Measuring takes at most one part in this many of the time.
_BUDGET = const(50)
_SHORTEST_PAUSE_US = const(5000)
# Blocks as in the exact table, so that figures mean the same on both.
_BLOCK = 32 if sys.maxsize > 0x7FFFFFFF else 16
# Rates are kept in 1/16 blocks a slice, smoothed over about 4 samples.
_RATE_UNIT = const(16)


class AuditTable:
    exact = False

    def __init__(self, reason, owners):
        self.reason = reason
        self.block = _BLOCK
        self.counts = array("i", [0] * owners)
        self.allocated = array("i", [0] * owners)
        self._slices = array("i", [0] * owners)
        self._rates = array("i", [0] * owners)
        self._watching = False
        start = time.ticks_us()
        used = gc.mem_alloc() // _BLOCK
        self._set_pause(start)
        self.total = used + gc.mem_free() // _BLOCK
        self.counts[0] = used
        self.counts[AGENT] = used

    def _set_pause(self, start):
        now = time.ticks_us()
        # two measurements a sample
        pause = 2 * _BUDGET * time.ticks_diff(now, start)
        self._due = time.ticks_add(now, max(pause, _SHORTEST_PAUSE_US))

    @property
    def free_blocks(self):
        return self.total - self.counts[0]

    # Called before and after each slice, as on the exact table.
    def sync(self, owner):
        self._slices[owner] += 1
        if self._watching:
            # since the measurement before, only this owner ran
            start = time.ticks_us()
            grown = self._measure()
            self._add(owner, grown)
            rates = self._rates
            rates[owner] += (max(grown, 0) * _RATE_UNIT - rates[owner]) >> 2
            self._slices[owner] = 0
            self._watching = False
            self._set_pause(start)
        elif owner == AGENT and time.ticks_diff(time.ticks_us(), self._due) >= 0:
            # a slice begins: the next call ends it
            self._share_out(self._measure())
            self._watching = True
        return self.counts[owner]

    # Growth of the heap since the last time, in blocks.
    def _measure(self):
        used = gc.mem_alloc() // _BLOCK
        grown = used - self.counts[0]
        self.counts[0] = used
        return grown

    def _add(self, owner, blocks):
        self.counts[owner] += blocks
        if blocks > 0:
            self.allocated[owner] += blocks

    # Shares growth that nobody watched: by slices times rate, the rest to the agent.
    def _share_out(self, grown):
        slices = self._slices
        rates = self._rates
        weight = 0
        for owner in range(1, len(slices)):
            weight += slices[owner] * rates[owner]
        left = grown
        for owner in range(1, len(slices)):
            if weight:
                part = grown * (slices[owner] * rates[owner]) // weight
                self._add(owner, part)
                left -= part
            slices[owner] = 0
        self._add(AGENT, left)
        self._settle()

    # Nobody owns less than nothing: what shrinking took too much, the others give.
    def _settle(self):
        counts = self.counts
        for owner in range(1, len(counts)):
            if counts[owner] < 0:
                debt = -counts[owner]
                counts[owner] = 0
                while debt:
                    largest = AGENT
                    for other in range(1, len(counts)):
                        if counts[other] > counts[largest]:
                            largest = other
                    part = min(debt, counts[largest])
                    if not part:
                        break
                    counts[largest] -= part
                    debt -= part

    def collect(self, owner=AGENT):
        self._watching = False
        self._slices[owner] += 1
        self._share_out(self._measure())
        gc.collect()
        freed = -self._measure()
        allocated = self.allocated
        counts = self.counts
        weight = 0
        for index in range(1, len(counts)):
            weight += allocated[index]
        left = freed
        for index in range(1, len(counts)):
            if weight:
                part = freed * allocated[index] // weight
                counts[index] -= part
                left -= part
            allocated[index] = 0
        counts[AGENT] -= left
        self._settle()

    # The sum is right by construction; whose it is, is not known.
    def check(self):
        self._share_out(self._measure())
        return True

    def forget(self, owner):
        blocks = self.counts[owner]
        self.counts[AGENT] += blocks
        self.counts[owner] = 0
        self.allocated[owner] = 0
        self._rates[owner] = 0
        self._slices[owner] = 0
        return blocks

    # No view of the heap: nothing to keep back, no runs and no owners to see.
    def cap(self, blocks):
        pass

    def uncap(self):
        pass

    def largest_free(self):
        return 0

    def owner_of(self, thing):
        return 0
