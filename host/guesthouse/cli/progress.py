"""One line in the terminal that says how far something is."""

from __future__ import annotations

import sys
import time
from typing import Self

from guesthouse.core.units import fmt_bytes

_BAR = 20  # characters
_WIDE = 78
_EVERY_S = 0.1


class ProgressLine:
    """``deploy: [########------------] 12 KiB of 30 KiB  main.py``; gone when the block ends.

    Nothing is shown where stderr is no terminal, or with ``quiet``.
    """

    def __init__(self, label: str, *, quiet: bool = False) -> None:
        self._label = label
        self._live = not quiet and sys.stderr.isatty()
        self._shown = 0.0

    def show(self, done: int, total: int, path: str) -> None:
        """Bytes of how many, and the file under way."""
        now = time.monotonic()
        if self._live and (now - self._shown > _EVERY_S or done == total):
            self._shown = now
            full = _BAR * done // max(1, total)
            bar = "#" * full + "-" * (_BAR - full)
            self._put(f"{self._label}: [{bar}] {fmt_bytes(done)} of {fmt_bytes(total)}  {path}")

    def say(self, what: str) -> None:
        """Something that takes a moment and cannot be measured."""
        if self._live:
            self._put(f"{self._label}: {what}")

    def clear(self) -> None:
        """Take the line away, so that something can be printed in its place."""
        if self._live:
            print(f"\r{'':<{_WIDE}}\r", end="", file=sys.stderr, flush=True)

    def _put(self, text: str) -> None:
        print(f"\r{text[:_WIDE]:<{_WIDE}}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
