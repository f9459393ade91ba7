# Admission: the refusals, with the numbers and what would fit.

from house.admission import refuse

_HEAP = 1000000


def _spec(**keys):
    spec = {
        "cpu_max_us": None,
        "cpu_period_us": 100000,
        "cpu_min_us": None,
        "cpu_min_period_us": None,
        "mem_max": None,
    }
    spec.update(keys)
    return spec


def test_an_empty_board_takes_a_guest_without_quotas():
    assert refuse(_spec(), [], _HEAP) is None


def test_reservations_leave_the_agent_its_part():
    half = _spec(cpu_min_us=5000, cpu_min_period_us=10000)
    assert refuse(half, [], _HEAP) is None
    error, hint = refuse(half, [half], _HEAP)
    assert "50.0 %" in error and "40.0 %" in error, error


def test_limits_may_be_oversubscribed_twice():
    whole = _spec(cpu_max_us=100000)
    assert refuse(whole, [whole], _HEAP) is None
    error, hint = refuse(_spec(cpu_max_us=1000), [whole, whole], _HEAP)
    assert "201.0 %" in error and "200.0 %" in error, error


def test_a_limit_above_one_cpu_is_refused():
    assert "one CPU" in refuse(_spec(cpu_max_us=150000), [], _HEAP)[0]


def test_no_guest_may_have_more_memory_than_the_board():
    error, hint = refuse(_spec(mem_max=_HEAP + 1), [], _HEAP)
    assert str(_HEAP) in error and "976k" in hint, (error, hint)


def test_memory_limits_may_be_oversubscribed_twice():
    large = _spec(mem_max=900000)
    assert refuse(large, [large], _HEAP) is None
    error, hint = refuse(large, [large, large], _HEAP)
    assert "2700000" in error and "195k" in hint, (error, hint)
