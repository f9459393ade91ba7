"""A board made by hand: the demo's guests in the middle of their story, for tests and pictures.

Nothing here is random or reads a clock, so that what is drawn of it is always the same.
"""

from __future__ import annotations

import asyncio
import math

from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.model import BoardModel, Event, InstanceModel, LogLine
from guesthouse.tui.source import LinkState, LinkStatus, News

KIB = 1024
MS = 1000
S = 1_000_000


def _guest(id: int, image: str, state: str = "waiting", **fields: object) -> InstanceModel:
    guest = InstanceModel(id, f"{image}.0", image, state=state, autostart=True, digest="1f3a9c02")
    guest.mem_exact = True
    guest.slice_max_us = 5 * MS
    for name, value in fields.items():
        setattr(guest, name, value)
    return guest


def _percent(value: int) -> int:
    """Of a period of 100 ms, in us."""
    return value * MS


def demo_board() -> BoardModel:
    """Nine guests, 83 s after boot: two hogs, a leaker and a crasher among honest ones."""
    model = BoardModel(
        board="bench",
        firmware="MicroPython 1.25.0 unix",
        agent="0.1.0",
        boot_id=0x1F3A,
        heap_bytes=1024 * KIB,
        heap_used=412 * KIB,
        agent_bytes=61 * KIB,
        heap_largest_free=498 * KIB,
        collections=83,
        longest_collection_us=1_900,
        elapsed_us=83 * S + 400 * MS,
        agent_us=2 * S,
        guests_us=47 * S,
        idle_us=34 * S,
        steal_us=300 * MS,
        max_guests=16,
        cpu_capacity=0.9,
        oversubscription_cpu=2.0,
        oversubscription_ram=2.0,
        summaries=83,
        mechanisms={"slot": "ok", "tick": "ok", "frame table": "ok"},
        dropped={"state": 0, "summary": 0, "text": 0, "trace": 0},
    )
    guests = [
        _guest(
            2,
            "control",
            cpu_max_us=_percent(20),
            cpu_min_us=1 * MS,
            cpu_min_period_us=10 * MS,
            cpu_share=0.062,
            slices=16_680,
            mem_live=int(5.2 * KIB),
            mem_peak=6 * KIB,
            mem_max=16 * KIB,
            longest_slice_us=900,
            criticality=9,
            metrics={
                "releases": 8340,
                "completions": 8340,
                "missed": 0,
                "lateness_p99_us": 180,
                "lateness_max_us": 640,
            },
        ),
        _guest(
            3,
            "sampler",
            cpu_max_us=_percent(20),
            cpu_share=0.117,
            slices=4_120,
            mem_live=int(14.6 * KIB),
            mem_peak=18 * KIB,
            mem_high=24 * KIB,
            mem_max=32 * KIB,
            longest_slice_us=2_300,
            pressure=0.03,
        ),
        _guest(
            4,
            "logger",
            cpu_max_us=_percent(10),
            cpu_share=0.008,
            slices=830,
            mem_live=int(3.4 * KIB),
            mem_peak=4 * KIB,
            mem_max=16 * KIB,
            longest_slice_us=700,
            storage_max=16 * KIB,
        ),
        _guest(
            5,
            "blinker",
            cpu_max_us=_percent(5),
            cpu_share=0.001,
            slices=166,
            mem_live=900,
            mem_peak=1_200,
            mem_max=8 * KIB,
            longest_slice_us=90,
        ),
        _guest(
            6,
            "hog_polite",
            "throttled",
            reason="throttled",
            cpu_max_us=_percent(30),
            cpu_share=0.3,
            throttled_us=57 * S,
            slices=24_900,
            pressure=0.68,
            mem_live=int(1.1 * KIB),
            mem_peak=2 * KIB,
            mem_max=16 * KIB,
            longest_slice_us=1_000,
        ),
        _guest(
            7,
            "hog_loop",
            "backoff",
            reason="backoff",
            cpu_max_us=_percent(20),
            cpu_share=0.0,
            throttled_us=2 * S,
            slices=31,
            mem_live=700,
            mem_peak=900,
            mem_max=16 * KIB,
            longest_slice_us=5_240,
            overruns=7,
            kills=7,
            restarts=7,
            failures=7,
            last_fault="overrun",
            last_where="main.py:7 in spin < main.py:12 in main",
        ),
        _guest(
            8,
            "leaker",
            "running",
            cpu_max_us=_percent(20),
            cpu_share=0.043,
            slices=2_480,
            mem_live=int(28.9 * KIB),
            mem_peak=int(33.1 * KIB),
            mem_high=24 * KIB,
            mem_max=32 * KIB,
            mem_exact=False,
            longest_slice_us=1_700,
            kills=5,
            restarts=5,
            failures=5,
            last_fault="oom",
            last_where="main.py:5 in hoard < main.py:11 in main",
        ),
        _guest(
            9,
            "crasher",
            "quarantined",
            reason="too-many-failures",
            cpu_max_us=_percent(10),
            slices=44,
            mem_max=8 * KIB,
            mem_peak=1_300,
            longest_slice_us=400,
            failures=8,
            restarts=7,
            last_fault="exception",
            last_where="main.py:9 in poll < main.py:14 in main",
            last_what="ZeroDivisionError: divide by zero",
        ),
        _guest(
            10,
            "stats",
            "exited",
            reason="returned",
            cpu_share=0.0,
            slices=52,
            mem_live=0,
            mem_peak=2_100,
            longest_slice_us=3_100,
            confined=True,
        ),
    ]
    model.instances = {guest.id: guest for guest in guests}
    model.events = _story()
    model.logs = _logs()
    return model


def _event(at_ms: int, id: int, name: str, new: str, reason: str, **more: object) -> Event:
    event = Event(at_ms * MS, id, f"{name}.0", "running", new, reason)
    for key, value in more.items():
        setattr(event, key, value)
    return event


def _story() -> list[Event]:
    spin = "main.py:7 in spin < main.py:12 in main"
    hoard = "main.py:5 in hoard < main.py:11 in main"
    poll = "main.py:9 in poll < main.py:14 in main"
    divide = "ZeroDivisionError: divide by zero"
    return [
        _event(70_012, 10, "stats", "exited", "returned"),
        _event(71_203, 9, "crasher", "loading", "retry"),
        _event(71_209, 9, "crasher", "ready", "loaded", numbers=(4_100, 0, 0, 0, 0)),
        _event(71_640, 9, "crasher", "failed", "exception", where=poll, what=divide),
        _event(71_641, 9, "crasher", "quarantined", "too-many-failures", numbers=(0, 8, 0, 0, 0)),
        _event(74_100, 6, "hog_polite", "throttled", "throttled", numbers=(310, 69_400, 0, 0, 0)),
        _event(
            76_480, 8, "leaker", "killed", "oom", where=hoard, numbers=(33_894, 32_768, 0, 0, 0)
        ),
        _event(76_481, 8, "leaker", "backoff", "backoff", numbers=(2_000, 1, 0, 0, 0)),
        _event(78_483, 8, "leaker", "loading", "retry"),
        _event(78_490, 8, "leaker", "ready", "loaded", numbers=(5_200, 0, 0, 0, 0)),
        _event(79_300, 7, "hog_loop", "loading", "retry"),
        _event(79_304, 7, "hog_loop", "ready", "loaded", numbers=(3_900, 0, 0, 0, 0)),
        _event(
            79_311, 7, "hog_loop", "killed", "overrun", where=spin, numbers=(5_240, 5_000, 3, 0, 0)
        ),
        _event(79_312, 7, "hog_loop", "backoff", "backoff", numbers=(16_000, 7, 0, 0, 0)),
        _event(82_900, 6, "hog_polite", "throttled", "throttled", numbers=(290, 69_800, 0, 0, 0)),
    ]


def _logs() -> list[LogLine]:
    return [
        LogLine(79_300 * MS, 7, "hog_loop.0", "spinning without a yield from now on"),
        LogLine(80_000 * MS, 3, "sampler.0", "mean 20.41 sd 0.32 n 512"),
        LogLine(80_400 * MS, 8, "leaker.0", "holding 18 blocks"),
        LogLine(81_000 * MS, 3, "sampler.0", "mean 20.39 sd 0.33 n 512"),
        LogLine(81_500 * MS, 4, "logger.0", "3 lines written to log.txt"),
        LogLine(82_000 * MS, 3, "sampler.0", "mean 20.44 sd 0.31 n 512"),
        LogLine(82_200 * MS, 9, "crasher.0", "quarantined: start it by hand", error=True),
        LogLine(83_000 * MS, 3, "sampler.0", "mean 20.40 sd 0.32 n 512"),
    ]


def tick(model: BoardModel, count: int = 1) -> None:
    """One summary more: shares move a little, the account of the time goes on by a second."""
    for _ in range(count):
        model.summaries += 1
        step = model.summaries
        model.elapsed_us += S
        model.agent_us += 21 * MS
        model.guests_us += 560 * MS + (step % 7) * 4 * MS
        model.idle_us += 410 * MS - (step % 7) * 4 * MS
        model.steal_us += 4 * MS
        for guest in model.instances.values():
            if guest.cpu_share:
                top = guest.cpu_max or 1.0
                wave = 1 + 0.2 * math.sin(step * (0.3 + guest.id / 10))
                guest.cpu_share = min(top, max(0.001, guest.cpu_share * (0.7 + 0.3 * wave)))


def crowd(count: int) -> BoardModel:
    """A board with ``count`` guests that all run."""
    model = demo_board()
    model.instances = {
        id: _guest(
            id,
            f"guest_{id - 1:02}",
            "running",
            cpu_max_us=_percent(10),
            cpu_share=0.01 * (id % 9),
            mem_live=1000 * id,
            mem_max=32 * KIB,
        )
        for id in range(2, count + 2)
    }
    return model


class HandSource:
    """A source whose updates the test gives; it remembers the commands it was sent."""

    def __init__(self, model: BoardModel, status: LinkStatus | None = None) -> None:
        self._model = model
        self.status = status or LinkStatus(LinkState.CONNECTED, "u0")
        self.commands: list[tuple[str, str]] = []
        self.refuses = False
        self.closed = False
        self._news = News()
        self._changed = asyncio.Event()

    @property
    def model(self) -> BoardModel:
        return self._model

    def announce(self, news: News | None = None) -> None:
        """The model (or the status) has changed; ``news`` came with it."""
        if news is not None:
            self._news.events += news.events
            self._news.logs += news.logs
            self._news.console += news.console
        self._changed.set()

    @property
    def waiting(self) -> bool:
        """Whether the monitor has not yet taken what was announced."""
        return self._changed.is_set()

    async def next(self) -> News:
        await self._changed.wait()
        self._changed.clear()
        news, self._news = self._news, News()
        return news

    async def command(self, verb: str, guest: str) -> str:
        self.commands.append((verb, guest))
        if self.refuses:
            raise GuesthouseError(f"{guest} is gone", "deploy it first", ExitCode.REFUSED)
        return {"kill": "killed", "stop": "stopped"}.get(verb, "running")

    async def close(self) -> None:
        self.closed = True
