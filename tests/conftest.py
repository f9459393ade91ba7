"""What every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from guesthouse.board.firmware import Firmware


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with an emulated Pico go first, because they take minutes.

    Two processes share the files, which stay whole, because the tests of one share a board: the
    short ones fill what is left of the time.
    """
    emulated = {item.path for item in items if "firmware" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in emulated)


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
