"""Figures in few cells, for tables; ``core.units`` has the long forms for sentences."""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.core.model import BoardModel


def short_bytes(size: int | None) -> str:
    """``812``, ``8.1k``, ``128k``, ``1.5M``; nothing for None."""
    if size is None:
        return ""
    if size < 1000:
        return str(size)
    for unit, factor in (("k", 1024), ("M", 1024**2)):
        value = size / factor
        if value < 99.95:
            return f"{value:.1f}".removesuffix(".0") + unit
        if value < 1000:
            return f"{value:.0f}{unit}"
    return f"{size / 1024**3:.1f}G"


def short_us(us: int) -> str:
    """``0``, ``850us``, ``12ms``, ``3.4s``, ``2m05s``, ``3h20m``."""
    if us < 1000:
        return f"{us}us" if us else "0"
    if us < 999_500:
        return f"{us / 1000:.1f}ms" if us < 9_950 else f"{us / 1000:.0f}ms"
    if us < 59_950_000:
        return f"{us / 1e6:.1f}s"
    minutes, seconds = divmod(us // 1_000_000, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


def short_count(count: int) -> str:
    """``0``, ``9999``, ``12k``, ``3M``: a counter in four cells."""
    if count < 10_000:
        return str(count)
    if count < 1_000_000:
        return f"{count // 1000}k"
    return f"{count // 1_000_000}M"


def short_share(share: float) -> str:
    """``0.0%``, ``12.3%``, ``100%``: a fraction of one CPU in five cells."""
    return f"{share * 100:.1f}%" if share < 0.9995 else f"{share * 100:.0f}%"


def clock(us: int) -> str:
    """A board time as a clock with milliseconds: ``0:05.123``, ``1:02:03.456``."""
    seconds, rest = divmod(us // 1000, 1000)
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}:{seconds:02}.{rest:03}"
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}.{rest:03}"


@dataclass(frozen=True, slots=True)
class Times:
    """The board's account of its time since boot, in us."""

    elapsed_us: int = 0
    agent_us: int = 0
    guests_us: int = 0
    idle_us: int = 0
    steal_us: int = 0

    @classmethod
    def of(cls, model: BoardModel) -> Times:
        """The account as it stands."""
        return cls(model.elapsed_us, model.agent_us, model.guests_us, model.idle_us, model.steal_us)

    def shares(self, before: Times | None = None) -> Shares | None:
        """Shares of the time since ``before`` (since boot where None); None if no time went by."""
        earlier = before or Times()
        if earlier.elapsed_us >= self.elapsed_us:  # the board booted in between, or nothing came
            earlier = Times()
        elapsed = self.elapsed_us - earlier.elapsed_us
        if elapsed <= 0:
            return None
        return Shares(
            (self.agent_us - earlier.agent_us) / elapsed,
            (self.guests_us - earlier.guests_us) / elapsed,
            (self.idle_us - earlier.idle_us) / elapsed,
            (self.steal_us - earlier.steal_us) / elapsed,
        )


@dataclass(frozen=True, slots=True)
class Shares:
    """Where the time went, as fractions of the elapsed time."""

    agent: float
    guests: float
    idle: float
    steal: float
