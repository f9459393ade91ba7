"""``bench quotas`` on emulated Picos of the bench's own, in their time.

The emulator runs busy code some twelve times slower than a Pico, and the bench is to end within
twelve minutes: two boards run beside each other, there is one window for each mix, the loop has
fewer releases, and guests that hang are not loaded anew for each time that they are stopped. The
periods are those that admission takes on a Pico.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from guesthouse.bench import kills, shares, wakeups
from guesthouse.bench.emulated import board_with, port_of
from guesthouse.bench.kills import Kill
from guesthouse.bench.measuring import oversubscribed
from guesthouse.bench.quotas import Quotas, Scale
from guesthouse.bench.shares import Share
from guesthouse.bench.wakeups import Loop, Wakeup
from guesthouse.board import picosim
from guesthouse.board.firmware import Firmware
from guesthouse.board.micropython import Progress
from guesthouse.core.model import BoardModel
from guesthouse.guests.image import Image
from guesthouse.install.package import Package, build_package
from guesthouse.install.repl import Repl
from guesthouse.install.target import target_of_family

FULL = Scale(windows=1, kills=200, releases=50)
QUICK = Scale(windows=1, kills=5, releases=10)

_ENOUGH_S = 600.0  # then there are no more kills; the board still has to end
_LOOP = Loop(period_us=40_000, work_us=500, least=(10_000, 100_000), slice_max_us=5_000)
_SLICE_MAX_US = 6_000
_HOG_US = 4_000
_TINY_TASKS = 5
_MEMORY_KB = 24
_SHORT = (10_000, 100_000)
_LONG = (20_000, 200_000)
_PLAIN_S = 20.0  # of a real board's time


def measure(firmware: Firmware, scale: Scale, progress: Progress) -> Quotas:
    """Measure on boards with ``firmware``."""
    began = time.monotonic()
    target = target_of_family(firmware.family)
    assert target is not None  # the emulator has refused other firmware
    package = build_package(target)
    given_up = threading.Event()

    def left_s() -> float:
        return 0.0 if given_up.is_set() else began + _ENOUGH_S - time.monotonic()

    def beside() -> tuple[list[Kill], list[Wakeup]]:
        found, woken = _kills_and_wakeups(firmware, package, scale, progress, left_s)
        return found, [*woken, _plain(firmware, scale, progress)]

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(beside)
        try:
            model, found_shares = _shares(firmware, package, scale, progress)
        except BaseException:
            given_up.set()
            raise
        found_kills, found_wakeups = other.result()
    return Quotas.of(model, 0.0, _LOOP.period_us, found_shares, found_kills, found_wakeups)


def _hogs() -> list[Image]:
    return shares.images(
        work_us=_HOG_US,
        slice_max=_SLICE_MAX_US,
        tiny_tasks=_TINY_TASKS,
        memory=_MEMORY_KB,
        crowd=False,
    )


def _shares(
    firmware: Firmware, package: Package, scale: Scale, progress: Progress
) -> tuple[BoardModel, list[Share]]:
    """All mixes, on one board."""
    hogs = _hogs()
    mixes = shares.mixes(_SHORT, _LONG, crowd=False)
    found: list[Share] = []
    progress(f"a board with {len(hogs)} guests starts")
    with (
        board_with(firmware, package, hogs) as client,
        oversubscribed(client, max(mix.limits for mix in mixes), progress),
    ):
        for mix in mixes:
            progress(f"shares: {mix.name}")
            found += shares.measure(client, mix, scale.windows, progress)
        return client.model, found


def _kills_and_wakeups(
    firmware: Firmware,
    package: Package,
    scale: Scale,
    progress: Progress,
    left_s: Callable[[], float],
) -> tuple[list[Kill], list[Wakeup]]:
    """The control loop and guests that hang, on one board."""
    images = [
        *wakeups.images(_LOOP, scale.releases, _MEMORY_KB, _SLICE_MAX_US),
        *(image for image in _hogs() if image.manifest.name in wakeups.HOGS),
        *kills.lasting_images(_MEMORY_KB),
    ]
    progress(f"a board with {len(images)} guests starts")
    woken: list[Wakeup] = []
    with board_with(firmware, package, images) as client:
        for setup in ("alone", "hogs"):
            progress(f"wake-ups: {setup}")
            woken.append(wakeups.measure(client, setup, _LOOP, scale.releases))
        return kills.measure_tasks(client, scale.kills, progress, left_s), woken


def _plain(firmware: Firmware, scale: Scale, progress: Progress) -> Wakeup:
    """The control loop on a board without the house."""
    progress("wake-ups: plain asyncio")
    with picosim.private_board(firmware=firmware) as board, Repl(port_of(board)) as repl:
        return wakeups.plain(repl.run(wakeups.plain_source(_LOOP, scale.releases), _PLAIN_S))
