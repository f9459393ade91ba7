"""``bench quotas`` on emulated Picos of the bench's own, in their time.

The emulator runs busy code some twelve times slower than a Pico, and the bench is to end within
twelve minutes: two boards run beside each other, there is one window for each mix, the loop has
fewer releases, and guests that hang are not loaded anew for each time that they are stopped. The
periods are those that admission takes on a Pico.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

from guesthouse.bench import kills, shares, wakeups
from guesthouse.bench.emulated import board_with, port_of
from guesthouse.bench.kills import Kill
from guesthouse.bench.measuring import oversubscribed
from guesthouse.bench.parts import Parts, wait_s
from guesthouse.bench.quotas import Quotas, Scale
from guesthouse.bench.shares import Share
from guesthouse.bench.stage import Stage
from guesthouse.bench.wakeups import Loop, Wakeup
from guesthouse.board import picosim
from guesthouse.board.firmware import Firmware
from guesthouse.board.micropython import Progress
from guesthouse.core.errors import GuesthouseError
from guesthouse.guests.image import Image
from guesthouse.install.package import Package, build_package
from guesthouse.install.repl import Repl
from guesthouse.install.target import target_of_family
from guesthouse.link.client import Client

FULL = Scale(windows=1, kills=200, releases=50)
QUICK = Scale(windows=1, kills=5, releases=10)

_ENOUGH_S = 690.0  # then nothing more begins; the boards still have to end
_LOOP = Loop(period_us=40_000, work_us=500, least=(10_000, 100_000), slice_max_us=5_000)
_SLICE_MAX_US = 6_000
_HOG_US = 4_000
_TINY_TASKS = 5
_MEMORY_KB = 24
_SHORT = (10_000, 100_000)
_LONG = (20_000, 200_000)
_PLAIN_S = 20.0  # of a real board's time


def measure(firmware: Firmware, scale: Scale, progress: Progress) -> Quotas:
    """Measure on boards with ``firmware``.

    What fails, or what the time does not do for, is a row of what is missing. Raises
    GuesthouseError where neither board starts.
    """
    began = time.monotonic()
    target = target_of_family(firmware.family)
    assert target is not None  # the emulator has refused other firmware
    package = build_package(target)
    given_up = threading.Event()

    def left_s() -> float:
        return 0.0 if given_up.is_set() else began + _ENOUGH_S - time.monotonic()

    run = _Run(firmware, package, scale, Parts(progress, left_s), SimpleQueue())
    for kind in kills.KINDS:
        run.kinds.put(kind)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(run.whole_board, "the board of the control loop", run.control_loop)
        try:
            run.whole_board("the board of the mixes", run.mixes)
        except BaseException:
            given_up.set()
            raise
        other.result()
    if not run.boards:
        raise GuesthouseError(
            "no emulated board has started: " + "; ".join(one.why for one in run.parts.missing),
            "end other programs, then run it again",
        )
    while not run.kinds.empty():
        run.parts.lacks(f"kills: {run.kinds.get()}", "no board was left to measure it on")
    found = {kill.kind for kill in run.kills}
    run.kills += [Kill.of(kind, [], 0, 0) for kind in kills.KINDS if kind not in found]
    how = [
        "Times are those of emulated boards: of two beside each other, and plain asyncio on one of "
        "its own.",
        shares.how(scale.windows, _HOG_US),
        f"Kills: slice_max {kills.TASK_SLICE_MAX_US // 1000} ms; the task that hangs is taken off "
        "the CPU, and its guest goes on with the next one.",
        wakeups.how(_LOOP, _SLICE_MAX_US),
    ]
    return Quotas.of(
        run.boards[0],
        0.0,
        _LOOP.period_us,
        run.shares,
        run.kills,
        run.wakeups,
        how,
        run.parts.missing,
    )


@dataclass(slots=True)
class _Run:
    """What the boards share: each kind of kill is taken by the one that is free first."""

    firmware: Firmware
    package: Package
    scale: Scale
    parts: Parts
    kinds: SimpleQueue[str]
    boards: list[tuple[str, str]] = field(default_factory=list)  # name and firmware, as they say
    shares: list[Share] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    wakeups: list[Wakeup] = field(default_factory=list)

    def whole_board(self, which: str, measure: Callable[[], None]) -> None:
        """Where it does not start, or goes away, the row says so for all that it had left to do."""
        try:
            measure()
        except GuesthouseError as error:
            self.parts.lacks(which, error.message)

    def mixes(self) -> None:
        """All mixes, on one board; then kills."""
        mixes = shares.mixes(_SHORT, _LONG, crowd=False)
        progress = self.parts.progress
        with self._board(_hogs()) as client:
            stage = Stage(client)
            with oversubscribed(client, max(mix.limits for mix in mixes), progress):
                for mix in mixes:
                    self.shares += self.parts.rows(
                        f"shares: {mix.name}",
                        partial(
                            shares.measure,
                            client, stage, mix, self.scale.windows, progress, self.parts.left_s,
                        ),
                    )
            self._kill(client)

    def control_loop(self) -> None:
        """The control loop in plain asyncio, then alone and beside hogs; then kills."""
        images = [
            *wakeups.images(_LOOP, self.scale.releases, _MEMORY_KB, _SLICE_MAX_US),
            *(image for image in _hogs() if image.manifest.name in wakeups.HOGS),
        ]
        # Before the board starts: one that idles keeps a processor busy.
        self.wakeups += self.parts.row("wake-ups: plain asyncio", self.plain)
        with self._board(images) as client:
            stage = Stage(client)
            for setup in ("alone", "hogs"):
                self.wakeups += self.parts.row(
                    f"wake-ups: {setup}",
                    partial(
                        wakeups.measure,
                        client, stage, setup, _LOOP, self.scale.releases, self.parts.left_s,
                    ),
                )
            self._kill(client)

    def plain(self) -> Wakeup:
        """The control loop on a board without the house."""
        with (
            picosim.private_board(firmware=self.firmware) as board,
            Repl(port_of(board)) as repl,
        ):
            source = wakeups.plain_source(_LOOP, self.scale.releases)
            seconds = wait_s(self.parts.left_s, _PLAIN_S * repl.patience, "plain asyncio ran")
            return wakeups.plain(repl.run(source, seconds / repl.patience))

    @contextlib.contextmanager
    def _board(self, images: list[Image]) -> Iterator[Client]:
        """A board with these guests and those that hang."""
        images = [*images, *kills.lasting_images(_MEMORY_KB)]
        self.parts.progress(f"a board with {len(images)} guests starts")
        with board_with(self.firmware, self.package, images) as client:
            self.boards.append((client.model.board, client.model.firmware))
            yield client

    def _kill(self, client: Client) -> None:
        """Kinds of kills, as long as there are any that no board has taken."""
        if self.kinds.empty() or not self.parts.row(
            "kills: the warden", partial(kills.set_warden, client)
        ):
            return
        with contextlib.suppress(Empty):
            while True:
                kind = self.kinds.get_nowait()
                # Those that are left are shared by two boards.
                seconds = 2 * self.parts.left_s() / (self.kinds.qsize() + 2)
                self.kills += self.parts.row(
                    f"kills: {kind}", partial(self._kills_of, client, kind, seconds)
                )

    def _kills_of(self, client: Client, kind: str, seconds: float) -> Kill:
        wanted = self.scale.kills
        found = kills.measure_tasks(client, kind, wanted, self.parts.progress, seconds)
        if found.n < wanted:
            self.parts.lacks(f"kills: {kind}", f"{found.n} of {wanted} in the time there was")
        return found


def _hogs() -> list[Image]:
    return shares.images(
        work_us=_HOG_US,
        slice_max=_SLICE_MAX_US,
        tiny_tasks=_TINY_TASKS,
        memory=_MEMORY_KB,
        crowd=False,
    )
