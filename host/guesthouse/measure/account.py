"""What a board and its guests used between two summaries, as one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guesthouse.core.errors import GuesthouseError
from guesthouse.core.model import BoardModel, InstanceModel

# The counts that house.guest.every() publishes, and what they are called in JSON.
LOOP_METRICS = {
    "releases": "releases",
    "completions": "completions",
    "missed": "missed",
    "late_p99_us": "lateness_p99_us",
    "late_max_us": "lateness_max_us",
}


@dataclass(frozen=True, slots=True)
class Counters:
    """What an instance has counted since it was made, over all of its restarts. Times in us."""

    cpu_us: int = 0
    throttled_us: int = 0
    slices: int = 0
    overruns: int = 0
    kills: int = 0
    restarts: int = 0
    failures: int = 0

    @classmethod
    def of(cls, guest: InstanceModel) -> Counters:
        """The counters as of the last summary."""
        return cls(**{name: getattr(guest, name) for name in cls.__dataclass_fields__})

    def since(self, before: Counters) -> Counters:
        """What has been counted since ``before``."""
        return Counters(
            **{
                name: getattr(self, name) - getattr(before, name)
                for name in self.__dataclass_fields__
            }
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A board at one of its summaries. ``host_ns`` is when the host had read it (monotonic)."""

    host_ns: int
    boot_id: int | None
    elapsed_us: int
    agent_us: int
    guests_us: int
    idle_us: int
    steal_us: int
    telemetry_us: int
    guests: Mapping[int, Counters]

    @classmethod
    def of(cls, model: BoardModel, host_ns: int) -> Snapshot:
        """The model as it is; call it when a summary has just come in whole."""
        return cls(
            host_ns,
            model.boot_id,
            model.elapsed_us,
            model.agent_us,
            model.guests_us,
            model.idle_us,
            model.steal_us,
            model.telemetry_us,
            {id: Counters.of(guest) for id, guest in model.instances.items()},
        )


@dataclass(frozen=True, slots=True)
class GuestAccount:
    """A guest over the time of an account; quotas, state and memory as they were at its end."""

    guest: InstanceModel
    used: Counters
    pressure: float  # mean over the time, 0 to 1

    @property
    def loop(self) -> dict[str, int] | None:
        """The counts of a guest with a periodic loop (house.guest.every), None for the others."""
        metrics = self.guest.metrics
        if not LOOP_METRICS.keys() <= metrics.keys():
            return None
        return {LOOP_METRICS[name]: metrics[name] for name in LOOP_METRICS}

    def to_json_dict(self) -> dict[str, Any]:
        """The guest in the demo's object (see docs, "JSON")."""
        guest, used = self.guest, self.used
        return {
            "name": guest.name,
            "state": guest.state,
            "cpu_us": used.cpu_us,
            "cpu_max": guest.cpu_max,
            "cpu_min": guest.cpu_min,
            "mem_live": guest.mem_live,
            "mem_max": guest.mem_max,
            "mem_exact": guest.mem_exact,
            "slices": used.slices,
            "throttled_us": used.throttled_us,
            "pressure": round(self.pressure, 4),
            "overruns": used.overruns,
            "kills": used.kills,
            "restarts": used.restarts,
            "last_reason": guest.last_fault,
            "last_where": guest.last_where,
            **(self.loop or {}),
        }


@dataclass(frozen=True, slots=True)
class Account:
    """Where the time between two summaries went, in us; every part measured by itself.

    ``elapsed_us`` is the board's clock, ``host_elapsed_us`` the host's between the moments at
    which it had read the same two summaries: they differ by what the line took, some ms.
    """

    board: str
    firmware: str
    elapsed_us: int
    host_elapsed_us: int
    agent_us: int
    guests_us: int
    idle_us: int
    steal_us: int
    telemetry_us: int  # a part of agent_us
    guests: list[GuestAccount] = field(default_factory=list)

    @property
    def unaccounted_us(self) -> int:
        """Time that no account holds."""
        return self.elapsed_us - self.agent_us - self.guests_us - self.idle_us - self.steal_us

    def find(self, image: str) -> GuestAccount | None:
        """The first instance of an image."""
        return next((one for one in self.guests if one.guest.image == image), None)

    def share(self, us: int) -> float:
        """A time as a fraction of the elapsed time."""
        return us / self.elapsed_us if self.elapsed_us else 0.0

    def to_json_dict(self) -> dict[str, Any]:
        """The demo's object (see docs, "JSON")."""
        return {
            "board": self.board,
            "firmware": self.firmware,
            "elapsed_us": self.elapsed_us,
            "host_elapsed_us": self.host_elapsed_us,
            "agent_us": self.agent_us,
            "idle_us": self.idle_us,
            "steal_us": self.steal_us,
            "unaccounted_us": self.unaccounted_us,
            "guests": [guest.to_json_dict() for guest in self.guests],
        }


def account(
    model: BoardModel, before: Snapshot, host_ns: int, pressures: Mapping[int, float]
) -> Account:
    """What was used from ``before`` to the last summary, which the host had read at ``host_ns``.

    ``pressures`` are means over that time by instance. Raises GuesthouseError where the board has
    started anew in between: its counters have then begun at 0.
    """
    if model.boot_id != before.boot_id or model.elapsed_us < before.elapsed_us:
        raise GuesthouseError(
            "the board started anew in the meantime: there is nothing to count from",
            "run it again; if it happens again, the board's log or console says why",
        )
    none = Counters()
    return Account(
        board=model.board,
        firmware=model.firmware,
        elapsed_us=model.elapsed_us - before.elapsed_us,
        host_elapsed_us=(host_ns - before.host_ns) // 1000,
        agent_us=model.agent_us - before.agent_us,
        guests_us=model.guests_us - before.guests_us,
        idle_us=model.idle_us - before.idle_us,
        steal_us=model.steal_us - before.steal_us,
        telemetry_us=model.telemetry_us - before.telemetry_us,
        guests=[
            GuestAccount(
                guest,
                Counters.of(guest).since(before.guests.get(id, none)),
                pressures.get(id, guest.pressure),
            )
            for id, guest in sorted(model.instances.items())
        ],
    )
