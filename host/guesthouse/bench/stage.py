"""The guests of a bench on a board: what quotas they have, and who of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from guesthouse.bench.entitlement import Claim
from guesthouse.core import wire
from guesthouse.link.client import Client

PERIOD_US = 100_000  # of every limit


@dataclass(frozen=True, slots=True)
class Part:
    """A guest's quotas in a mix. ``least`` is (us, period in us), ``most`` a share of one CPU.

    One that is not ``measured`` does not always have work.
    """

    guest: str
    least: tuple[int, int] | None = None
    most: float | None = None
    weight: int = 100
    measured: bool = True

    @property
    def claim(self) -> Claim:
        """The same for the computation of the request."""
        least = self.least[0] / self.least[1] if self.least else 0.0
        return Claim(least, 1.0 if self.most is None else self.most, self.weight)


@dataclass(slots=True)
class Stage:
    """Guests that were stopped and had no quotas at first. Quotas are told where they change.

    Each change takes an emulated board seconds.
    """

    client: Client
    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)

    def play(self, parts: Sequence[Part]) -> None:
        """Start these, with these quotas; nobody else has any. Nobody runs before."""
        wanted = {name: quotas(Part(name)) for name in self.given}
        wanted.update({part.guest: quotas(part) for part in parts})
        changed = [
            body
            for name, body in wanted.items()
            if body != self.given.get(name, quotas(Part(name)))
        ]
        # Reservations last: there is no room for them beside those of the mix before.
        for body in sorted(changed, key=lambda body: body["cpu_min_us"] is not None):
            self.client.command(wire.VERB_SET, body)
            self.given[body["g"]] = body
        for part in parts:
            self.running.append(part.guest)
            self.client.command(wire.VERB_START, {"g": part.guest})

    def stop(self) -> None:
        """Nobody runs any longer: one that went on would take its virtual time along."""
        while self.running:
            self.client.command(wire.VERB_KILL, {"g": self.running.pop()})


def quotas(part: Part) -> dict[str, Any]:
    """The body of the command that gives a guest its quotas."""
    least_us, least_period_us = part.least or (None, None)
    return {
        "g": part.guest,
        "cpu_max_us": None if part.most is None else round(part.most * PERIOD_US),
        "cpu_period_us": PERIOD_US,
        "cpu_min_us": least_us,
        "cpu_min_period_us": least_period_us,
        "weight": part.weight,
    }
