"""Whether guests fit a board together: the board's own admission, asked without a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guesthouse.core import admission
from guesthouse.guests.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Wakeup:
    """How long a reserved guest that has budget left may be runnable and not run, in us.

    ``us`` is ``blocking_us`` (B) and ``others_us``, what other reservations may take first. B is
    ``slice_us`` (the longest slice of another guest, ``of``), ``kill_us`` until that is stopped,
    and ``section_us`` of the agent. Without budget it is ``exhausted_us`` until there is some.
    """

    us: int
    blocking_us: int
    slice_us: int
    of: str | None
    kill_us: int
    section_us: int
    others_us: int
    exhausted_us: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A guest in the plan: the board would take it where ``error`` is empty."""

    manifest: Manifest
    error: str = ""
    hint: str = ""
    wakeup: Wakeup | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The guests in the order of their deployment, and the sums of those that fit.

    CPU in ppm; ``memory`` (the limits) and ``reserved_memory`` in bytes.
    """

    guests: tuple[Planned, ...]
    reserved_ppm: int
    limits_ppm: int
    memory: int
    reserved_memory: int

    @property
    def fits(self) -> bool:
        """Whether the board would take all of them."""
        return not any(guest.error for guest in self.guests)


def plan(manifests: Sequence[Manifest], board: Mapping[str, int]) -> Plan:
    """What a board with the figures ``board`` (see core.admission) says to one after the other.

    A guest that is refused is not there for the next one. One with the name of an earlier one
    replaces it, as a deploy does.
    """
    specs: dict[str, dict[str, Any]] = {}
    refusals: list[tuple[Manifest, tuple[str, str] | None]] = []
    for manifest in manifests:
        spec = manifest.to_json_dict()
        others = [other for name, other in specs.items() if name != manifest.name]
        refusal = admission.refuse(spec, others, specs.get(manifest.name), dict(board))
        if refusal is None:
            specs[manifest.name] = spec
        refusals.append((manifest, refusal))
    admitted = list(specs.values())
    reserved, limits = admission.sums(admitted)
    return Plan(
        guests=tuple(
            Planned(manifest, wakeup=_wakeup(specs[manifest.name], admitted, board))
            if refusal is None
            else Planned(manifest, *refusal)
            for manifest, refusal in refusals
        ),
        reserved_ppm=reserved,
        limits_ppm=limits,
        memory=sum(spec["mem_max"] or 0 for spec in admitted),
        reserved_memory=sum(spec["mem_min"] or 0 for spec in admitted),
    )


def _wakeup(
    spec: dict[str, Any], specs: list[dict[str, Any]], board: Mapping[str, int]
) -> Wakeup | None:
    bound = admission.wakeup(spec, specs, dict(board))
    if bound is None:
        return None
    us, blocking, longest, of, others, exhausted = bound
    section = admission.section_us(specs, dict(board))
    return Wakeup(
        us, blocking, longest, of, blocking - longest - section, section, others, exhausted
    )
