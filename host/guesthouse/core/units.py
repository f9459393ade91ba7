"""Quotas as people write them, and figures as people read them.

Parsers raise GuesthouseError (exit code USAGE) that repeats the value and shows one that works.
A size is binary, as on every microcontroller's data sheet: 32k is 32768 bytes.
"""

from __future__ import annotations

import math
import re

from guesthouse.core.errors import ExitCode, GuesthouseError

DEFAULT_PERIOD_US = 100_000
# The agent counts periods and budgets in small ints, which end at 2**30 on a 32-bit board.
MAX_QUOTA_US = 2**30 - 1
MAX_SIZE = 2**32 - 3  # a u32 on the wire, less its two special values

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-zµμ]*)\s*", re.ASCII)
_TIME_UNITS = {
    "us": 1,
    "µs": 1,  # U+00B5 micro sign
    "μs": 1,  # U+03BC Greek mu: keyboards differ
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
}
_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "k": 1024,
    "kb": 1024,
    "kib": 1024,
    "m": 1024**2,
    "mb": 1024**2,
    "mib": 1024**2,
    "g": 1024**3,
    "gb": 1024**3,
    "gib": 1024**3,
}


def parse_time_us(value: object) -> int:
    """``"5ms"``, ``"250us"``, ``"1.5s"``, ``"2min"`` in microseconds, rounded to the nearest.

    A number without a unit is refused: nobody can tell 5 ms from 5 s by looking at a 5.
    """
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    unit = _TIME_UNITS.get(match[2]) if match else None
    if match is None or unit is None:
        raise _wrong(f"{value!r} is not a time", 'write a number and a unit, for example "5ms"')
    return round(float(match[1]) * unit)


def parse_cpu(value: object, period_us: int = DEFAULT_PERIOD_US) -> tuple[int, int]:
    """A CPU quota as (budget, period), both in microseconds.

    ``"20%"`` and ``0.2`` are shares of one CPU in a period of ``period_us``; ``"1ms/10ms"`` states
    both. A quota is above zero and at most one whole CPU.
    """
    budget_us: float
    if isinstance(value, str) and "/" in value:
        budget_text, _, period_text = value.partition("/")
        budget_us, period_us = parse_time_us(budget_text), parse_time_us(period_text)
    else:
        budget_us = _share(value) * period_us
    if not 0 < period_us <= MAX_QUOTA_US:
        raise _wrong(
            f"the period of the CPU quota {value!r} is {fmt_us(period_us)}",
            f"a period is above zero and at most {fmt_us(MAX_QUOTA_US)}",
        )
    if budget_us > period_us:
        raise _wrong(
            f"the CPU quota {value!r} is more than one whole CPU",
            'a board has one CPU: write at most "100%"',
        )
    if round(budget_us) < 1:
        raise _wrong(
            f"the CPU quota {value!r} leaves no microsecond in a period of {fmt_us(period_us)}",
            "ask for more, or leave the quota out to have none",
        )
    return round(budget_us), period_us


def _share(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        share = float(value)
    elif isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9.]+)\s*(%?)\s*", value)):
        try:
            share = float(match[1]) / (100 if match[2] else 1)
        except ValueError:
            raise _not_a_cpu_quota(value) from None
    else:
        raise _not_a_cpu_quota(value)
    if not math.isfinite(share) or share < 0:
        raise _not_a_cpu_quota(value)
    return share


def _not_a_cpu_quota(value: object) -> GuesthouseError:
    return _wrong(
        f"{value!r} is not a CPU quota", 'write a share of one CPU such as "20%", or "1ms/10ms"'
    )


def parse_size(value: object) -> int:
    """``"32k"``, ``"1.5M"``, ``"512"`` or ``512`` in bytes; k, M and G are powers of 1024."""
    size: float
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
        unit = _SIZE_UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise _wrong(f"{value!r} is not a size", 'write bytes, or for example "32k"')
        size = float(match[1]) * unit
    if not 0 <= size <= MAX_SIZE:
        raise _wrong(f"the size {value!r} is out of range", 'write 0 to 4 GB, for example "32k"')
    return round(size)


def _wrong(message: str, hint: str) -> GuesthouseError:
    return GuesthouseError(message, hint, ExitCode.USAGE)


def fmt_us(us: float | None) -> str:
    """A time to three digits: ``850 us``, ``1.25 ms``, ``3.4 s``, ``2 min 05 s``; None is ``-``."""
    if us is None:
        return "-"
    if us < 0:
        return "-" + fmt_us(-us)
    if us < 999.5:
        return f"{us:.0f} us"
    if us < 999_500:
        return f"{_three_digits(us / 1e3)} ms"
    if us < 59_950_000:
        return f"{_three_digits(us / 1e6)} s"
    minutes, seconds = divmod(round(us / 1e6), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def fmt_bytes(size: float | None) -> str:
    """A size: ``812 B``, ``8.1 KiB``, ``1.5 MiB``, ``4 GiB``; ``-`` for None (no limit)."""
    if size is None:
        return "-"
    if abs(size) < 1024:
        return f"{size:.0f} B"
    if abs(size) < 1024**2 - 51:
        return f"{_one_digit(size / 1024)} KiB"
    if abs(size) < 1024**3 - 51 * 1024:
        return f"{_one_digit(size / 1024**2)} MiB"
    return f"{_one_digit(size / 1024**3)} GiB"


def fmt_share(share: float | None) -> str:
    """A fraction of one CPU as a percentage: ``20.0%``; ``-`` for None (no limit)."""
    if share is None:
        return "-"
    text = f"{share * 100:.1f}%"
    return "0.0%" if text == "-0.0%" else text


def _three_digits(value: float) -> str:
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _one_digit(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
