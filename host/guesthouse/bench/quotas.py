"""Whether quotas hold, in figures: shares of the CPU, kills, and the wake-ups of a control loop.

All of it runs on one board with the agent as it is; a control loop under plain asyncio runs beside
it on the same MicroPython. What the machine does to the figures (stolen time) stays in them.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from guesthouse.bench import kills, shares, wakeups
from guesthouse.bench.kills import Kill
from guesthouse.bench.measuring import oversubscribed
from guesthouse.bench.other_side import run_other_side
from guesthouse.bench.parts import Missing, Parts
from guesthouse.bench.shares import Share
from guesthouse.bench.stage import Stage
from guesthouse.bench.wakeups import Loop, Wakeup
from guesthouse.board.micropython import MicroPython, Progress
from guesthouse.guests.image import Image
from guesthouse.link.client import Client
from guesthouse.measure.account import Snapshot
from guesthouse.measure.installed import Installed


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    windows: int  # for each mix
    kills: int  # of each kind
    releases: int  # of the control loop in each setup


FULL = Scale(windows=10, kills=200, releases=1000)
QUICK = Scale(windows=1, kills=10, releases=100)

_LOOP = Loop(period_us=10_000, work_us=300, least=(1_000, 10_000), slice_max_us=3_000)
_SLICE_MAX_US = 3_000
_HOG_US = 1_000
_TINY_TASKS = 50
_MEMORY_KB = 64
_SHORT = (1_000, 10_000)
_LONG = (4_000, 40_000)


@dataclass(frozen=True, slots=True)
class Quotas:
    """What was found, worst first. ``steal`` is the part of the time that other programs had.

    ``how`` says in sentences how it was measured, ``missing`` what was not, or less of.
    """

    board: str
    firmware: str
    steal: float
    loop_us: int  # the period of the control loop
    shares: tuple[Share, ...]
    kills: tuple[Kill, ...]
    wakeups: tuple[Wakeup, ...]
    how: tuple[str, ...]
    missing: tuple[Missing, ...]

    @classmethod
    def of(
        cls,
        board: tuple[str, str],
        steal: float,
        loop_us: int,
        shares: list[Share],
        kills: list[Kill],
        wakeups: list[Wakeup],
        how: list[str],
        missing: list[Missing],
    ) -> Quotas:
        """The same from rows in any order; ``board`` is its name and its firmware."""
        return cls(
            *board,
            steal,
            loop_us,
            tuple(sorted(shares, key=lambda one: -abs(one.error))),
            tuple(sorted(kills, key=lambda one: (-one.survived, -(one.max_us or 0)))),
            tuple(sorted(wakeups, key=lambda one: -one.max_us)),
            tuple(how),
            tuple(sorted(missing, key=lambda one: one.part)),
        )

    def to_json_dict(self) -> dict[str, Any]:
        """The object of ``bench quotas --json`` (see docs, "JSON")."""
        return {
            "board": self.board,
            "firmware": self.firmware,
            "steal": round(self.steal, 4),
            "loop_us": self.loop_us,
            "shares": [one.to_json_dict() for one in self.shares],
            "kills": [one.to_json_dict() for one in self.kills],
            "wakeups": [one.to_json_dict() for one in self.wakeups],
            "how": list(self.how),
            "missing": [one.to_json_dict() for one in self.missing],
        }


def measure(
    client: Client,
    micropython: MicroPython,
    scale: Scale,
    progress: Progress,
    warn: Progress,
) -> Quotas:
    """Measure on the board of ``client``: greeted, with a summary, without guests.

    The board has its former oversubscription and no guests afterwards, whatever happens.
    """
    mixes = shares.mixes(_SHORT, _LONG, crowd=True)
    parts = Parts(progress)
    found_wakeups: list[Wakeup] = []
    found_shares: list[Share] = []
    before = Snapshot.of(client.model, 0)
    with oversubscribed(client, max(mix.limits for mix in mixes), warn):
        with _installed(client, kills.images(_MEMORY_KB), progress):
            found_kills = parts.rows(
                "kills", partial(kills.measure, client, scale.kills, progress)
            )
        hogs = shares.images(
            work_us=_HOG_US,
            slice_max=_SLICE_MAX_US,
            tiny_tasks=_TINY_TASKS,
            memory=_MEMORY_KB,
            crowd=True,
        )
        loops = wakeups.images(_LOOP, scale.releases, _MEMORY_KB, _SLICE_MAX_US)
        stage = Stage(client)
        with _installed(client, [*hogs, *loops], progress):
            for setup in ("alone", "hogs"):
                found_wakeups += parts.row(
                    f"wake-ups: {setup}",
                    partial(wakeups.measure, client, stage, setup, _LOOP, scale.releases),
                )
            for mix in mixes:
                found_shares += parts.rows(
                    f"shares: {mix.name}",
                    partial(shares.measure, client, stage, mix, scale.windows, progress),
                )
    found_wakeups += parts.row(
        "wake-ups: plain asyncio", partial(_plain, micropython, scale.releases)
    )
    after = Snapshot.of(client.model, 0)
    elapsed_us = max(1, after.elapsed_us - before.elapsed_us)
    steal = (after.steal_us - before.steal_us) / elapsed_us
    how = [
        shares.how(scale.windows, _HOG_US),
        f"Kills: slice_max {kills.SLICE_MAX_US // 1000} ms; a guest is started anew for each.",
        wakeups.how(_LOOP, _SLICE_MAX_US),
    ]
    return Quotas.of(
        (client.model.board, client.model.firmware),
        steal,
        _LOOP.period_us,
        found_shares,
        found_kills,
        found_wakeups,
        how,
        parts.missing,
    )


@contextlib.contextmanager
def _installed(client: Client, images: list[Image], progress: Progress) -> Iterator[None]:
    installed = Installed(client)
    try:
        progress(f"{len(images)} guests go onto the board")
        installed.install(images)
        # The replies may be there before the records of the last guest.
        while len(client.model.instances) < len(images):
            client.wait_for_summary()
        yield
    finally:
        installed.remove()


def _plain(micropython: MicroPython, releases: int) -> Wakeup:
    """The control loop in a process of its own."""
    seconds = releases * _LOOP.period_us / 1e6
    with tempfile.TemporaryDirectory(prefix="guesthouse-") as folder:
        path = Path(folder) / "main.py"
        path.write_text(wakeups.plain_source(_LOOP, releases), encoding="utf-8")
        return run_other_side(micropython, [str(path)], wakeups.plain, seconds=seconds)
