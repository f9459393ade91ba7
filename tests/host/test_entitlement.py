"""What ``bench quotas`` takes for a guest's due: min, then the rest by weight up to max."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.bench.entitlement import Claim, entitlements

EXACT = 1e-9
shares = st.floats(0, 1)
claims = st.lists(
    st.builds(
        lambda one, other, weight: Claim(min(one, other), max(one, other), weight),
        st.just(0.0) | shares,
        st.just(1.0) | shares,
        st.integers(1, 10_000),
    ),
    min_size=1,
    max_size=12,
)


@given(claims, shares)
def test_everybody_has_the_reservation_and_nobody_more_than_the_limit(
    mix: list[Claim], capacity: float
) -> None:
    for claim, share in zip(mix, entitlements(mix, capacity), strict=True):
        assert claim.least <= share <= claim.most + EXACT


@given(claims, shares)
def test_all_there_is_is_given_unless_limits_or_reservations_forbid(
    mix: list[Claim], capacity: float
) -> None:
    total = sum(entitlements(mix, capacity))
    least = sum(claim.least for claim in mix)
    most = sum(claim.most for claim in mix)
    assert total == pytest.approx(max(least, min(capacity, most)), abs=EXACT)


@given(claims, shares)
def test_what_is_beyond_the_reservations_goes_by_weight(
    mix: list[Claim], capacity: float
) -> None:
    """Whoever is not at the limit has the same for each unit of weight, the others no more."""
    given_ = entitlements(mix, capacity)
    levels = [
        (share - claim.least) / claim.weight for claim, share in zip(mix, given_, strict=True)
    ]
    for claim, share, level in zip(mix, given_, levels, strict=True):
        if share < claim.most - EXACT:
            assert level == pytest.approx(max(levels), abs=EXACT)


@given(claims, shares, shares)
def test_more_for_all_is_less_for_nobody(mix: list[Claim], one: float, other: float) -> None:
    less, more = sorted((one, other))
    for before, after in zip(entitlements(mix, less), entitlements(mix, more), strict=True):
        assert before <= after + EXACT


def test_a_mix_worked_out_by_hand() -> None:
    mix = [Claim(0.1, 0.15, 1_000), Claim(weight=100), Claim(weight=300), Claim(0.05)]
    # 0.15 to the first; 0.05 and what is left of 0.9, 0.7, by weight to the others
    assert entitlements(mix, 0.9) == pytest.approx([0.15, 0.14, 0.42, 0.19])
