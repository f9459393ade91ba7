"""What every test may ask for."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def micropython() -> list[str]:
    """The command that starts a real MicroPython, found or provided as the product does it."""
    from guesthouse.board.micropython import find_or_provide

    return list(find_or_provide().argv)
