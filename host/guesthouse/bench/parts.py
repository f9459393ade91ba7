"""A bench's parts: each is measured, or a row says why it was not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from guesthouse.board.micropython import Progress
from guesthouse.core.errors import ExitCode, GuesthouseError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Missing:
    """A part that was not measured, or less of it than is wanted, and why."""

    part: str
    why: str

    def to_json_dict(self) -> dict[str, str]:
        """A row of ``missing`` (see docs, "JSON")."""
        return {"part": self.part, "why": self.why}


def endless() -> float:
    """The seconds left where nothing bounds them."""
    return float("inf")


@dataclass(slots=True)
class Parts:
    """Runs parts, one after the other or in threads of their own, while there is time.

    ``left_s`` says how many seconds of this machine's clock are left; parts that wait ask it too.
    """

    progress: Progress
    left_s: Callable[[], float] = endless
    missing: list[Missing] = field(default_factory=list)

    def rows(self, part: str, measure: Callable[[], list[_T]]) -> list[_T]:
        """What ``measure`` has found; nothing, and a row that says why, where it has failed."""
        return [one for found in self.row(part, measure) for one in found]

    def row(self, part: str, measure: Callable[[], _T]) -> list[_T]:
        """The same for a part that comes to one row.

        Raises GuesthouseError (NO_BOARD) where the board is gone: the parts after it are as well.
        """
        if self.left_s() <= 0:
            self.lacks(part, "the time was up")
            return []
        self.progress(part)
        try:
            return [measure()]
        except GuesthouseError as error:
            self.lacks(part, error.message)
            if error.code == ExitCode.NO_BOARD:
                raise
            return []

    def lacks(self, part: str, why: str) -> None:
        """Take down that a part, or some of it, is missing."""
        self.missing.append(Missing(part, why))
        self.progress(f"{part}: {why}")


def wait_s(left_s: Callable[[], float], most_s: float, what: str) -> float:
    """How many seconds something may still be waited for. Raises GuesthouseError where none."""
    seconds = min(most_s, left_s())
    if seconds <= 0:
        raise GuesthouseError(f"the time was up before {what}")
    return seconds
