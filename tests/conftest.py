"""What every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from guesthouse.board.firmware import Firmware


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the tests: emulated Picos one after the other, beside all the rest.

    An emulated Pico keeps a core busy. The other files stay whole, because the tests of one share
    a board.
    """
    for item in items:
        emulated = "firmware" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("pico" if emulated else item.path.stem))


@pytest.fixture(scope="session")
def micropython() -> list[str]:
    """The command that starts a real MicroPython, found or provided as the product does it."""
    from guesthouse.board.micropython import find_or_provide

    return list(find_or_provide().argv)


@pytest.fixture(scope="session")
def firmware() -> Firmware:
    """The Pico's firmware as the product finds or builds it: minutes, once on a machine."""
    from guesthouse.board.firmware import find_or_build_firmware

    return find_or_build_firmware(print)
