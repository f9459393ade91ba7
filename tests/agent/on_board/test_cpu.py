# The CPU policy's promises, on a clock that the test turns.

from time import ticks_add

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
    for now, exhausted in ((0, True), (100, True), (200, True), (250, True), (300, False)):
        limit.roll(now)
        assert limit.exhausted() is exhausted, now


def test_refill_comes_when_the_debt_is_paid():
    limit = Limit(10000, 100, 0)
    limit.charge(10000)
    assert limit.refill_at() == 100
    limit.charge(25000)
    at = limit.refill_at()
    limit.roll(at - 1)
    assert limit.exhausted()
    limit.roll(at)
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


def test_a_reservation_is_refilled_once_a_period():
    server = Reservation(1000, 10, 0)
    assert server.eligible(0)
    server.charge(1000)
    assert not server.eligible(5)
    assert server.eligible(10)
    assert server.left == 1000


def test_nothing_reserved_is_never_eligible():
    assert not Reservation(None, 10, 0).eligible(0)
