"""What the CPU policy promises, on thousands of random mixes of guests in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from guesthouse.core import admission
from tests.host.policy.board import Board, Costs, Guest, Step, meter, wire
from tests.host.policy.firmware import Time

MS = 1_000
COSTS = Costs()
TICK_WRAP_US = (1 << 30) * MS
"""Both counters begin anew here."""

BOARD = {**admission.defaults(), "heap": 1 << 20, "oversubscription_cpu_ppm": 100_000_000}

how_many = pytest.mark.parametrize(
    "examples", [60, pytest.param(10_000, marks=pytest.mark.soak)], ids=["short", "long"]
)


def holds(
    examples: int,
    promise: Callable[..., None],
    *what: st.SearchStrategy[Any],
    known: Sequence[tuple[Any, ...]] = (),
) -> None:
    """Tries a promise, first with what once broke it; the short run tries the same every time."""
    tried = given(*what)(promise)
    for one in known:
        tried = example(*one)(tried)
    settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 1_000,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )(tried)()


# --- mixes ---


@st.composite
def steps(draw: st.DrawFn, slice_us: int) -> list[Step]:
    """Hogs, tiny tasks and sleepers; several of the sleepers wake in the same ms."""
    us = st.integers(60, slice_us) | st.just(slice_us) | st.just(60)
    kind = draw(st.sampled_from(["hog", "tiny", "sleeper", "any"]))
    if kind == "hog":
        return [Step(slice_us)]
    if kind == "tiny":
        return [Step(draw(st.integers(60, 100)))]
    if kind == "sleeper":
        return [Step(draw(us), draw(st.sampled_from([1, 5, 10, 20])))]
    sleep = st.sampled_from([0, 0, 0, 1, 2, 7, 33])
    return [Step(draw(us), draw(sleep)) for _ in range(draw(st.integers(1, 6)))]


@st.composite
def guests(draw: st.DrawFn) -> dict[str, Any]:
    slice_us = draw(st.sampled_from([100, 400, 1_000, 2_500]))
    made: dict[str, Any] = {
        "steps": draw(steps(slice_us)),
        "tasks": draw(st.sampled_from([1, 1, 1, 3, 20])),
        "load_us": draw(st.integers(10, slice_us)),
        "slice_max_us": slice_us,
        "weight": draw(st.sampled_from([1, 50, 100, 1_000, 10_000])),
    }
    if draw(st.booleans()):
        period = draw(st.sampled_from([5, 10, 13, 20, 50]))
        made["cpu_min_period_us"] = period * MS
        made["cpu_min_us"] = max(1, period * draw(st.integers(1, 45)) * 10)
    if draw(st.booleans()):
        period = draw(st.sampled_from([5, 20, 100]))
        made["cpu_period_us"] = period * MS
        made["cpu_max_us"] = max(1, period * draw(st.integers(1, 99)) * 10)
    return made


starts = st.just(0) | st.integers(1, 100_000).map(lambda us: TICK_WRAP_US - us)
mixes = st.lists(guests(), min_size=1, max_size=6)


def admitted(mix: list[dict[str, Any]], start: int, costs: Costs = COSTS) -> Board:
    """A board with those of a mix that admission takes, some of them without what it refuses."""
    board = Board(start, costs)
    figures = {**BOARD, **costs.figures()}
    specs: list[dict[str, Any]] = []
    for made in mix:
        wanted = {**made}
        while True:
            spec = {**SPEC_OF, **wanted, "name": f"g{len(specs)}"}
            if admission.refuse(spec, specs, None, figures) is None:
                specs.append(spec)
                board.add(**wanted)
                break
            if "cpu_max_us" in wanted:
                del wanted["cpu_max_us"]
            elif "cpu_min_us" in wanted:
                del wanted["cpu_min_us"]
            else:
                break
    return board


SPEC_OF = {
    "cpu_max_us": None,
    "cpu_period_us": 100 * MS,
    "cpu_min_us": None,
    "cpu_min_period_us": None,
    "mem_min": None,
    "mem_max": None,
}


def share(guest: Guest, key: str) -> tuple[int, int]:
    """Budget and period in us."""
    spec = guest.spec
    if key == "max":
        return spec["cpu_max_us"], spec["cpu_period_us"]
    return spec["cpu_min_us"], admission.server_us(spec)


def worst_window(slices: list[tuple[int, int]], budget: int, period: int) -> float:
    """By how much the use in any window is above the share of it, at most, in us."""
    worst = used = 0.0
    most = float("-inf")
    for start, end in slices:
        most = max(most, start * budget / period - used)
        used += end - start
        worst = max(worst, used - end * budget / period + most)
    return worst


# --- promises ---


def no_deadline_missed(board: Board) -> None:
    assert not board.misses, board.misses[:3]
    for guest in board.guests:
        if not guest.spec["cpu_min_us"]:
            continue
        budget, period = share(guest, "min")
        overdraft = guest.spec["slice_max_us"] + board.costs.kill_us
        for burst in guest.bursts:
            if burst.excused or guest.spec["tasks"] > 1:
                continue
            # the first budget may have been used up before it woke
            whole = (burst.end - burst.start - MS) // period - 1
            assert burst.used >= whole * budget - overdraft, (guest.instance.name, burst)


def no_more_than_max(board: Board) -> None:
    for guest in board.guests:
        if not guest.spec["cpu_max_us"]:
            continue
        budget, period = share(guest, "max")
        over = guest.spec["slice_max_us"] + board.costs.kill_us
        if guest.spec["cpu_min_us"] and budget <= guest.spec["cpu_min_us"] + over:
            over *= 2
        worst = worst_window([(s.start, s.end) for s in guest.slices], budget, period)
        # the counter tells whole ms
        assert worst <= budget + over + MS * budget / period, (guest.instance.name, worst)


def no_more_than_its_bandwidth(board: Board) -> None:
    for guest in board.guests:
        if not guest.spec["cpu_min_us"]:
            continue
        budget, period = share(guest, "min")
        served = [(s.start, s.end) for s in guest.slices if s.reserved]
        over = guest.spec["slice_max_us"] + board.costs.kill_us
        # late in one period and early in the next; what a slice overdraws is paid back
        assert worst_window(served, budget, period) <= 2 * budget + over + MS, guest.instance.name


def wakes_in_time(board: Board) -> None:
    specs = [guest.spec for guest in board.guests]
    figures = {**BOARD, **board.costs.figures()}
    for guest in board.guests:
        told = admission.wakeup(guest.spec, specs, figures)
        for waited, excused in guest.wakeups:
            # the tick in which it wakes
            assert excused or waited <= told[0] + MS, (guest.instance.name, waited, told)


def everything(board: Board) -> None:
    no_deadline_missed(board)
    no_more_than_max(board)
    no_more_than_its_bandwidth(board)
    wakes_in_time(board)


@how_many
def test_the_promises_hold_for_every_mix_that_is_admitted(examples: int) -> None:
    def promise(mix: list[dict[str, Any]], start: int) -> None:
        board = admitted(mix, start)
        board.run(250 * MS)
        everything(board)

    holds(examples, promise, mixes, starts)


@how_many
def test_they_hold_while_guests_overrun_and_are_killed(examples: int) -> None:
    """At most one kill in a window is what admission counts with; more are excused."""

    def promise(mix: list[dict[str, Any]], hostile: dict[str, Any], at: int, start: int) -> None:
        hostile["steps"] = [Step(60, at), Step(10 * hostile["slice_max_us"])]
        board = admitted([*mix, {**hostile, "restart": "always"}], start)
        board.run(250 * MS)
        everything(board)

    holds(examples, promise, mixes, guests(), st.integers(0, 100), starts)


@how_many
def test_they_hold_while_a_guest_that_overruns_is_suspended(examples: int) -> None:
    """It is billed, throttled and served as anybody else, and what it began it finishes."""

    def promise(mix: list[dict[str, Any]], long: dict[str, Any], at: int, start: int) -> None:
        work = 10 * long["slice_max_us"]
        long["steps"] = [Step(60, at), Step(work)]
        board = admitted([{**long, "on_overrun": "suspend", "tasks": 1}, *mix], start)
        board.run(250 * MS)
        everything(board)
        if board.guests[0].spec["on_overrun"] != "suspend":
            return  # not even the first was admitted
        used = sum(s.end - s.start for s in board.guests[0].slices if not s.load)
        # each part of a slice is one; whole steps of it add up
        assert used % (60 + work) in (0, 60), used
        assert not board.guests[0].instance.kills
        assert board.suspensions >= 4 * (used // (60 + work))

    holds(examples, promise, mixes, guests(), st.integers(0, 100), starts)


def test_of_two_that_overrun_one_is_set_aside() -> None:
    board = Board()
    long = [board.add([Step(5_000)], on_overrun="suspend", slice_max_us=500) for _ in range(2)]
    other = board.add([Step(100)])
    board.run(100 * MS)
    assert [guest.instance.kills for guest in long].count(1) == 1
    assert board.suspensions > 50
    # with equal weights half is left to the third
    assert abs(other.used - 50_000) < 7_000, other.used
    assert all(s.end - s.start <= 500 + COSTS.kill_us for guest in long for s in guest.slices)


@how_many
def test_they_hold_before_and_after_blackouts(examples: int) -> None:
    """Loads of a second guest's life, collections after its end, and what the flash takes."""

    def promise(
        mix: list[dict[str, Any]], late: dict[str, Any], blackout: int, load_us: int, start: int
    ) -> None:
        board = admitted(mix, start, Costs(collect_us=blackout))
        board.run(50 * MS)
        board.blackout(blackout)
        board.run(50 * MS)
        late = {**late, "load_us": load_us, "cpu_min_us": None, "cpu_max_us": None}
        late["slice_max_us"] = 100
        late["steps"] = [Step(100, 20), Step(1_000)]
        board.add(**late)
        board.run(150 * MS)
        no_deadline_missed(board)
        no_more_than_max(board)
        no_more_than_its_bandwidth(board)

    blackouts = st.integers(100, 60 * MS)
    holds(examples, promise, mixes, guests(), blackouts, blackouts, starts)


@how_many
def test_what_is_left_is_shared_by_weight(examples: int) -> None:
    """Those that always have work; virtual time begins anew on the way."""

    def promise(mix: list[dict[str, Any]], weights: list[int], vtime: int, start: int) -> None:
        board = Board(start, summary_ms=100)
        board.kernel.billing.shared[meter.LAST_VTIME] = vtime
        fair = [
            board.add([Step(us)], slice_max_us=us, weight=weight)
            for us, weight in zip((2_000, 150, 700, 61), weights, strict=False)
        ]
        for made in mix:
            if made.get("cpu_min_us") or made.get("cpu_max_us"):
                board.add(**made)
        board.run(350 * MS)
        shares = [
            (
                sum(s.end - s.start for s in guest.slices if not s.load) / guest.spec["weight"],
                guest.spec["slice_max_us"] / guest.spec["weight"],
            )
            for guest in fair
        ]
        for one, step in shares:
            for other, other_step in shares:
                # a slice of each, and one for the load
                assert abs(one - other) <= 2 * (step + other_step) + 1, shares

    weights = st.lists(st.sampled_from([20, 50, 100, 300, 1_000, 10_000]), min_size=2, max_size=4)
    vtime = st.just(0) | st.integers((1 << 28) - 1_000_000, 1 << 28)
    holds(examples, promise, st.lists(guests(), max_size=2), weights, vtime, starts)


@pytest.mark.parametrize("start", [0, TICK_WRAP_US - 300_001])
@pytest.mark.parametrize("us", [70, 900, 1_000, 2_500])
def test_a_reserved_guest_with_work_gets_its_budgets_and_no_more(us: int, start: int) -> None:
    """Debt is repaid: with slices beyond the budget too the share is that of the reservation."""
    board = Board(start)
    guest = board.add(
        [Step(us)], cpu_min_us=1_000, cpu_min_period_us=20_000, slice_max_us=2_500, weight=1
    )
    board.add([Step(1_000)], weight=10_000)
    board.run(2_000 * MS)
    served = sum(s.end - s.start for s in guest.slices if s.reserved)
    assert 100_000 - 2_000 <= served <= 100_000 + 2_500, served
    assert not board.misses


def test_what_a_reserved_guest_gets_by_weight_does_not_eat_its_guarantee() -> None:
    board = Board()
    guest = board.add([Step(100)], cpu_min_us=2_000, cpu_min_period_us=20_000)
    board.add([Step(1_000)])
    board.run(2_000 * MS)
    served = sum(s.end - s.start for s in guest.slices if s.reserved)
    assert abs(served - 200_000) <= 4_000, served
    # and of the other 90 % it has half
    assert abs(guest.used - served - 900_000) <= 60_000, guest.used


@pytest.mark.parametrize(
    # a bucket that the reservation's part and a slice fill leaves little by weight
    ("period_ms", "least"), [(10, 0.5), (100, 0.95), (400, 0.9)]
)
def test_a_limit_never_throttles_a_guest_out_of_its_reservation(
    period_ms: int, least: float
) -> None:
    board = Board()
    budget = 200 * period_ms
    guest = board.add(
        [Step(250)],
        cpu_min_us=1_000,
        cpu_min_period_us=10_000,
        cpu_max_us=budget,
        cpu_period_us=period_ms * MS,
    )
    board.run(2_000 * MS)
    assert not board.misses
    for t in range(50 * MS, 1_950 * MS, 10 * MS):
        got = sum(s.end - s.start for s in guest.slices if t <= s.start < t + 20 * MS)
        assert got >= 1_000, (t, got)
    assert least * 400_000 <= guest.used <= 400_000 + budget + 1_000, guest.used


@pytest.mark.parametrize("start", [0, TICK_WRAP_US - 300_001])
def test_a_limited_guest_alone_gets_what_it_may(start: int) -> None:
    for us, budget, period in ((60, 20_000, 100), (2_000, 1_500, 5), (700, 9_000, 10)):
        board = Board(start)
        guest = board.add(
            [Step(us)], cpu_max_us=budget, cpu_period_us=period * MS, slice_max_us=2_500
        )
        board.run(1_000 * MS)
        fair = 1_000 * budget // period
        assert 0.97 * fair - budget <= guest.used <= fair + budget + us, (us, budget, period)
        assert board.idle_us > 0


def test_a_full_bucket_does_not_fill_while_its_guest_waits_for_its_turn() -> None:
    board = Board()
    guest = board.add([Step(1_000)], weight=1, cpu_max_us=3_000)
    board.add([*[Step(1_000)] * 100, Step(1_000, 200)], weight=1_000)
    board.run(1_000 * MS)
    assert len(guest.slices) > 20
    no_more_than_max(board)


def test_one_that_slept_for_long_is_neither_starved_nor_owed() -> None:
    """Ten minutes of virtual time would wrap, were they not begun anew."""
    board = Board()
    sleeper = board.add([Step(100, 20_000), *[Step(100)] * 3_000], weight=1)
    hog = board.add([Step(1_000)], weight=1)
    board.run(20_400 * MS)
    got = sum(s.end - s.start for s in sleeper.slices if s.start > 20_010 * MS)
    other = sum(s.end - s.start for s in hog.slices if s.start > 20_010 * MS)
    assert abs(got - other) <= 20_000, (got, other)


def test_virtual_time_never_leaves_its_words() -> None:
    board = Board(summary_ms=100)
    board.kernel.billing.shared[meter.LAST_VTIME] = (1 << 31) - 200_000
    one, other = [board.add([Step(700)], weight=weight) for weight in (20, 60)]
    board.run(350 * MS)
    assert 2.5 <= other.used / one.used <= 3.5


def test_a_load_leaves_no_debt() -> None:
    board = Board()
    board.add([Step(1_000)], weight=10_000)
    board.run(50 * MS)
    guest = board.add(
        [Step(100)], load_us=20_000, cpu_min_us=1_000, cpu_min_period_us=10_000, weight=1
    )
    board.run(150 * MS)
    served = sum(s.end - s.start for s in guest.slices if s.reserved)
    assert served >= 9_000, served


def test_one_that_was_stopped_for_a_week_has_its_reservation_when_it_starts() -> None:
    board = Board()
    guest = board.add([Step(100)], cpu_min_us=2_000, cpu_min_period_us=20_000, weight=1)
    board.add([Step(1_000)], weight=10_000)
    board.run(100 * MS)
    lifecycle = board.kernel.lifecycle
    lifecycle.end(guest.instance, wire.STATE_STOPPED, wire.REASON_STOP)
    for _ in range(7):
        board.blackout(86_400 * MS * MS)
        board.kernel.billing.work()
        board.run(1_100 * MS)
    started = Time.us
    lifecycle.start(guest.instance, wire.REASON_START)
    board.run(200 * MS)
    served = sum(s.end - s.start for s in guest.slices if s.reserved and s.start > started)
    assert served >= 8 * 2_000, served


# --- breaches ---


@how_many
def test_a_reservation_that_a_blackout_breaks_is_recorded(examples: int) -> None:
    """With the blackout as its cause, and wherever a budget came late by more than a tick."""

    def promise(mix: list[dict[str, Any]], blackouts: list[tuple[int, int]], start: int) -> None:
        board = admitted([{**made, "load_us": 10} for made in mix], start)
        board.run(50 * MS)
        board.late.clear()
        for after, us in blackouts:
            board.run(after)
            board.blackout(us)
        board.run(250 * MS)
        surely = {name for name, us in board.late if us >= 2 * MS}
        assert surely <= {breach.name for breach in board.breaches}, (board.late, board.breaches)
        for breach in board.breaches:
            assert breach.missing_us > 0
            assert (breach.kind or breach.excused) and breach.length_us in {
                0,
                10,
                *(us for _, us in blackouts),
            }, breach

    blackouts = st.lists(st.tuples(st.integers(1, 50 * MS), st.integers(100, 60 * MS)), max_size=3)
    tiny = {"steps": [Step(100)], "slice_max_us": 100, "weight": 1}
    # Goes dark while its last task has what was left of a budget when it woke: no breach.
    kept = {
        "steps": [Step(60, 1), Step(100, 33), Step(100)],
        "tasks": 20,
        "slice_max_us": 100,
        "weight": 50,
        "cpu_min_period_us": 10 * MS,
        "cpu_min_us": 500,
    }
    # Woke just as its period began, so that its budget is a whole one.
    whole = {
        "steps": [Step(100, 2)],
        "tasks": 20,
        "slice_max_us": 100,
        "weight": 50,
        "cpu_min_period_us": 5 * MS,
        "cpu_min_us": 900,
    }
    hog = {"steps": [Step(400)], "slice_max_us": 400, "weight": 1}
    known = [
        ([tiny, {**tiny, "weight": 1_000}, kept], [(1, 10_632)], 0),
        ([tiny, tiny, whole, hog], [(775, 5_926)], 0),
    ]
    holds(examples, promise, mixes, blackouts, starts, known=known)


@how_many
def test_no_breach_is_recorded_of_a_blackout_that_fits_into_the_slack(examples: int) -> None:
    """One that admission would have taken for a section of the agent breaks nothing."""

    def promise(mix: list[dict[str, Any]], us: int, after: int, start: int) -> None:
        board = admitted([{**made, "load_us": 10} for made in mix], start)
        figures = {**BOARD, **board.costs.figures()}
        specs = [guest.spec for guest in board.guests]
        while us and admission.missed(specs, {**figures, "section_us": figures["section_us"] + us}):
            us //= 2
        board.run(50 * MS + after)
        board.breaches.clear()
        board.blackout(us)
        board.run(100 * MS)
        assert not board.breaches, (us, board.breaches)

    holds(examples, promise, mixes, st.integers(0, 60 * MS), st.integers(0, 20 * MS), starts)


@how_many
def test_no_breach_is_recorded_where_nothing_goes_dark(examples: int) -> None:
    def promise(mix: list[dict[str, Any]], start: int) -> None:
        board = admitted([{**made, "load_us": 10} for made in mix], start)
        board.run(50 * MS)
        board.breaches.clear()  # those of the loads
        board.run(250 * MS)
        assert not board.breaches

    holds(examples, promise, mixes, starts)


def reserved_beside_a_hog(costs: Costs | None = None, **spec: Any) -> tuple[Board, Guest]:
    board = Board(costs=costs)
    guest = board.add([Step(100)], cpu_min_us=1_000, cpu_min_period_us=10_000, **spec)
    board.add([Step(1_000)])
    board.run(100 * MS)
    assert all(breach.excused for breach in board.breaches)
    board.breaches.clear()  # those of the loads
    return board, guest


def test_a_breach_tells_what_was_in_the_way_and_for_how_long() -> None:
    board, guest = reserved_beside_a_hog()
    board.blackout(35 * MS)
    board.run(100 * MS)
    (breach,) = board.breaches
    assert (breach.kind, breach.length_us) == (wire.BLACKOUT_FLASH, 35 * MS)
    assert breach.name == guest.instance.name
    # three or four deadlines, each with its whole budget but the first
    assert 3 <= guest.instance.reservation.breaches <= 4
    assert 2_000 < breach.missing_us <= 4_000


def test_a_collection_after_a_kill_and_a_load_are_told_apart() -> None:
    board, _guest = reserved_beside_a_hog(Costs(collect_us=30 * MS))
    board.add([Step(100, 1), Step(50_000)])
    board.run(100 * MS)
    assert {breach.kind for breach in board.breaches} == {wire.BLACKOUT_COLLECT}
    board, _guest = reserved_beside_a_hog()
    board.add([Step(100)], load_us=40 * MS)
    board.run(100 * MS)
    assert {breach.kind for breach in board.breaches} == {wire.BLACKOUT_LOAD}


def test_a_blackout_in_slack_is_no_breach() -> None:
    board = Board()
    guest = board.add([Step(100)], cpu_min_us=1_000, cpu_min_period_us=50_000, weight=1)
    board.add([Step(1_000)], weight=10_000)
    board.run(110 * MS)  # this period's budget has been had
    assert guest.instance.reservation.left <= 0
    board.blackout(20 * MS)
    board.run(200 * MS)
    assert not board.breaches


def test_a_sleeper_that_a_blackout_keeps_from_waking_is_recorded() -> None:
    """Its period begins when its time has come, not when the agent can see it."""
    board = Board()
    board.add([Step(900, 20)], cpu_min_us=1_000, cpu_min_period_us=10_000)
    board.run(90 * MS)
    board.blackout(40 * MS)
    board.run(100 * MS)
    assert [breach.kind for breach in board.breaches] == [wire.BLACKOUT_FLASH]
