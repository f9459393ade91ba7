"""What the model forgets with the next summary: shares over the last minutes."""

from __future__ import annotations

from collections import deque

from guesthouse.core.model import BoardModel
from guesthouse.core.view.figures import Shares, Times

LENGTH = 240  # summaries: four minutes, more than any sparkline shows


class History:
    """Remembers each guest's CPU share and the board's account, once a summary."""

    def __init__(self) -> None:
        self.shares: Shares | None = None
        self._cpu: dict[int, deque[float]] = {}
        self._before: Times | None = None
        self._seen: tuple[int | None, int] | None = None

    def observe(self, model: BoardModel) -> bool:
        """Take the model in if it holds a new summary; True if it did."""
        stamp = (model.boot_id, model.summaries)
        if stamp == self._seen or not model.summaries:
            return False
        if self._seen is not None and self._seen[0] != model.boot_id:
            self._cpu.clear()
            self._before = None
        self._seen = stamp
        now = Times.of(model)
        self.shares = now.shares(self._before)
        self._before = now
        for instance in model.instances.values():
            shares = self._cpu.setdefault(instance.id, deque(maxlen=LENGTH))
            shares.append(instance.cpu_share)
        for gone in self._cpu.keys() - model.instances.keys():
            del self._cpu[gone]
        return True

    def cpu(self, instance: int) -> list[float]:
        """The guest's CPU shares, oldest first, one a summary."""
        return list(self._cpu.get(instance, ()))
