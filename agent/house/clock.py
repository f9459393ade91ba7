# Time that neither wraps nor allocates.
#
# A MicroPython small int ends at 2**30 on a 32-bit board: microseconds wrap every
# 17.9 minutes, and a larger integer is an allocation. Time and every account of time
# are therefore pairs (seconds, microseconds below 10**6), good for 34 years.

from array import array

from micropython import const

_MILLION = const(1000000)
_MASK = const(0x3FFFFFFF)

# Differences of raw ticks are taken modulo 2**30, right for a counter that wraps
# at 2**30 (the Pico's ticks_us), at 2**32 (a raw hardware timer) or never, as long as
# two readings are less than 17.9 minutes apart. The agent reads once a second.
TICKS_MASK = _MASK


# An account of time: add() takes 0 to 2**29 microseconds. Its two words may be the first of a
# longer array, so that machine code can add to it (meter.py).
class Account:
    def __init__(self, words=None):
        self.words = words or array("i", (0, 0))

    @property
    def s(self):
        return self.words[0]

    @property
    def us(self):
        return self.words[1]

    def add(self, us):
        words = self.words
        us += words[1]
        while us >= _MILLION:
            us -= _MILLION
            words[0] += 1
        words[1] = us

    def add_account(self, other):
        self.words[0] += other.words[0]
        self.add(other.words[1])


# The board's time since boot. `ticks_us` is injected, so that tests can wrap it at will.
class Clock:
    def __init__(self, ticks_us):
        self.ticks_us = ticks_us
        self.last = ticks_us() & _MASK
        self.s = 0
        self.us = 0

    # Reads the ticks and moves the time on; returns the raw ticks.
    def advance(self):
        now = self.ticks_us() & _MASK
        us = self.us + ((now - self.last) & _MASK)
        self.last = now
        while us >= _MILLION:
            us -= _MILLION
            self.s += 1
        self.us = us
        return now
