"""From what the command line says to a client with an agent behind it."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guesthouse.link.client import Client
    from guesthouse.link.ports import Candidate, PortSpec
    from guesthouse.link.transport import Transport


def sim_candidates() -> list[Candidate]:
    """The simulated boards that run on this machine, as ports."""
    from guesthouse.board import sim
    from guesthouse.link.ports import Candidate

    return [
        Candidate(
            port=board.port,
            path=board.path,
            kind="sim",
            description=f"simulated, MicroPython {board.version}"
            + ("" if board.status == "running" else f", {board.status}"),
        )
        for board in sim.list_boards()
    ]


def find_port(port: str | None) -> PortSpec:
    """The port that the user means. Raises GuesthouseError with the candidates."""
    from guesthouse.link.ports import resolve

    spec = resolve(port, sims=sim_candidates())
    if spec.kind == "sim":
        from guesthouse.board import sim

        sim.require(spec.name.partition(":")[2] or "sim")  # a board that failed says why
    return spec


def open_port(port: str | None) -> Transport:
    """The port, opened so that it is ours alone."""
    from guesthouse.link.serial import open_serial

    return open_serial(find_port(port))


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

    spec = find_port(args.port)
    again = (lambda: open_port(spec.name)) if reopen else None
    with Client(open_serial(spec), tap=tap, reopen=again) as client:
        client.hello()
        yield client
