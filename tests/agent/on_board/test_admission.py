# Admission: the refusals, with the numbers and what would fit. What it admits, and whether what it
# proposes is admitted, is tried with many more guests in tests/host/test_admission.py.

from house import admission
from house.admission import missed, refuse, wakeup

_HEAP = 1000000


def _board(**keys):
    board = admission.defaults()
    board.update(heap=_HEAP, kill_us=1500, section_us=500, section_guest_us=0)
    board.update(keys)
    return board


def _spec(name="guest", **keys):
    spec = {
        "name": name,
        "cpu_max_us": None,
        "cpu_period_us": 100000,
        "cpu_min_us": None,
        "cpu_min_period_us": None,
        "slice_max_us": 1000,
        "mem_min": None,
        "mem_max": None,
    }
    spec.update(keys)
    return spec


def _reserved(name, us, period_us, **keys):
    return _spec(name, cpu_min_us=us, cpu_min_period_us=period_us, **keys)


def test_an_empty_board_takes_a_guest_without_quotas():
    assert refuse(_spec(), [], None, _board()) is None


def test_reservations_leave_the_agent_its_part():
    # in periods so long that waiting is no matter
    half = _reserved("half", 500000, 1000000)
    assert refuse(half, [], None, _board()) is None
    error, hint = refuse(half, [half], None, _board())
    assert "50.0 %" in error and "40.0 %" in error, error
    assert "a cpu.min of 396ms/1s" in hint, hint  # 4 ms of each second are waiting


def test_a_limit_must_hold_its_own_reservation():
    below = _reserved("g", 1000, 10000, cpu_max_us=9000)
    error, hint = refuse(below, [], None, _board())
    assert "cpu.max of 9ms/100ms" in error and "cpu.min of 1ms/10ms" in error, error
    assert "10.0 % or more" in hint, hint
    # the share is there, but not in one go
    short = _reserved("g", 5000, 50000, cpu_max_us=1000, cpu_period_us=10000)
    error, hint = refuse(short, [], None, _board())
    assert "1ms/10ms" in error and "5ms or more" in hint, (error, hint)
    assert refuse(_reserved("g", 1000, 10000, cpu_max_us=10000), [], None, _board()) is None


def test_a_period_must_bear_the_slices_of_the_others():
    control = _reserved("control", 1000, 10000)
    logger = _spec("logger", slice_max_us=5000)
    assert refuse(control, [logger], None, _board()) is None
    logger = _spec("logger", slice_max_us=8000)
    error, hint = refuse(control, [logger], None, _board())
    # 8 + 1.5 + 0.5 ms of waiting and a tenth, in 10 ms
    for said in ("control", "1ms/10ms", "logger", "8ms", "1.5ms", "500us", "110.0 %", "90.0 %"):
        assert said in error, (said, error)
    assert "a cpu.min of 1.3ms/13ms" in hint, hint
    assert "a slice_max of 6ms for logger" in hint, hint


def test_a_new_neighbour_must_not_break_a_reservation():
    control = _reserved("control", 1000, 10000)
    error, hint = refuse(_spec("logger", slice_max_us=50000), [control], None, _board())
    assert "control could miss its cpu.min of 1ms/10ms" in error, error
    assert "a slice_max of 6ms" in hint and "for control" not in hint, hint


def test_what_other_reservations_overdraw_is_waiting_too():
    others = [_reserved(n, 1000, 10000, slice_max_us=2000) for n in ("a", "b", "c")]
    assert refuse(others[1], others[:1], None, _board()) is None
    # the third has a slice of 2 ms under way, and one overdraft from each of the two before it
    error, hint = refuse(others[2], others[:2], None, _board())
    assert "4ms for what other reservations overdraw" in error, error


def test_alone_on_a_board_there_is_nobody_to_wait_for():
    assert wakeup(_reserved("g", 1000, 10000), [], _board())[:3] == (500, 500, 0)


def test_a_wake_up_waits_for_the_longest_slice_its_end_and_the_agent():
    control = _reserved("control", 1000, 10000)
    specs = [control, _spec("a", slice_max_us=3000), _spec("b", slice_max_us=5000)]
    assert wakeup(control, specs, _board()) == (7000, 7000, 5000, "b", 0, 10000)
    assert wakeup(specs[1], specs, _board()) is None
    # another reservation: its budget under way, the one that begins meanwhile, its last slice
    specs.append(_reserved("c", 900, 100000, slice_max_us=1000))
    board = _board(reserve_ppm=0)
    assert wakeup(control, specs, board)[:2] == (7000 + 2 * 900 + 1000, 7000)


def test_a_slice_above_its_budget_is_paid_for_with_the_next_ones():
    assert wakeup(_reserved("g", 1000, 10000, slice_max_us=3500), [], _board())[5] == 40000


def test_asking_for_no_more_is_never_refused():
    # the board's agent has become slower since: nothing of this would be admitted
    board = _board(section_us=50000)
    logger = _spec("logger", slice_max_us=5000)
    control = _reserved("control", 1000, 10000)
    assert missed([logger, control], board) is not None
    assert refuse(_spec("logger", slice_max_us=4000), [control], logger, board) is None
    assert refuse(_reserved("control", 900, 10000), [logger], control, board) is None
    assert refuse(_spec("logger", slice_max_us=5100), [control], logger, board) is not None
    assert refuse(_reserved("control", 1000, 9000), [logger], control, board) is not None


def test_limits_may_be_oversubscribed_as_the_board_says():
    whole = _spec(cpu_max_us=100000)
    assert refuse(whole, [whole], None, _board()) is None
    error, hint = refuse(_spec(cpu_max_us=1000), [whole, whole], None, _board())
    assert "201.0 %" in error and "200.0 %" in error, error
    assert "oversubscription cpu" in hint, hint
    most = _board(oversubscription_cpu_ppm=2010000)
    assert refuse(_spec(cpu_max_us=1000), [whole, whole], None, most) is None
    most = _board(oversubscription_cpu_ppm=1204000)
    error, hint = refuse(_spec(cpu_max_us=50000), [whole], None, most)
    assert "a cpu.max of 20.4 % fits" in hint, hint


def test_a_limit_above_one_cpu_is_refused():
    assert "one CPU" in refuse(_spec(cpu_max_us=150000), [], None, _board())[0]


def test_no_guest_may_have_more_memory_than_the_board():
    error, hint = refuse(_spec(mem_max=_HEAP + 1), [], None, _board())
    assert str(_HEAP) in error and "976k" in hint, (error, hint)


def test_memory_limits_may_be_oversubscribed_as_the_board_says():
    large = _spec(mem_max=900000)
    assert refuse(large, [large], None, _board()) is None
    error, hint = refuse(large, [large, large], None, _board())
    assert "2700000" in error and "195k" in hint, (error, hint)
    assert refuse(large, [large, large], None, _board(oversubscription_ram_ppm=2700000)) is None
    # a guest without a limit adds nothing to a sum that is too high already
    assert refuse(_spec(), [large, large, large], None, _board()) is None


def test_answers_fit_into_a_reply():
    others = [_spec("a_long_name%d" % i, slice_max_us=999900) for i in range(15)]
    error, hint = refuse(_reserved("a_long_name_", 123457, 1234567), others, None, _board())
    assert len(error) + len(hint) < 900, (error, hint)


def test_memory_that_is_promised_is_there():
    board = _board(reservable=100000)
    half = _spec("half", mem_min=60000)
    assert refuse(half, [], None, board) is None
    error, hint = refuse(half, [half], None, board)
    assert "memory.min asks for 60000 bytes, 40000 are free" in error, error
    assert "39k or less" in hint, hint
    assert refuse(half, [half], half, board) is None  # asks for what it has
