# The CPU policy's promises, on a clock that the test turns.

from array import array
from time import ticks_add, ticks_ms

from house import meter
from house.cpu import Limit, Reservation


# Runs an instance that always has work, in slices of slice_us, for `ms`; returns us used.
def _greedy(limit, slice_us, ms, now=0):
    used = 0
    passed = 0  # us
    while passed < ms * 1000:
        limit.roll(ticks_add(now, passed // 1000))
        if limit.exhausted():
            passed += 1000
        else:
            limit.charge(slice_us)
            used += slice_us
            passed += slice_us
    return used


def test_the_long_run_share_is_the_limit_whatever_the_slices():
    for slice_us in (50, 700, 5000, 9999):
        limit = Limit(20000, 100, 0)
        used = _greedy(limit, slice_us, 10000)
        assert abs(used - 2000000) <= 20000 + slice_us, (slice_us, used)


def test_an_overdraft_is_paid_back():
    limit = Limit(10000, 100, 0)
    limit.charge(35000)
    for now, left in ((0, -25000), (100, -15000), (133, -11700), (250, 0), (251, 100)):
        limit.roll(now)
        assert limit.left == left, (now, limit.left)
        assert limit.exhausted() is (left <= 0), now


def test_refill_comes_when_a_budget_can_be_used_in_one_go():
    limit = Limit(10000, 100, 0)
    for us in (10000, 25000, 123456):
        limit.charge(us)
        now = 0
        at = limit.refill_at(now)
        # what is there when it comes, and what comes in until that is used up
        due = (9000 - limit.left) // 100
        assert due <= at <= due + 1, (us, limit.left, at)
        limit.set(10000, 100, 0)


def test_what_fills_the_limit_is_not_lost_in_rounding():
    for most, period in ((1, 10000), (7, 3), (33333, 100), (9999999, 10000)):
        limit = Limit(most, period, 0)
        limit.charge(most)
        for now in range(1, period + 1):
            limit.roll(now)
            assert limit.left == most * now // period, (most, period, now)


def test_what_is_held_for_a_reservation_is_not_used_otherwise():
    limit = Limit(10000, 100, 0)
    limit.set(10000, 100, 0, 4000)
    limit.charge(6000)
    assert limit.exhausted()
    limit.roll(1)
    assert not limit.exhausted()


def test_budgets_do_not_pile_up():
    limit = Limit(10000, 100, 0)
    limit.roll(100000)
    assert limit.left == 10000


def test_no_limit_is_never_exhausted():
    limit = Limit(None, 100, 0)
    limit.charge(10**9)
    limit.roll(5)
    assert not limit.exhausted()


def test_the_limit_holds_across_the_wrap_of_the_ms_counter():
    top = ticks_add(0, -1)  # the last value before the wrap
    limit = Limit(20000, 100, ticks_add(top, -5000))
    used = _greedy(limit, 700, 10000, ticks_add(top, -5000))
    assert abs(used - 2000000) <= 20700, used


# A server that has had work from its first deadline on, and none of it done.
def _busy(min_us=1000, period=10, now=0):
    server = Reservation(min_us, period, now)
    server.eligible(now)
    return server


def test_a_reservation_is_refilled_once_a_period():
    server = _busy()
    end = server.deadline
    server.charge(1000)
    assert not server.eligible(end - 1)
    assert server.eligible(end)
    assert server.left == 1000 and server.deadline == end + 10


def test_what_a_slice_overdraws_is_taken_off_the_next_budgets():
    server = _busy()
    end = server.deadline
    server.charge(2500)
    assert server.refill_at() == end + 10
    assert not server.eligible(end)
    assert server.left == -500
    assert server.eligible(end + 10)
    assert server.left == 500


def test_a_budget_that_was_not_used_is_not_saved():
    server = _busy()
    assert server.eligible(1000)
    assert server.left == 1000


def test_one_that_wakes_late_in_its_period_has_no_more_than_its_share():
    server = _busy()
    end = server.deadline
    server.charge(500)
    server.idle = True
    # more than the share of what is left of the period: another begins
    assert server.eligible(end - 4)
    assert server.left == 1000 and server.deadline == end - 4 + 11
    server = _busy()
    server.charge(500)
    server.idle = True
    # no more: it goes on with what it had
    assert server.eligible(end - 6)
    assert server.left == 500 and server.deadline == end


def test_a_budget_used_up_does_not_come_back_by_sleeping():
    server = _busy()
    end = server.deadline
    server.charge(1200)
    server.idle = True
    assert not server.eligible(end - 1)
    assert server.eligible(end)
    assert server.left == 800


def test_a_changed_reservation_keeps_its_debt():
    server = _busy()
    server.charge(3000)
    server.set(1000, 10, 5)
    assert server.left == -1000


def test_reservations_hold_across_the_wrap_of_the_ms_counter():
    now = ticks_add(0, -25)
    server = _busy(1000, 10, now)
    for _ in range(6):
        server.charge(1000)
        assert not server.eligible(ticks_add(server.deadline, -1))
        assert server.eligible(server.deadline)


def test_nothing_reserved_is_never_eligible():
    assert not Reservation(None, 10, 0).eligible(0)


# A meter of a guest that has used 3 ms of its budget of 1 ms, from its limit and its reservation.
def _in_debt():
    words = array("i", [0] * meter.WORDS)
    limit = Limit(1000, 100, ticks_ms(), words)
    server = Reservation(1000, 100, ticks_ms(), words)
    limit.charge(3000)
    server.charge(3000)
    words[meter.WEIGHT] = 100
    words[meter.BLOCKS_MAX] = meter.NO_BLOCKS_MAX
    return words, limit, server


# Machine code reads words without their sign where integers have 64 bits.
def test_a_slice_finds_the_debt_of_the_ones_before():
    words, limit, server = _in_debt()
    shared = array("i", [0] * meter.SHARED)
    shared[meter.HIGH] = meter.NO_BLOCKS_MAX
    assert meter.charge(words, shared, array("i", [0]), 500, ticks_ms())
    assert server.left == -2000, server.left  # it was served by weight
    assert words[meter.VTIME] == 500
    assert -2500 <= limit.left < -2400, limit.left


def test_a_slice_without_a_limit_is_charged_to_none():
    words = _in_debt()[0]
    limit = Limit(None, 100, ticks_ms(), words)
    shared = array("i", [0] * meter.SHARED)
    shared[meter.HIGH] = meter.NO_BLOCKS_MAX
    assert not meter.charge(words, shared, array("i", [0]), 500, ticks_ms())
    assert limit.left == -1, limit.left


# Else the time that a guest waits with a full bucket would pay for its next slice.
def test_a_bucket_that_is_full_does_not_fill_while_its_guest_waits():
    words = array("i", [0] * meter.WORDS)
    limit = Limit(1000, 10, ticks_add(ticks_ms(), -200), words)
    words[meter.WEIGHT] = 100
    words[meter.BLOCKS_MAX] = meter.NO_BLOCKS_MAX
    shared = array("i", [0] * meter.SHARED)
    shared[meter.HIGH] = meter.NO_BLOCKS_MAX
    assert meter.charge(words, shared, array("i", [0]), 3000, ticks_ms())
    assert limit.left == -2000, limit.left
