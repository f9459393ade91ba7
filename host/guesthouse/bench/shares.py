"""CPU time that guests get, beside what their quotas entitle them to, in mixes that always work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guesthouse.bench.entitlement import entitlements
from guesthouse.bench.measuring import guest, program
from guesthouse.bench.parts import endless, wait_s
from guesthouse.bench.stage import PERIOD_US, Part, Stage
from guesthouse.board.micropython import Progress
from guesthouse.core.errors import GuesthouseError
from guesthouse.core.model import BoardModel
from guesthouse.guests.image import Image
from guesthouse.link.client import Client, NoAgent
from guesthouse.measure.account import Snapshot

PERIODS = 10  # of a window; its slices are a hundredth of it at most
_NEARLY = 0.95  # of a window is one: it ends with a summary, which comes a few ms early or late
_SUMMARY_S = 30.0  # they come once a second; an emulator that shares its machine takes minutes
_START_S = 20.0  # of the board's time, for all guests of a mix to run
_TRIES = 6  # windows for each that is wanted


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
        found.append(
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
            )
        )
    found.append(
        Mix(
            "reserved",
            (
                Part("hog0", least=short, weight=1),
                Part("tiny0", least=long, weight=1),
                Part("hog1", weight=10_000),
                Part("hog2", weight=10_000),
            ),
        )
    )
    if crowd:
        found.append(
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
            )
        )
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


def measure(
    client: Client,
    stage: Stage,
    mix: Mix,
    windows: int,
    progress: Progress,
    left_s: Callable[[], float] = endless,
) -> list[Share]:
    """Run a mix of guests that are stopped for so many windows; then stop it.

    Raises GuesthouseError where they do not keep running, or no time is left.
    """
    try:
        stage.play(mix.parts)
        return _shares(mix, _windows(client, mix, windows, progress, left_s))
    finally:
        stage.stop()


def how(windows: int, work_us: int) -> str:
    """How it is measured, in a sentence."""
    some = "one window" if windows == 1 else f"{windows} windows"
    return (
        f"Shares: {some} of {PERIODS} periods of {PERIOD_US // 1000} ms for each mix, from summary "
        f"to summary; hogs take {work_us // 1000} ms at a time, tiny ones {work_us // 20} us."
    )


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


def _windows(
    client: Client, mix: Mix, wanted: int, progress: Progress, left_s: Callable[[], float]
) -> list[_Window]:
    found: list[_Window] = []
    began_us = _await_all(client, mix, left_s)
    last_us = began_us + wanted * _TRIES * PERIODS * PERIOD_US
    while len(found) < wanted:
        before = Snapshot.of(client.model, 0)
        fine = _works(client.model, mix)
        while (client.model.elapsed_us - before.elapsed_us) < _NEARLY * PERIODS * PERIOD_US:
            _summary(client, left_s)
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


def _await_all(client: Client, mix: Mix, left_s: Callable[[], float]) -> int:
    """Until every measured guest has run; the board's time then."""
    _summary(client, left_s)
    began = client.model.elapsed_us
    while not _works(client.model, mix):
        if client.model.elapsed_us - began > _START_S * 1e6:
            raise GuesthouseError(f"the guests of the mix {mix.name} do not run")
        _summary(client, left_s)
    return client.model.elapsed_us


def _summary(client: Client, left_s: Callable[[], float]) -> None:
    seconds = wait_s(left_s, _SUMMARY_S * client.patience, "a window was over")
    try:
        client.wait_for_summary(timeout=seconds / client.patience)
    except NoAgent:
        wait_s(left_s, _SUMMARY_S, "a window was over")
        raise


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
