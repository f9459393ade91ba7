"""What each of several guests that always have work is to get of one CPU: the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """A guest's quotas. ``least`` (no reservation: 0) and ``most`` (no limit: 1) of one CPU."""

    least: float = 0.0
    most: float = 1.0
    weight: int = 100


def entitlements(claims: Sequence[Claim], capacity: float) -> list[float]:
    """What each gets of ``capacity``, the part of the CPU that the agent leaves; water-filled.

    Everybody has ``least``. What is left is poured in by weight, and whoever is full at ``most``
    leaves the rest to the others. A reservation holds where there is not enough for all of them:
    then the sum is above ``capacity``, and somebody's request will not be met.
    """
    shares = [claim.least for claim in claims]
    left = capacity - sum(shares)
    weight = sum(claim.weight for claim in claims)

    def level_when_full(index: int) -> float:
        claim = claims[index]
        return (claim.most - claim.least) / claim.weight

    for index in sorted(range(len(claims)), key=level_when_full):
        if left <= 0:
            break
        claim = claims[index]
        more = min(claim.most - claim.least, left * claim.weight / weight)
        shares[index] += more
        left -= more
        weight -= claim.weight
    return shares
