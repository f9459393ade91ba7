"""Admission on many boards: the agent's own file, against its theory computed with fractions."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.core import admission
from guesthouse.core.units import parse_cpu, parse_time_us
from guesthouse.guests.sections import PERIOD_RANGE_US, SLICE_RANGE_US

Spec = dict[str, Any]
MILLION = 1_000_000


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """A guest as a manifest may ask for it; half of them reserve something."""
    period = draw(st.integers(1, 200)) * 1000 if draw(st.booleans()) else None
    least = None if period is None else max(1, period * draw(st.integers(1, 400)) // 1000)
    return {
        "name": "guest",
        "cpu_max_us": draw(st.none() | st.integers(1_000, 100_000)),
        "cpu_period_us": 100_000,
        "cpu_min_us": least,
        "cpu_min_period_us": period,
        "slice_max_us": draw(st.integers(1, 100)) * 100,
        "mem_min": draw(st.none() | st.integers(1, 60_000)),
        "mem_max": draw(st.none() | st.integers(1, 300_000)),
    }


@st.composite
def boards(draw: st.DrawFn) -> dict[str, int]:
    figures = {
        "heap": draw(st.integers(1_000, 500_000)),
        "kill_us": draw(st.integers(0, 5_000)),
        "section_us": draw(st.integers(0, 5_000)),
        "section_guest_us": draw(st.integers(0, 500)),
    }
    return {**admission.defaults(), **figures}


@st.composite
def filled(draw: st.DrawFn) -> tuple[list[Spec], dict[str, int]]:
    """A board and the guests that it admitted, of up to five that asked.

    One that was refused asks again for what is said to fit: so boards are full to the brim.
    """
    board = draw(boards())
    admitted: list[Spec] = []
    for index, spec in enumerate(draw(st.lists(specs(), max_size=5))):
        spec["name"] = f"g{index}"
        refusal = admission.refuse(spec, admitted, None, board)
        if refusal is not None and refusal[1].startswith("what fits: a "):
            first = refusal[1].removeprefix("what fits: ").split("; or ")[0]
            spec = apply(first, spec, admitted)[0]
            refusal = admission.refuse(spec, admitted, None, board)
        if refusal is None:
            admitted.append(spec)
    return admitted, board


def period_of(spec: Spec) -> int:
    return int(spec["cpu_min_period_us"] or spec["cpu_period_us"])


def shortfall(guests: list[Spec], board: dict[str, int]) -> Fraction:
    """By how much the worst window of any reservation is overbooked: the theory, written anew.

    In a window as long as a server's period stand the shares of the servers with periods up to
    it, one overdraft of each but the one that waits, and the longest slice of anybody else.
    """
    room = 1 - Fraction(board["reserve_ppm"], MILLION)
    section = board["section_us"] + len(guests) * board["section_guest_us"]
    worst = -room
    servers = [guest for guest in guests if guest["cpu_min_us"]]
    for last in servers:
        window = [one for one in servers if period_of(one) <= period_of(last)]
        share = sum(Fraction(one["cpu_min_us"], period_of(one)) for one in window)
        for waiting in window:
            others = [one["slice_max_us"] for one in guests if one is not waiting]
            overdrafts = sum(one["slice_max_us"] for one in window if one is not waiting)
            blocked = section + overdrafts + (max(others) + board["kill_us"] if others else 0)
            worst = max(worst, share + Fraction(blocked, period_of(last)) - room)
    return worst


@given(filled())
def test_what_is_admitted_satisfies_the_inequality(
    situation: tuple[list[Spec], dict[str, int]],
) -> None:
    guests, board = situation
    assert shortfall(guests, board) <= 0
    assert sum(Fraction(g["cpu_max_us"] or 0, g["cpu_period_us"]) for g in guests) <= 2
    assert sum(g["mem_max"] or 0 for g in guests) <= 2 * board["heap"]
    assert sum(g["mem_min"] or 0 for g in guests) <= board["heap"]


@given(filled(), specs())
def test_what_is_refused_does_not_satisfy_it(
    situation: tuple[list[Spec], dict[str, int]], spec: Spec
) -> None:
    guests, board = situation
    spec = {**spec, "cpu_max_us": None, "mem_min": None, "mem_max": None}
    refusal = admission.refuse(spec, guests, None, board)
    if refusal is None:
        return
    # each share is rounded up to a millionth
    assert shortfall([*guests, spec], board) > -Fraction(len(guests) + 2, MILLION)


@given(filled(), specs())
def test_what_is_proposed_fits_and_no_more_does(
    situation: tuple[list[Spec], dict[str, int]], spec: Spec
) -> None:
    guests, board = situation
    spec = {**spec, "cpu_max_us": None, "mem_min": None, "mem_max": None}
    refusal = admission.refuse(spec, guests, None, board)
    if refusal is None or refusal[1].startswith("nothing fits"):
        return
    for proposal in refusal[1].removeprefix("what fits: ").split("; or "):
        asked, beside, more, beside_more = apply(proposal, spec, guests)
        assert admission.refuse(asked, beside, None, board) is None, proposal
        if more is not None:
            assert admission.refuse(more, beside_more, None, board) is not None, proposal


def apply(
    proposal: str, spec: Spec, guests: list[Spec]
) -> tuple[Spec, list[Spec], Spec | None, list[Spec]]:
    """The guests with a proposal carried out, and with one step more than it says."""
    if found := re.fullmatch(r"a slice_max of (\S+)", proposal):
        us = parse_time_us(found[1])
        assert SLICE_RANGE_US[0] <= us < spec["slice_max_us"]
        more = min(us + 100, spec["slice_max_us"])
        return {**spec, "slice_max_us": us}, guests, {**spec, "slice_max_us": more}, guests
    if found := re.fullmatch(r"a cpu\.min of (\S+)", proposal):
        us, period = parse_cpu(found[1])
        asked = {**spec, "cpu_min_us": us, "cpu_min_period_us": period}
        if period == period_of(spec):
            more = min(us + max(1, period // 1000), spec["cpu_min_us"])
            return asked, guests, {**asked, "cpu_min_us": more}, guests
        # a longer period: by one millisecond less it does not hold, or is what was asked for
        assert period_of(spec) < period <= PERIOD_RANGE_US[1]
        share = Fraction(spec["cpu_min_us"], period_of(spec))
        assert share - Fraction(1, period) <= Fraction(us, period) <= share or us == 1
        less = max(1, (period - 1000) * spec["cpu_min_us"] // period_of(spec))
        shorter = {**spec, "cpu_min_us": less, "cpu_min_period_us": period - 1000}
        return asked, guests, shorter, guests
    found = re.fullmatch(r"this beside a slice_max of (\S+) for (.+)", proposal)
    assert found, proposal
    us = parse_time_us(found[1])
    named = found[2].split(", ")
    assert named == [guest["name"] for guest in guests if guest["slice_max_us"] > us]
    cut = [{**guest, "slice_max_us": min(us, guest["slice_max_us"])} for guest in guests]
    more_cut = [{**guest, "slice_max_us": min(us + 100, guest["slice_max_us"])} for guest in guests]
    return spec, cut, spec, more_cut


@given(filled(), st.data())
def test_asking_for_less_breaks_nothing(
    situation: tuple[list[Spec], dict[str, int]], data: st.DataObject
) -> None:
    """What `set` never refuses could not have been refused either."""
    guests, board = situation
    if not guests:
        return
    chosen = data.draw(st.sampled_from(guests))
    less = dict(chosen)
    for key in ("cpu_min_us", "slice_max_us"):
        if chosen[key]:
            less[key] = data.draw(st.integers(1, chosen[key]))
    others = [guest for guest in guests if guest is not chosen]
    assert admission.refuse(less, others, chosen, board) is None
    assert admission.refuse(less, others, None, board) is None


@given(filled())
def test_a_wake_up_is_bounded_by_the_period_and_by_what_blocks(
    situation: tuple[list[Spec], dict[str, int]],
) -> None:
    guests, board = situation
    for guest in guests:
        bound = admission.wakeup(guest, guests, board)
        if not guest["cpu_min_us"]:
            assert bound is None
            continue
        us, blocking, longest, name, others, empty = bound
        assert us == blocking + others
        assert blocking <= us <= period_of(guest)
        assert longest == max([g["slice_max_us"] for g in guests if g is not guest], default=0)
        assert name is None or longest == next(
            g["slice_max_us"] for g in guests if g["name"] == name
        )
        assert empty >= period_of(guest)


def test_shares_are_rounded_up() -> None:
    """A sum of shares is never below what it stands for."""
    assert admission.share_ppm(1, 3) == 333_334
    assert admission.share_ppm(2, 4) == 500_000


@pytest.mark.parametrize("us", [1, 850, 1_000, 1_500, 1_005, 10_000, 999_999, 1_000_000, 1_500_000])
def test_times_are_written_as_a_manifest_takes_them(us: int) -> None:
    assert parse_time_us(admission.duration(us)) == us


def test_every_port_says_what_admission_counts_with() -> None:
    for port in ("unix", "rp2"):
        board = admission.board_figures(port, 1 << 20)
        assert 0 < board["heap"] < 1 << 20
        assert board["kill_us"] > 0 and board["section_us"] > 0
