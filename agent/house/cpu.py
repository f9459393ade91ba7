# CPU policy: what an instance may use and when. No mechanism, no port, no clock of its own;
# runs under CPython as it is. Decision 20 has the theory.
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
_REST = const(6)
_MIN_LEFT = const(7)
_WORDS = const(8)

_MASK = const(0x3FFFFFFF)

UNLIMITED = const(-1)


# What `us` in each period come to in `ms`, at most a period. In two steps: a product of two of
# these would be no small int.
def _part(us, period, ms):
    return ms * (us // period) + ms * (us % period) // period


# The limit: a bucket of `max_us` that fills by as much in each period, evenly. What a slice takes
# beyond what is there is debt that fills first. So in every window w an instance gets at most
# max * w + max_us and what its last slice overdraws.
#
# Once it is empty an instance waits until there is enough for `max_us` in one go, with what comes
# in meanwhile: one that always has work runs and waits once in each period.
#
# `hold` us are for its reservation and not to be used otherwise: see Reservation.
class Limit:
    def __init__(self, max_us, period_ms, now, words=None):
        self.words = words or array("i", [0] * _WORDS)
        self.set(max_us, period_ms, now)

    def set(self, max_us, period_ms, now, hold=0):
        words = self.words
        words[_LEFT] = words[_MAX] = UNLIMITED if max_us is None else max_us
        words[_PERIOD] = period_ms
        words[_START] = now & _MASK
        words[_REST] = 0
        self.hold = self.enough = 0
        if max_us is not None:
            self.hold = min(hold, max_us - 1)
            self.enough = max(self.hold + 1, max_us - max_us * max_us // (period_ms * 1000))

    @property
    def max_us(self):
        return self.words[_MAX]

    @property
    def left(self):
        return self.words[_LEFT]

    # Fills up to now. Called before each decision, and once a second for an instance that sleeps,
    # so that the counter's wrap is never in sight. meter.charge() does the same.
    def roll(self, now):
        words = self.words
        most = words[_MAX]
        passed = now - words[_START] & _MASK
        if most < 0 or passed == 0 or passed > _MASK >> 1:
            return
        words[_START] = now & _MASK
        period = words[_PERIOD]
        left = words[_LEFT] + passed // period * most
        passed %= period
        rest = passed * (most % period) + words[_REST]
        left += passed * (most // period) + rest // period
        rest %= period
        if left >= most:
            left = most
            rest = 0
        words[_LEFT] = left
        words[_REST] = rest

    def charge(self, us):
        if self.words[_MAX] >= 0:
            self.words[_LEFT] -= us

    def exhausted(self):
        return self.words[_LEFT] <= self.hold and self.words[_MAX] >= 0

    # When there is enough again, in ms of the counter; `now` is that of the last roll.
    def refill_at(self, now):
        words = self.words
        most = words[_MAX]
        period = words[_PERIOD]
        lack = max(0, self.enough - words[_LEFT])
        ms = lack // most * period + 1
        lack %= most
        if lack > 0xFFFF:  # a product with the period would be no small int
            lack >>= 8
            most >>= 8
        return ticks_add(now, ms + lack * period // most)


# The reservation: `min_us` of CPU in each period, served before everything that is not reserved,
# earliest deadline first. A constant-bandwidth server whose budget is hard: with none left its
# instance is served like the others until the deadline, when the next period begins, and what it
# gets by weight is not charged here. A slice beyond the budget is debt, taken off the next ones.
#
# A budget that was not there by its deadline while the instance had work is a breach. Times are
# whole ms of the counter, so one that was late by less than that is not seen.
class Reservation:
    # Of no use to an instance without a reservation, and in the class they take no room there.
    kept = False  # what is left of this budget is promised to nobody: see eligible()
    granted = False  # it was found to have budget: its next slice is served from that
    missing = 0  # us that the last roll found missing
    breaches = 0  # deadlines missed so far
    began = 0  # the period of which they were missing
    dark_us = 0  # the longest blackout of late, its kind, who caused it, when it ended
    dark_kind = 0
    dark_by = 0
    dark_ms = 0
    worst = None  # the worst breach that the host does not know of; see summary.py
    last = None  # what the host was told last
    quiet = False  # it has been told of one in this second

    def __init__(self, min_us, period_ms, now, words=None):
        self.words = words or array("i", [0] * _WORDS)
        self.set(min_us, period_ms, now)

    # A budget begins at once, less what is owed.
    def set(self, min_us, period_ms, now):
        self.min_us = min_us or 0
        self.words[_MIN_LEFT] = self.min_us + min(0, self.words[_MIN_LEFT])
        self.period_ms = period_ms
        self.deadline = ticks_add(now, period_ms)
        self.idle = True  # the instance had nothing to do when it was last looked at

    @property
    def left(self):
        return self.words[_MIN_LEFT]

    # Begins every period that is due. `used` are us of the instance's slice that has just ended.
    def roll(self, now, used=0):
        late = ticks_diff(now, self.deadline)
        if late >= 0:
            least = self.min_us
            periods = late // self.period_ms
            left = self.words[_MIN_LEFT]
            if self.kept:
                self.kept = False
                self.deadline = ticks_add(self.deadline, self.period_ms)
                self.words[_MIN_LEFT] = min(least, left + least)
                self.roll(now, used)
                return
            if not self.idle:
                self.judge(left, late, periods, used)
            self.deadline = ticks_add(self.deadline, (periods + 1) * self.period_ms)
            self.words[_MIN_LEFT] = min(least, left + (periods + 1) * least)

    # A deadline and `periods` more are over. What of the slice came after the first was missing
    # then, and the budgets since are missing as far as they are not debt.
    def judge(self, left, late, periods, used):
        after = left
        if self.granted:
            after += min(used, min(late, self.period_ms) * 1000)
        if after > 0:
            breaches = periods + 1
        else:
            after = left
            breaches = periods - -left // self.min_us
        if breaches > 0:
            self.breach(after + periods * self.min_us, breaches)

    def breach(self, missing, breaches):
        self.missing = missing
        self.breaches += breaches
        self.began = ticks_add(self.deadline, -self.period_ms)

    # The instance has nothing to do after a slice of `used` us: what of that came after the
    # deadline was missing then.
    def rest(self, now, used):
        self.idle = True
        if self.granted and used and not self.kept:
            late = ticks_diff(now, self.deadline)
            if late > 0:
                self.breach(min(used, late * 1000), 1)
        self.granted = False

    # For `us` nothing was dispatched.
    def darken(self, us, kind, by, now):
        began = ticks_add(self.deadline, -self.period_ms)
        if us >= self.dark_us or ticks_diff(self.dark_ms, began) < 0:
            self.dark_us = us
            self.dark_kind = kind
            self.dark_by = by
            self.dark_ms = now

    # Whether the instance, which has work, is served before the others now.
    #
    # One that had none comes with what is left of its budget, unless that were more than its share
    # of the time until the deadline: then a period begins. It ends one ms later, because a part
    # of this ms has passed. What it keeps may come late, because less than a period is left for it;
    # unless its time had come just as the period began. `woke` is when it had work again, which the
    # agent may see late.
    def eligible(self, now, used=0, woke=None):
        least = self.min_us
        if least == 0:
            return False
        if self.idle:
            on_time = woke is not None
            if woke is None:
                woke = now
            self.roll(woke)
            ms = ticks_diff(self.deadline, woke)
            if self.words[_MIN_LEFT] > _part(least, self.period_ms, ms):
                self.deadline = ticks_add(woke, self.period_ms + 1)
                self.words[_MIN_LEFT] = least
                self.kept = False
            else:
                self.kept = ms < self.period_ms or not on_time
            self.idle = False
        self.roll(now, used)
        self.granted = self.words[_MIN_LEFT] > 0
        return self.granted

    # The instance has nothing to do, and the counter must not wrap meanwhile.
    def tend(self, now):
        if self.idle and self.min_us:
            self.roll(now)

    # A step of a load takes what is left of the budget, however long it is: it would be in debt
    # for seconds, and without a budget a neighbour's weight could keep it from ever coming back.
    def forfeit(self):
        self.idle = True
        if self.words[_MIN_LEFT] > 0:
            self.words[_MIN_LEFT] = 0

    def charge(self, us):
        self.words[_MIN_LEFT] -= us

    # When there is budget again, once it is used up, in ms of the counter.
    def refill_at(self):
        periods = -self.words[_MIN_LEFT] // self.min_us
        return ticks_add(self.deadline, periods * self.period_ms)
