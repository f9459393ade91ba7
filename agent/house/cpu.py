# CPU policy: what an instance may use and when. No mechanism, no port, no clock of its own;
# runs under CPython as it is.
#
# Times: `now` is milliseconds of a counter that wraps (ticks_ms), used time is microseconds.

from array import array
from time import ticks_add, ticks_diff

from micropython import const

# Both keep their numbers in an array of words, which may be an instance's meter: meter.py charges
# a slice to all of them in one go, and knows these places as well.
_LEFT = const(2)
_MAX = const(3)
_PERIOD = const(4)
_START = const(5)
_MIN_LEFT = const(6)
_MIN = const(7)
_WORDS = const(8)

UNLIMITED = const(-1)


# The limit: `max_us` of CPU in each period. Time used beyond the budget is carried as
# debt into the next periods, so the long-run share never exceeds the limit. In a window
# of w periods an instance gets at most w + 1 budgets and one slice with its kill latency.
class Limit:
    def __init__(self, max_us, period_ms, now, words=None):
        self.words = words or array("i", [0] * _WORDS)
        self.set(max_us, period_ms, now)

    def set(self, max_us, period_ms, now):
        words = self.words
        words[_LEFT] = words[_MAX] = UNLIMITED if max_us is None else max_us
        words[_PERIOD] = period_ms
        words[_START] = now

    @property
    def max_us(self):
        return self.words[_MAX]

    @property
    def left(self):
        return self.words[_LEFT]

    # Begins every period that is due. Called before each decision, and once a second for
    # an instance that sleeps, so that the counter's wrap is never in sight.
    def roll(self, now):
        words = self.words
        most = words[_MAX]
        if most < 0:
            return
        period = words[_PERIOD]
        n = ticks_diff(now, words[_START]) // period
        if n <= 0:
            return
        words[_START] = ticks_add(words[_START], n * period)  # type: ignore[type-var]
        words[_LEFT] = min(most, words[_LEFT] + n * most)

    def charge(self, us):
        if self.words[_MAX] >= 0:
            self.words[_LEFT] -= us

    def exhausted(self):
        return self.words[_LEFT] <= 0 and self.words[_MAX] >= 0

    # When the budget is positive again, in ms of the counter.
    def refill_at(self):
        words = self.words
        periods = 1
        if words[_MAX] > 0:
            periods = -words[_LEFT] // words[_MAX] + 1
        return ticks_add(words[_START], periods * words[_PERIOD])  # type: ignore[type-var]


# The reservation: `min_us` of CPU in each period of the server, served before everything
# that is not reserved, earliest deadline first. A constant-bandwidth server: an instance
# that wakes with its budget used up waits for the next period like the others.
class Reservation:
    def __init__(self, min_us, period_ms, now, words=None):
        self.words = words or array("i", [0] * _WORDS)
        self.set(min_us, period_ms, now)

    def set(self, min_us, period_ms, now):
        words = self.words
        words[_MIN] = words[_MIN_LEFT] = 0 if min_us is None else min_us
        self.period_ms = period_ms
        self.deadline = ticks_add(now, period_ms)

    @property
    def left(self):
        return self.words[_MIN_LEFT]

    # Whether the instance may be served before the others now.
    def eligible(self, now):
        words = self.words
        if words[_MIN] == 0:
            return False
        if ticks_diff(now, self.deadline) >= 0:
            self.deadline = ticks_add(now, self.period_ms)
            words[_MIN_LEFT] = words[_MIN]
        return words[_MIN_LEFT] > 0

    def charge(self, us):
        self.words[_MIN_LEFT] -= us
