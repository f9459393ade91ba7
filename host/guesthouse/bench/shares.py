"""CPU time that guests get, beside what their quotas entitle them to, in mixes that always work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guesthouse.bench.entitlement import Claim, entitlements
from guesthouse.bench.measuring import guest, program
from guesthouse.board.micropython import Progress
from guesthouse.core import wire
from guesthouse.core.errors import GuesthouseError
from guesthouse.core.model import BoardModel
from guesthouse.guests.image import Image
from guesthouse.link.client import Client
from guesthouse.measure.account import Snapshot

PERIOD_US = 100_000  # of every limit
PERIODS = 10  # of a window; its slices are a hundredth of it at most
_SUMMARY_S = 30.0  # they come once a second; an emulator that shares its machine takes minutes
_START_S = 20.0  # of the board's time, for all guests of a mix to run
_TRIES = 6  # windows for each that is wanted


@dataclass(frozen=True, slots=True)
class Part:
    """A guest's quotas in a mix. ``least`` is (us, period in us), ``most`` a share of one CPU.

    One that is not ``measured`` does not always have work: what it uses is taken off what there
    is for the others.
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


@dataclass(frozen=True, slots=True)
class Mix:
    """Guests that run together."""

    name: str
    parts: tuple[Part, ...]

    @property
    def limits(self) -> float:
        """What the limits add up to."""
        return sum(part.most or 0.0 for part in self.parts)


@dataclass(frozen=True, slots=True)
class Share:
    """One guest in one mix, in fractions of one CPU: the window in which it was furthest off.

    ``overall`` is the error over all ``windows`` together.
    """

    mix: str
    guest: str
    requested: float
    delivered: float
    overall: float
    windows: int

    @property
    def error(self) -> float:
        """Delivered less requested."""
        return self.delivered - self.requested

    def to_json_dict(self) -> dict[str, Any]:
        """A row of ``shares`` (see docs, "JSON")."""
        return {
            "mix": self.mix,
            "guest": self.guest,
            "requested": round(self.requested, 5),
            "delivered": round(self.delivered, 5),
            "error": round(self.error, 5),
            "error_overall": round(self.overall, 5),
            "windows": self.windows,
        }


def mixes(short: tuple[int, int], long: tuple[int, int], crowd: bool) -> list[Mix]:
    """What is measured. ``short`` and ``long`` are reservations that the board admits here.

    With ``crowd`` more guests run together, and there are neighbours that do not always have work:
    sleepers that all wake at once, one that floods its log, one that crashes.
    """
    found = [
        Mix(
            "weights",
            (
                Part("hog0", weight=50),
                Part("hog1"),
                Part("hog2", weight=200),
                Part("tiny0", weight=400),
            ),
        ),
        Mix(
            "limits",
            (
                Part("hog0", most=0.05),
                Part("hog1", most=0.2),
                Part("tiny0", most=0.4),
                Part("tiny1"),
            ),
        ),
        Mix(
            "reserved",
            (
                Part("hog0", least=short, weight=1),
                Part("tiny0", least=long, weight=1),
                Part("hog1", weight=10_000),
                Part("hog2", weight=10_000),
            ),
        ),
    ]
    if not crowd:
        found.append(
            Mix(
                "4x",
                (
                    Part("hog0", most=1.0),
                    Part("hog1", most=1.0, weight=200),
                    Part("hog2", most=1.0, least=long, weight=50),
                    Part("tiny0", most=0.9, weight=400),
                    Part("tiny1", most=0.1, weight=10_000),
                ),
            )
        )
    else:
        found += [
            Mix(
                "4x",
                (
                    Part("hog0", most=1.0),
                    Part("hog1", most=1.0, weight=200),
                    Part("hog2", most=0.8, weight=50),
                    Part("hog3", most=0.5, least=long),
                    Part("tiny0", most=0.4, weight=400),
                    Part("tiny1", most=0.2, weight=1_000),
                    Part("tiny2", most=0.05),
                    Part("tiny3", most=0.05, weight=10_000),
                ),
            ),
            Mix(
                "neighbours",
                (
                    Part("hog0", least=short, weight=1),
                    Part("hog1", most=0.3, weight=10_000),
                    Part("tiny0"),
                    Part("hog2"),
                    Part("sleepers", measured=False),
                    Part("chatter", measured=False),
                    Part("crasher", measured=False),
                ),
            ),
        ]
    return found


def images(
    *, work_us: int, slice_max: int, tiny_tasks: int, memory: int, crowd: bool
) -> list[Image]:
    """The guests of all mixes: hogs that take ``work_us`` at a time, tiny ones with many tasks."""
    made = []
    for i in range(4 if crowd else 3):
        source = program("hog", WORK_US=work_us)
        made.append(guest(f"hog{i}", source, memory=memory, slice_max=slice_max))
    for i in range(4 if crowd else 2):
        source = program("hog", WORK_US=work_us // 20, TASKS=tiny_tasks)
        made.append(guest(f"tiny{i}", source, memory=memory, slice_max=slice_max))
    if crowd:
        for name in ("sleepers", "chatter", "crasher"):
            restart = {"policy": "always", "backoff": "1s..1s"}
            source = program(name)
            made.append(guest(name, source, memory=memory, slice_max=slice_max, restart=restart))
    return made


def measure(client: Client, mix: Mix, windows: int, progress: Progress) -> list[Share]:
    """Run a mix of guests that are on the board and stopped, for so many windows; then stop it."""
    # To say what holds anyway takes an emulated board seconds.
    special = [part for part in mix.parts if quotas(part) != quotas(Part(part.guest))]
    try:
        # Reservations first are refused beside limits of the mix before: nobody has any yet.
        for part in special:
            client.command(wire.VERB_SET, quotas(part))
        for part in mix.parts:
            client.command(wire.VERB_START, {"g": part.guest})
        return _shares(mix, _windows(client, mix, windows, progress))
    finally:
        for part in mix.parts:
            client.command(wire.VERB_KILL, {"g": part.guest})
        for part in special:
            client.command(wire.VERB_SET, quotas(Part(part.guest)))


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


@dataclass(frozen=True, slots=True)
class _Window:
    """What guests used between two summaries, by name, and what the agent left them; in us."""

    elapsed_us: int
    capacity_us: int
    used_us: dict[str, int]

    def __add__(self, other: _Window) -> _Window:
        used = {name: us + other.used_us[name] for name, us in self.used_us.items()}
        return _Window(
            self.elapsed_us + other.elapsed_us, self.capacity_us + other.capacity_us, used
        )


def _windows(client: Client, mix: Mix, wanted: int, progress: Progress) -> list[_Window]:
    found: list[_Window] = []
    began_us = _await_all(client, mix)
    last_us = began_us + wanted * _TRIES * PERIODS * PERIOD_US
    while len(found) < wanted:
        before = Snapshot.of(client.model, 0)
        fine = _works(client.model, mix)
        while (client.model.elapsed_us - before.elapsed_us) < 0.99 * PERIODS * PERIOD_US:
            client.wait_for_summary(timeout=_SUMMARY_S)
        window = _window(mix, before, client.model) if fine else None
        if window is not None:
            found.append(window)
        elif client.model.elapsed_us > last_us:
            raise GuesthouseError(
                f"the guests of the mix {mix.name} do not keep running",
                "this machine is too busy to measure on: end other programs, then run it again",
            )
        else:
            progress(f"{mix.name}: a measured guest was stopped; that window does not count")
    return found


def _await_all(client: Client, mix: Mix) -> int:
    """Until every measured guest has run; the board's time then."""
    client.wait_for_summary(timeout=_SUMMARY_S)
    began = client.model.elapsed_us
    while not _works(client.model, mix):
        if client.model.elapsed_us - began > _START_S * 1e6:
            raise GuesthouseError(f"the guests of the mix {mix.name} do not run")
        client.wait_for_summary(timeout=_SUMMARY_S)
    return client.model.elapsed_us


def _by_name(model: BoardModel, mix: Mix) -> dict[str, int]:
    """The ids of a mix's guests."""
    ids = {one.image: id for id, one in model.instances.items()}
    return {part.guest: ids[part.guest] for part in mix.parts}


def _works(model: BoardModel, mix: Mix) -> bool:
    ids = _by_name(model, mix)
    states = [model.instances[ids[part.guest]].state for part in mix.parts if part.measured]
    return all(state in ("ready", "running", "waiting", "throttled") for state in states)


def _window(mix: Mix, before: Snapshot, model: BoardModel) -> _Window | None:
    """What was used since ``before``; None where a measured guest did not work all the time."""
    after = Snapshot.of(model, 0)
    if after.boot_id != before.boot_id:
        raise GuesthouseError("the board started anew while it was measured")
    ids = _by_name(model, mix)
    elapsed_us = after.elapsed_us - before.elapsed_us
    agent_us = after.agent_us - before.agent_us
    capacity_us = elapsed_us - agent_us - (after.steal_us - before.steal_us)
    used = {}
    for part in mix.parts:
        counted = after.guests[ids[part.guest]].since(before.guests[ids[part.guest]])
        if not part.measured:
            capacity_us -= counted.cpu_us
        elif counted.kills or counted.failures or counted.restarts:
            return None
        else:
            used[part.guest] = counted.cpu_us
    return _Window(elapsed_us, capacity_us, used)


def _shares(mix: Mix, windows: Sequence[_Window]) -> list[Share]:
    whole = windows[0]
    for window in windows[1:]:
        whole += window
    overall = _errors(mix, whole)
    found = []
    for name in whole.used_us:
        worst = max(
            (_errors(mix, window)[name] for window in windows), key=lambda pair: abs(_off(pair))
        )
        found.append(Share(mix.name, name, *worst, _off(overall[name]), len(windows)))
    return found


def _errors(mix: Mix, window: _Window) -> dict[str, tuple[float, float]]:
    """(requested, delivered) of every measured guest."""
    parts = [part for part in mix.parts if part.measured]
    wanted = entitlements(
        [part.claim for part in parts], window.capacity_us / window.elapsed_us
    )
    return {
        part.guest: (share, window.used_us[part.guest] / window.elapsed_us)
        for part, share in zip(parts, wanted, strict=True)
    }


def _off(pair: tuple[float, float]) -> float:
    return pair[1] - pair[0]
