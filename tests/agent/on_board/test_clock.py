# Time across every wrap that a counter of microseconds can have.

from house.clock import Account, Clock


class Ticks:
    def __init__(self, start, modulus):
        self.now = start
        self.modulus = modulus

    def __call__(self):
        return self.now % self.modulus

    def on(self, us):
        self.now += us


def _whole(s, us):
    return s * 1000000 + us


def _runs_exactly(start, modulus, step, steps):
    ticks = Ticks(start, modulus)
    clock = Clock(ticks)
    for _ in range(steps):
        ticks.on(step)
        clock.advance()
        assert 0 <= clock.us < 1000000, clock.us
    assert _whole(clock.s, clock.us) == step * steps, (clock.s, clock.us)


def test_time_is_exact_across_2_30_us():
    _runs_exactly(2**30 - 5000001, 2**30, 999983, 3000)


def test_time_is_exact_across_2_32_us():
    _runs_exactly(2**32 - 5000001, 2**32, 999983, 6000)


def test_time_is_exact_on_a_counter_that_never_wraps():
    _runs_exactly(2**40, 2**62, 123457, 3000)


def test_a_gap_just_below_the_wrap_is_measured():
    ticks = Ticks(7, 2**30)
    clock = Clock(ticks)
    ticks.on(2**30 - 1)
    clock.advance()
    assert _whole(clock.s, clock.us) == 2**30 - 1


def test_an_account_adds_up_beyond_2_32_us():
    account = Account()
    for _ in range(5000):
        account.add(1000003)
    assert _whole(account.s, account.us) == 5000 * 1000003


def test_an_account_takes_the_largest_amount():
    account = Account()
    account.add(2**29)
    account.add(0)
    assert _whole(account.s, account.us) == 2**29


def test_time_and_accounts_allocate_nothing():
    import gc

    ticks = [0]
    clock = Clock(lambda: ticks[0])
    account = Account()
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for _ in range(2000):
        ticks[0] += 1000
        clock.advance()
        account.add(999)
    grown = gc.mem_alloc() - before
    gc.enable()
    assert grown < 64, grown
