"""The seam between the client and whatever carries the bytes: a serial port, a pty, a test."""

from __future__ import annotations

from typing import Protocol

from guesthouse.core.errors import ExitCode, GuesthouseError


class PortLost(GuesthouseError):
    """The port went away while it was open: a cable pulled, a simulated board ended."""

    def __init__(self, port: str, detail: str = "") -> None:
        super().__init__(
            f"{port} went away" + (f" ({detail})" if detail else ""),
            "look at the cable, or start the simulated board again; then repeat the command",
            ExitCode.NO_BOARD,
        )


class Transport(Protocol):
    """An open line to a board. Bytes are raw: every value survives in both directions."""

    @property
    def name(self) -> str:
        """The port as the user named it, for messages."""
        ...

    @property
    def patience(self) -> float:
        """By how much time-outs are longer than on a real board: 1, and more in an emulator."""
        ...

    def read(self, timeout: float) -> bytes:
        """What has arrived, waiting ``timeout`` seconds at most; b"" where nothing came.

        Raises PortLost.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send all of ``data``. Raises PortLost, or GuesthouseError if the board does not read."""
        ...

    def close(self) -> None:
        """Give the port back. May be called twice."""
        ...
