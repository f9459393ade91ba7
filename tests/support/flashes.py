"""What is on the flash of a Pico at the begin of a test."""

from __future__ import annotations

from pathlib import Path

from guesthouse.board.firmware import Firmware
from guesthouse.install.package import BOOT, BoardFile, build_package
from guesthouse.install.target import target_of_family


def agent_files(
    firmware: Firmware, *, starts: bool = True, source: Path | None = None
) -> list[BoardFile]:
    """The agent as ``guesthouse flash`` puts it there; without ``main.py`` nobody starts it.

    ``source`` is the folder of another agent.
    """
    target = target_of_family(firmware.family)
    assert target is not None
    files = build_package(target, source).everything()
    return [file for file in files if starts or file.path != BOOT]
