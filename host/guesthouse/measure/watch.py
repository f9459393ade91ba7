"""Watching a board for a while, from one summary to another."""

from __future__ import annotations

import time
from collections.abc import Callable

from guesthouse.core import wire
from guesthouse.core.tracker import Update
from guesthouse.link.client import Client, NoAgent
from guesthouse.measure.account import Account, Snapshot, account

_SUMMARY_S = 10.0  # for a summary that was asked for; they come once a second by themselves

Tell = Callable[[list[Update]], None]
"""Told what happened, after each look at the line."""


class Watch:
    """An account that is kept from the summary at which it was made.

    ``tell`` hears everything that the line brings from then on.
    """

    def __init__(self, client: Client, tell: Tell | None = None) -> None:
        self._client = client
        self._tell = tell or (lambda updates: None)
        self._pressure: dict[int, float] = {}  # integral over time, by instance
        self._read_ns = 0
        self._summaries = client.model.summaries
        self._elapsed_us = 0
        self.ask()
        self.before = Snapshot.of(client.model, self._read_ns)
        self._pressure.clear()

    @property
    def began_us(self) -> int:
        """The board's time at the beginning."""
        return self.before.elapsed_us

    def run(self, seconds: float) -> None:
        """Let ``seconds`` of the board's own time pass since this watch began.

        An emulated board may take many times as long. Ends early where the board starts anew.
        """
        while (left := seconds - self.seconds) > 0 and self._same_boot():
            # No board is faster than the host: it need not be asked before.
            due_ns = self._read_ns + left * 1e9 * self._client.patience
            read_ns = self._read_ns
            while self._read_ns == read_ns:
                if (wait_ns := due_ns - time.monotonic_ns()) <= 0:
                    self.ask()
                    break
                self._poll(min(0.1, wait_ns / 1e9))

    @property
    def seconds(self) -> float:
        """Of the board's time from the beginning to the last summary that was read."""
        return (self._client.model.elapsed_us - self.began_us) / 1e6

    def ask(self) -> None:
        """Have the board send a summary now, and read it."""
        seen = self._client.model.summaries
        self._client.command(wire.VERB_HELLO)
        end = time.monotonic() + _SUMMARY_S * self._client.patience
        self._poll(0.0)
        while self._client.model.summaries == seen:
            if time.monotonic() > end:
                raise NoAgent(f"the agent on {self._client.port} sends no summaries", "")
            self._poll(0.02)

    def account(self) -> Account:
        """What was used from the beginning to the last summary that was read."""
        model = self._client.model
        span = max(1, model.elapsed_us - self.before.elapsed_us)
        means = {id: total / span for id, total in self._pressure.items()}
        return account(model, self.before, self._read_ns, means)

    def _same_boot(self) -> bool:
        return self._client.model.boot_id == self.before.boot_id

    def _poll(self, timeout: float) -> None:
        updates = self._client.poll(timeout)
        now = time.monotonic_ns()
        model = self._client.model
        if model.summaries != self._summaries:
            # A summary tells the pressure of the time since the one before it.
            span = model.elapsed_us - self._elapsed_us
            for id, guest in model.instances.items():
                self._pressure[id] = self._pressure.get(id, 0.0) + guest.pressure * span
            self._summaries, self._elapsed_us, self._read_ns = (
                model.summaries,
                model.elapsed_us,
                now,
            )
        self._tell(updates)
