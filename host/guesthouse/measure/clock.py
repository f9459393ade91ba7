"""How long something has taken by a board's own clock."""

from __future__ import annotations

import time

from guesthouse.link.client import Client


class BoardClock:
    """Seconds since it was made, as a board that is slower than the host counts them.

    A board that keeps up with the host has the host's seconds; so has one that is away, which is
    waited for. An emulated one tells its own once a second. Call ``seconds`` often.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sum = 0.0
        self._host = time.monotonic()
        self._boot: int | None = None
        self._board_us = 0

    def seconds(self) -> float:
        """What has passed."""
        client, model, now = self._client, self._client.model, time.monotonic()
        if client.patience == 1 or not client.connected:
            self._sum += now - self._host
        elif model.boot_id == self._boot:
            self._sum += max(0, model.elapsed_us - self._board_us) / 1e6 if self._board_us else 0.0
        self._host, self._boot, self._board_us = now, model.boot_id, model.elapsed_us
        return self._sum
