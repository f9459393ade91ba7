"""Pressure over the last seconds, from a counter of the board: exact, whatever was lost."""

from __future__ import annotations

from collections import deque

_ROUND_MS = 1 << 16  # where the counter begins anew
_LONGEST_US = 65_000_000  # between two readings: it may have gone round where more has passed
WINDOWS_S = (10, 60)
_KEPT_US = 61_000_000


class Waits:
    """The time that an instance could run and did not, as its ``mem`` records tell it."""

    def __init__(self) -> None:
        self._readings: deque[tuple[int, int]] = deque()  # us since boot, ms in all

    def add(self, time_us: int, waited_ms: int) -> None:
        """A reading of the counter, which goes round."""
        total = waited_ms
        if self._readings:
            last_us, last_ms = self._readings[-1]
            if not 0 <= time_us - last_us <= _LONGEST_US:
                self._readings.clear()
            else:
                total = last_ms + (waited_ms - last_ms) % _ROUND_MS
        self._readings.append((time_us, total))
        while len(self._readings) > 2 and time_us - self._readings[1][0] >= _KEPT_US:
            self._readings.popleft()

    def pressure(self, seconds: int) -> float | None:
        """The share of the last ``seconds``, to the second; of as many as are known at first.

        None before there are two readings.
        """
        if len(self._readings) < 2:
            return None
        end_us, end_ms = self._readings[-1]
        # The reading nearest to the begin: readings come a second apart, and some ms late.
        from_us, from_ms = min(
            list(self._readings)[:-1], key=lambda one: abs(end_us - one[0] - seconds * 1_000_000)
        )
        span_us = end_us - from_us
        return min(1.0, (end_ms - from_ms) * 1000 / span_us) if span_us else None
