# An instance's meter: every number that a slice changes, in one array of words, so that one call
# into machine code bills a slice.
#
# The first two words are its account of CPU time (clock.py), the next its limit and its
# reservation (cpu.py).

from time import ticks_us

import micropython
from micropython import const

_S = const(0)
_US = const(1)
_LEFT = const(2)  # in the limit's bucket, us
_MAX = const(3)  # negative: no limit
_PERIOD = const(4)  # ms
_START = const(5)  # ms until which the bucket was filled
_REST = const(6)  # of a us that is not in it yet, in parts of a period
_MIN_LEFT = const(7)  # of the reservation in this period, us
SLICES = const(8)
LONGEST = const(9)  # us
WAITED = const(10)  # us runnable and not running, in this summary period
SINCE = const(11)  # ticks_us when it became runnable
VTIME = const(12)  # us for a weight of 100
WEIGHT = const(13)
OWNER = const(14)  # in the frame table
BLOCKS_MAX = const(15)  # blocks above which somebody looks
PEAK = const(16)  # blocks
_VREST = const(17)  # of a us of virtual time, in parts of the weight
RESERVES = const(18)  # it has a reservation
WOKE = const(19)  # its next slice is the first since it woke
WAKEUPS = const(20)  # the first of a histogram of the waits of such slices
# Blocks of its event loop, of its code, and those that its runs have left behind for ever.
LOOP = const(32)
CODE = const(33)
STRAYS = const(34)
LIMIT = const(35)  # of its memory, in blocks
SAID = const(36)  # records that the line has not been billed for
WORDS = const(37)

# Waits below 128 us, below 256 us and so on; the last bucket takes the rest.
_WAKEUP_SHIFT = const(7)
_LAST_WAKEUP = const(31)

NO_BLOCKS_MAX = const(0x3FFFFFFF)

# What all instances share.
NOW = const(0)  # ticks_us at the last boundary
ELAPSED = const(1)  # us of wall time that the last stretch took
LAST_VTIME = const(2)  # of the last slice by weight: where one that wakes begins
HIGH = const(3)  # blocks in use above which the heap is collected
AGENT_US = const(4)  # of the agent before slices, since billing took it; ports/rp2.py adds to it
USED = const(5)  # us billed for the last slice
SLICE_WAITED = const(6)  # us that it had waited
SHARED = const(7)

_MILLION = const(1000000)
_MASK = const(0x3FFFFFFF)


# Bills `used` us to an instance that has just run until shared[NOW], at `ms` of the other clock.
# Where one clock tells all, `used` is negative and the stretch ends here. Returns whether there is
# more to say than that: its budget is used up, it has a reservation, it holds more than it may, or
# the heap wants collecting.
#
# An instance with budget left in its reservation was served from that, and from nothing else.
#
# Where integers have 64 bits, a negative word is read as one beyond 2**31: bit 31 is its sign.
@micropython.viper
def charge(meter, shared, counts, used: int, ms: int) -> int:
    m = ptr32(meter)
    common = ptr32(shared)
    blocks = ptr32(counts)
    if used < 0:
        now = int(ticks_us()) & _MASK  # type: ignore[call-overload]
        used = (now - int(common[NOW])) & _MASK
        common[ELAPSED] = used
        common[NOW] = now
    us = int(m[_US]) + used
    while us >= _MILLION:
        us -= _MILLION
        m[_S] = int(m[_S]) + 1
    m[_US] = us
    m[SLICES] = int(m[SLICES]) + 1
    if used > int(m[LONGEST]):
        m[LONGEST] = used
    now = int(common[NOW])
    elapsed = int(common[ELAPSED])
    waited = (now - elapsed - int(m[SINCE])) & _MASK
    common[SLICE_WAITED] = waited
    common[USED] = used
    m[WAITED] = int(m[WAITED]) + waited
    if int(m[WOKE]) != 0:
        m[WOKE] = 0
        bucket = WAKEUPS
        waited >>= _WAKEUP_SHIFT
        while waited != 0 and bucket < _LAST_WAKEUP:
            waited >>= 1
            bucket += 1
        m[bucket] = int(m[bucket]) + 1
    m[SINCE] = now
    more = int(m[RESERVES])
    left = int(m[_MIN_LEFT])
    if left > 0 and left >> 31 == 0:
        m[_MIN_LEFT] = left - used
    else:
        weight = int(m[WEIGHT])
        parts = used * 100 + int(m[_VREST])
        vtime = int(m[VTIME]) + parts // weight
        m[_VREST] = parts % weight
        m[VTIME] = vtime
        common[LAST_VTIME] = vtime
    most = int(m[_MAX])
    if most >= 0 and most >> 31 == 0:
        left = int(m[_LEFT])
        if left > 0 and left >> 31 != 0:
            left -= left >> 31 << 16 << 16
        passed = (ms - int(m[_START])) & _MASK
        if passed > 0 and passed < 0x20000000:
            period = int(m[_PERIOD])
            m[_START] = (int(m[_START]) + passed) & _MASK
            left += passed // period * most
            passed = passed % period
            rest = passed * (most % period) + int(m[_REST])
            left += passed * (most // period) + rest // period
            rest = rest % period
            # What came in before the slice did not fit into a full bucket, and pays for nothing.
            during = elapsed if elapsed < _MILLION else _MILLION
            most += during * (most // period) // 1000
            if left >= most:
                left = most
                rest = 0
            m[_REST] = rest
        left -= used
        m[_LEFT] = left
        if left <= 0:
            more = 1
    held = int(blocks[int(m[OWNER])])
    if held > int(m[PEAK]):
        m[PEAK] = held
    if held > int(m[BLOCKS_MAX]) or int(blocks[0]) > int(common[HIGH]):
        more = 1
    return more
