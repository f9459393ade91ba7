"""Which port a command means: what the user named, the environment, or the only board there is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from guesthouse.core.errors import ExitCode, GuesthouseError

ENVIRONMENT = "GUESTHOUSE_PORT"

PICO_SIM = "pico-sim"
FRESH = "pico-sim:fresh"

# Of time-outs that fit a real board. Busy code in the emulator runs 10 to 15 times slower than on
# a Pico; the time-outs have room for some of that, and a board that is silent is to be told soon.
_PATIENCE = {PICO_SIM: 10.0}

_SHORT = {"a": "/dev/ttyACM", "u": "/dev/ttyUSB", "c": "COM"}


@dataclass(frozen=True, slots=True)
class PortSpec:
    """A port to open: ``url`` is a path or a pyserial URL, ``name`` what messages call it.

    ``url`` is empty for an emulated Pico that has to be started first; its name is PICO_SIM, or
    FRESH where it is to be blank. ``patience`` is the factor by which time-outs are longer.
    """

    url: str
    name: str
    kind: str = "serial"  # "serial", "url", "sim" or "pico-sim"
    patience: float = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A port that may have a board on it. ``vid`` and ``pid`` are the USB ids where it has them."""

    port: str  # what -p takes
    path: str
    kind: str  # "serial", "sim" or "pico-sim"
    description: str = ""
    vid: int | None = None
    pid: int | None = None
    serial_number: str = ""


class PortError(GuesthouseError):
    """No port, or none that can be opened."""

    def __init__(self, message: str, hint: str, code: ExitCode = ExitCode.NO_BOARD) -> None:
        super().__init__(message, hint, code)


def list_serial_ports() -> list[Candidate]:
    """The serial ports with something on USB behind them, in the order of their names.

    A bare ``ttyS`` of the PC is left out: it exists on every machine and is never a board.
    """
    from serial.tools import list_ports

    found = [
        Candidate(
            port=_short_name(info.device),
            path=info.device,
            kind="serial",
            description=info.product or info.description or "",
            vid=info.vid,
            pid=info.pid,
            serial_number=info.serial_number or "",
        )
        for info in list_ports.comports()
        if info.vid is not None
    ]
    return sorted(found, key=lambda one: _natural(one.path))


def resolve(
    port: str | None,
    *,
    sims: Sequence[Candidate] = (),
    serial_ports: Sequence[Candidate] | None = None,
    environ: Mapping[str, str] | None = None,
) -> PortSpec:
    """The port that ``-p port`` means; without one, $GUESTHOUSE_PORT, or the only board there is.

    ``sims`` are the simulated boards that run, and the emulated Pico if it does;
    ``serial_ports`` is asked of the system where it is None. Raises PortError, which lists the
    candidates.
    """
    environ = os.environ if environ is None else environ
    port = port or environ.get(ENVIRONMENT) or None
    if port is not None:
        return _named(port, sims, serial_ports)
    candidates = [*sims, *(list_serial_ports() if serial_ports is None else serial_ports)]
    if len(candidates) == 1:
        return _spec(candidates[0])
    if not candidates:
        raise PortError(
            "there is no board",
            "connect one, or start a simulated one with: guesthouse sim",
        )
    raise PortError(
        f"there are {len(candidates)} boards, and none was named",
        _choice(candidates),
        ExitCode.USAGE,
    )


def _named(
    port: str, sims: Sequence[Candidate], serial_ports: Sequence[Candidate] | None
) -> PortSpec:
    if port == "sim" or port.startswith("sim:"):
        return _sim(port, [one for one in sims if one.kind == "sim"])
    if port == PICO_SIM or port.startswith(f"{PICO_SIM}:"):
        return _pico_sim(port, sims)
    if "://" in port:
        return PortSpec(port, port, "url")
    short = re.fullmatch(r"([auc])(\d+)", port)
    path = _SHORT[short[1]] + short[2] if short else port
    if re.fullmatch(r"(?i)com\d+", path):
        return PortSpec(path.upper(), path.upper())
    if short or "/" in path or "\\" in path:
        if not Path(path).exists():
            raise PortError(f"there is no port {path}", _others(sims, serial_ports))
        for sim in sims:
            if sim.path == path:
                return _spec(sim)
        return PortSpec(path, path)
    raise PortError(
        f"{port!r} is no port",
        "a port is a0, u0 or c3, a path, a pyserial URL, sim or pico-sim; "
        + _others(sims, serial_ports),
        ExitCode.USAGE,
    )


def _sim(port: str, sims: Sequence[Candidate]) -> PortSpec:
    for sim in sims:
        if sim.port == port:
            return _spec(sim)
    if port == "sim" and len(sims) == 1:
        return _spec(sims[0])
    name = port.partition(":")[2]
    start = f"guesthouse sim {name}".rstrip()
    if not sims:
        raise PortError(
            f"no simulated board{f' named {name}' if name else ''} is running",
            f"start one with: {start}",
        )
    if not name:
        raise PortError(f"{len(sims)} simulated boards are running", _choice(sims), ExitCode.USAGE)
    raise PortError(
        f"no simulated board named {name} is running", f"start it with: {start}; {_choice(sims)}"
    )


def _pico_sim(port: str, sims: Sequence[Candidate]) -> PortSpec:
    if port not in (PICO_SIM, FRESH):
        raise PortError(
            f"{port!r} is no port",
            f"there is one emulated Pico: {PICO_SIM}, or {FRESH} to start it blank",
            ExitCode.USAGE,
        )
    running = next((one for one in sims if one.kind == PICO_SIM), None)
    if running is not None and port == PICO_SIM:
        return _spec(running)
    return PortSpec("", port, PICO_SIM, _PATIENCE[PICO_SIM])


def _spec(candidate: Candidate) -> PortSpec:
    patience = _PATIENCE.get(candidate.kind, 1.0)
    return PortSpec(candidate.path, candidate.port, candidate.kind, patience)


def _others(sims: Sequence[Candidate], serial_ports: Sequence[Candidate] | None) -> str:
    candidates = [*sims, *(list_serial_ports() if serial_ports is None else serial_ports)]
    if not candidates:
        return "no board is connected; a simulated one starts with: guesthouse sim"
    return _choice(candidates)


def _choice(candidates: Sequence[Candidate]) -> str:
    named = [
        f"-p {one.port}" + (f" ({one.description})" if one.description else "")
        for one in candidates
    ]
    return f"choose with {', '.join(named)}"


def _short_name(path: str) -> str:
    for letter, prefix in _SHORT.items():
        number = path.removeprefix(prefix)
        if number != path and number.isdigit():
            return letter + number
    return path


def _natural(path: str) -> tuple[object, ...]:
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path))
