"""Finds the firmware that emulated Picos and their tests run, or builds it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from guesthouse.board import uf2
from guesthouse.core.errors import ExitCode, GuesthouseError

VARIABLE = "GUESTHOUSE_FIRMWARE"

# Both are in every build as plain text: sys.version and the end of the REPL's banner.
_VERSION = re.compile(rb"MicroPython v(\d[0-9A-Za-z.+-]{0,40}) on \d{4}-\d\d-\d\d")
_MACHINE = re.compile(rb"; ([ -~]{2,60} with RP2[0-9]{3}[A-Za-z0-9-]{0,8})\0")
_CIRCUITPYTHON = b"Adafruit CircuitPython"

Progress = Callable[[str], None]
"""Told in a few words what takes long; called from the caller's thread."""


@dataclass(frozen=True, slots=True)
class Firmware:
    """A UF2 with MicroPython for a board of the rp2 port.

    ``version`` is ``"1.26.1"``, with ``-preview...`` behind it where it is one. ``machine`` is
    what the REPL calls the board, empty where the file does not say. ``family`` is the UF2's
    (``uf2.RP2040``). ``origin`` says where the file is from: ``"named"`` or ``"built"``.
    """

    path: Path
    version: str
    machine: str
    family: int
    origin: str

    def image(self) -> uf2.Image:
        """What it puts into flash; read and checked again, the file may have changed."""
        return uf2.read(self.path)


def find_or_build_firmware(
    progress: Progress | None = None,
    *,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Firmware:
    """The firmware to run emulated Picos with.

    In this order: ``path``; the file that ``$GUESTHOUSE_FIRMWARE`` names; the cache; built from
    Debian's packages into the cache (about two minutes, once). Raises GuesthouseError when the
    named file is no firmware, and with what to do where none can be built.
    """
    from guesthouse.board import firmware_build  # here: it imports from this module

    environ = os.environ if environ is None else environ
    if path is not None:
        return read_firmware(path, "named")
    if named := environ.get(VARIABLE, "").strip():
        try:
            return read_firmware(Path(named), "named")
        except GuesthouseError as error:
            hint = f"{error.hint}; or unset {VARIABLE} to have one built".removeprefix("; or ")
            raise GuesthouseError(f"{VARIABLE}: {error.message}", hint, error.code) from error
    return firmware_build.provide(progress or (lambda _: None), environ=environ)


def read_firmware(path: Path, origin: str) -> Firmware:
    """Look into a UF2; GuesthouseError when it is damaged or not MicroPython's."""
    image = uf2.read(path)
    data = b"".join(segment.data for segment in image.segments)
    version = _VERSION.search(data)
    if version is None:
        what = "CircuitPython" if _CIRCUITPYTHON in data else "not MicroPython"
        raise GuesthouseError(
            f"the firmware in {path} is {what}",
            "https://micropython.org/download/RPI_PICO has MicroPython for the Pico",
            ExitCode.DAMAGED,
        )
    machine = _MACHINE.search(data)
    return Firmware(
        path=path.resolve(),
        version=version[1].decode(),
        machine=machine[1].decode() if machine else "",
        family=image.family,
        origin=origin,
    )
