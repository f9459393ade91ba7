"""What a board's firmware takes: the version of its bytecode and the machine code in it."""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.board import uf2

# The order is MicroPython's (py/persistentcode.h), the names are mpy-cross's.
_ARCHITECTURES = (
    "",
    "x86",
    "x64",
    "armv6",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
    "rv64imc",
)


@dataclass(frozen=True, slots=True)
class Target:
    """``port`` is MicroPython's (``sys.platform``), ``arch`` mpy-cross's name for the processor.

    ``mpy`` is the version of the compiled files: ``"6.3"``. The number behind the point counts
    for machine code, which the agent has in it.
    """

    port: str
    arch: str
    mpy: str


def target_of(port: str, mpy: int) -> Target:
    """The target of a board whose ``sys.implementation._mpy`` is ``mpy``."""
    arch = mpy >> 10 & 0x0F
    name = _ARCHITECTURES[arch] if arch < len(_ARCHITECTURES) else ""
    return Target(port, name, f"{mpy & 0xFF}.{mpy >> 8 & 3}")


_FAMILIES = {
    uf2.RP2040: Target("rp2", "armv6m", "6.3"),
    uf2.RP2350_ARM_S: Target("rp2", "armv7emsp", "6.3"),
    uf2.RP2350_RISCV: Target("rp2", "rv32imc", "6.3"),
}
"""Of the firmware in a UF2. Every MicroPython from 1.23 to 1.29 takes version 6.3."""


def target_of_family(family: int) -> Target | None:
    """The target of the firmware in a UF2; None where nobody knows it."""
    return _FAMILIES.get(family)
