# CPU policy: what an instance may use and when. No mechanism, no port, no clock of its own;
# runs under CPython as it is.
#
# Times: `now` is milliseconds of a counter that wraps (ticks_ms), used time is microseconds.

from time import ticks_add, ticks_diff

from micropython import const

UNLIMITED = const(-1)


# The limit: `max_us` of CPU in each period. Time used beyond the budget is carried as
# debt into the next periods, so the long-run share never exceeds the limit. In a window
# of w periods an instance gets at most w + 1 budgets and one slice with its kill latency.
class Limit:
    def __init__(self, max_us, period_ms, now):
        self.set(max_us, period_ms, now)

    def set(self, max_us, period_ms, now):
        self.max_us = UNLIMITED if max_us is None else max_us
        self.period_ms = period_ms
        self.left = self.max_us
        self.start = now

    # Begins every period that is due. Called before each decision, and once a second for
    # an instance that sleeps, so that the counter's wrap is never in sight.
    def roll(self, now):
        if self.max_us < 0:
            return
        n = ticks_diff(now, self.start) // self.period_ms
        if n <= 0:
            return
        self.start = ticks_add(self.start, n * self.period_ms)
        left = self.left + n * self.max_us
        self.left = self.max_us if left > self.max_us else left

    def charge(self, us):
        self.left -= us

    def exhausted(self):
        return self.left <= 0 and self.max_us >= 0

    # When the budget is positive again, in ms of the counter.
    def refill_at(self):
        periods = 1
        if self.max_us > 0:
            periods = -self.left // self.max_us + 1
        return ticks_add(self.start, periods * self.period_ms)


# The reservation: `min_us` of CPU in each period of the server, served before everything
# that is not reserved, earliest deadline first. A constant-bandwidth server: an instance
# that wakes with its budget used up waits for the next period like the others.
class Reservation:
    def __init__(self, min_us, period_ms, now):
        self.set(min_us, period_ms, now)

    def set(self, min_us, period_ms, now):
        self.min_us = 0 if min_us is None else min_us
        self.period_ms = period_ms
        self.left = self.min_us
        self.deadline = ticks_add(now, period_ms)

    # Whether the instance may be served before the others now.
    def eligible(self, now):
        if self.min_us == 0:
            return False
        if ticks_diff(now, self.deadline) >= 0:
            self.deadline = ticks_add(now, self.period_ms)
            self.left = self.min_us
        return self.left > 0

    def charge(self, us):
        self.left -= us
