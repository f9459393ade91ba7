"""From what the command line says to a client with an agent behind it."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from guesthouse.cli.verbs import say
from guesthouse.core.errors import ExitCode, GuesthouseError

if TYPE_CHECKING:
    from guesthouse.board.simstate import SimBoard
    from guesthouse.link.client import Client
    from guesthouse.link.ports import Candidate, PortSpec
    from guesthouse.link.transport import Transport

END_PICO_SIM = "guesthouse sim --stop pico-sim"


def sim_candidates() -> list[Candidate]:
    """The simulated boards that run on this machine, as ports; the emulated Pico is the last."""
    from guesthouse.board import picosim, sim
    from guesthouse.link.ports import PICO_SIM, Candidate
    from guesthouse.link.strangers import MICROPYTHON_RP2

    found = [
        Candidate(
            port=board.port,
            path=board.path,
            kind="sim",
            description=_description("simulated", board),
        )
        for board in sim.list_boards()
    ]
    pico = picosim.find()
    if pico is not None:
        found.append(
            Candidate(
                port=pico.port,
                path=pico.path,
                kind=PICO_SIM,
                description=_description("emulated Pico", pico),
                vid=MICROPYTHON_RP2[0],
                pid=MICROPYTHON_RP2[1],
            )
        )
    return found


def _description(what: str, board: SimBoard) -> str:
    status = "" if board.status == "running" else f", {board.status}"
    return f"{what}, MicroPython {board.version}{status}"


def find_port(args: argparse.Namespace) -> PortSpec:
    """The port that the user means. Raises GuesthouseError with the candidates.

    An emulated Pico that does not run is started. From then on ``args`` name it as a board that
    runs: a command that asks twice does not start it blank twice.
    """
    from guesthouse.link.ports import PICO_SIM, resolve

    spec = resolve(args.port, sims=sim_candidates())
    if spec.kind != PICO_SIM:
        refuse_firmware(args, spec.name)
        return _usable(spec)
    if spec.url and args.firmware is not None:
        _require_firmware(args.firmware)
    if not spec.url:
        board = start_pico_sim(spec.name != PICO_SIM, args.firmware)
        say(f"pico-sim runs MicroPython {board.version}; end it with: {END_PICO_SIM}")
        args.port = PICO_SIM
        spec = resolve(PICO_SIM, sims=sim_candidates())
    return _usable(spec)


def start_pico_sim(fresh: bool, firmware: Path | None, foreground: bool = False) -> SimBoard:
    """Start the emulated Pico; says what takes long. Raises GuesthouseError, see picosim.start."""
    from guesthouse.board import picosim
    from guesthouse.board.firmware import read_firmware

    named = read_firmware(firmware, "named") if firmware is not None else None
    return picosim.start(fresh=fresh, foreground=foreground, firmware=named, progress=say)


def refuse_firmware(args: argparse.Namespace, port: str = "") -> None:
    """Raise GuesthouseError (USAGE) where --firmware is named for a board that it does not fit."""
    if args.firmware is not None:
        raise GuesthouseError(
            "--firmware is what the emulated Pico is started with"
            + (f", and {port} is another board" if port else ""),
            "name it with -p pico-sim, or leave --firmware out",
            ExitCode.USAGE,
        )


def _require_firmware(path: Path) -> None:
    from guesthouse.board import picosim
    from guesthouse.board.firmware import read_firmware

    if not picosim.has(read_firmware(path, "named")):
        raise GuesthouseError(
            f"pico-sim runs already, with other firmware than {path}",
            f"end it, then repeat the command: {END_PICO_SIM}",
            ExitCode.BUSY,
        )


def _usable(spec: PortSpec) -> PortSpec:
    """The same port; a board on this machine that failed, or does not run, says why."""
    from guesthouse.link.ports import PICO_SIM

    if spec.kind == "sim":
        from guesthouse.board import sim

        sim.require(spec.name.partition(":")[2] or "sim")
    elif spec.kind == PICO_SIM:
        from guesthouse.board import picosim

        picosim.require()
    return spec


def _open_again(spec: PortSpec) -> Transport:
    """The port of a board that went away and came back; it is not ours to start it."""
    from guesthouse.link.ports import resolve
    from guesthouse.link.serial import open_serial

    return open_serial(_usable(resolve(spec.name, sims=sim_candidates())))


def usb_of(spec: PortSpec) -> Candidate | None:
    """What the system knows of an open port; None where it is not on USB."""
    from guesthouse.link.ports import list_serial_ports

    candidates = [*sim_candidates(), *list_serial_ports()]
    return next((one for one in candidates if one.path == spec.url), None)


@contextlib.contextmanager
def open_board(
    args: argparse.Namespace,
    *,
    tap: Callable[[bytes, int], None] | None = None,
    reopen: bool = False,
) -> Iterator[Client]:
    """A client that has greeted the agent, so that the model will be complete.

    With ``reopen`` the port may go away and come back, as the same port.
    """
    from guesthouse.link.client import Client
    from guesthouse.link.serial import open_serial

    spec = find_port(args)
    again = (lambda: _open_again(spec)) if reopen else None
    with Client(open_serial(spec), tap=tap, reopen=again, usb=lambda: usb_of(spec)) as client:
        client.hello()
        yield client
