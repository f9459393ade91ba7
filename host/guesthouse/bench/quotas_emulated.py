"""``bench quotas`` on emulated Picos of the bench's own, in their time.

The emulator runs busy code some thirty times slower than a Pico, and the bench is to end within
twelve minutes: there is one window for each mix, the loop has fewer releases, and guests that hang
are killed for as long as there is time. The periods are those that admission takes on a Pico.
"""

from __future__ import annotations

import time

from guesthouse.bench import kills, shares, wakeups
from guesthouse.bench.emulated import board_with, port_of
from guesthouse.bench.measuring import Progress, oversubscribed
from guesthouse.bench.quotas import Quotas, Scale
from guesthouse.bench.shares import Share
from guesthouse.bench.wakeups import Loop, Wakeup
from guesthouse.board import picosim
from guesthouse.board.firmware import Firmware
from guesthouse.install.package import build_package
from guesthouse.install.repl import Repl
from guesthouse.install.target import target_of_family

FULL = Scale(windows=1, kills=200, releases=50)
QUICK = Scale(windows=1, kills=2, releases=10)

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
    progress("wake-ups: plain asyncio")
    with picosim.private_board(firmware=firmware) as board, Repl(port_of(board)) as repl:
        printed = repl.run(wakeups.plain_source(_LOOP, scale.releases), _PLAIN_S)
    found_wakeups: list[Wakeup] = [wakeups.plain(printed)]
    found_shares: list[Share] = []
    hogs = shares.images(
        work_us=_HOG_US,
        slice_max=_SLICE_MAX_US,
        tiny_tasks=_TINY_TASKS,
        memory=_MEMORY_KB,
        crowd=False,
    )
    loops = wakeups.images(_LOOP, scale.releases, _MEMORY_KB, _SLICE_MAX_US)
    mixes = shares.mixes(_SHORT, _LONG, crowd=False)
    limits = max(mix.limits for mix in mixes)
    progress(f"a board with {len(hogs) + len(loops)} guests starts")
    with (
        board_with(firmware, package, [*hogs, *loops]) as client,
        oversubscribed(client, limits, progress),
    ):
        for setup in ("alone", "hogs"):
            progress(f"wake-ups: {setup}")
            found_wakeups.append(wakeups.measure(client, setup, _LOOP, scale.releases))
        for mix in mixes:
            progress(f"shares: {mix.name}")
            found_shares += shares.measure(client, mix, scale.windows, progress)
    progress(f"a board with {len(kills.KINDS)} guests that hang starts")
    with board_with(firmware, package, kills.images(_MEMORY_KB)) as client:
        found_kills = kills.measure(client, scale.kills, progress, began + _ENOUGH_S)
        return Quotas.of(
            client.model, 0.0, _LOOP.period_us, found_shares, found_kills, found_wakeups
        )
