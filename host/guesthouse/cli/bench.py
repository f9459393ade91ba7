"""The verb bench: figures beside those of what the house replaces, from one run."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from guesthouse.cli.connect import find_port, refuse_firmware
from guesthouse.cli.verbs import Verbs, print_json, print_text, say
from guesthouse.core.errors import ExitCode, GuesthouseError

if TYPE_CHECKING:
    from guesthouse.bench.dispatch import Dispatch
    from guesthouse.board.micropython import MicroPython
    from guesthouse.link.ports import PortSpec


def register(verbs: Verbs) -> None:
    """Add the verb of this module."""
    parser = verbs.add(
        "bench",
        bench,
        "measure the house beside what it replaces",
        json=True,
        epilog="dispatch: what one slice costs, with all quotas and telemetry, beside a switch of\n"
        "plain asyncio and a bare generator. Without a port it runs on a simulated board of its\n"
        "own, which ends with it; with -p pico-sim on emulated Picos of its own, in their time.",
    )
    parser.add_argument("what", choices=("dispatch",))
    parser.add_argument(
        "--seconds", metavar="N", type=_seconds, default=1.0, help="for each measurement (1)"
    )
    parser.add_argument("--rounds", metavar="N", type=_rounds, default=5, help="how often (5)")
    parser.add_argument("--share", action="store_true", help="print a table to paste")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 600")
    return seconds


def _rounds(text: str) -> int:
    if not (text.isdigit() and 1 <= int(text) <= 1000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


def bench(args: argparse.Namespace) -> None:
    from guesthouse.bench.dispatch import measure
    from guesthouse.board.micropython import find_or_provide
    from guesthouse.board.pty import require_supported
    from guesthouse.link.client import Client
    from guesthouse.link.serial import open_serial

    require_supported()
    if _is_emulated(args):
        _show(args, _emulated(args))
        return
    micropython = find_or_provide(say)
    with contextlib.ExitStack() as stack:
        port = _port(args, micropython, stack)
        client = stack.enter_context(Client(open_serial(port)))
        client.hello()
        model = client.wait_for_summary()
        if model.instances:
            raise GuesthouseError(
                f"{port.name} has guests, and they would be measured as well",
                "leave out the port for a board that is started for this",
                ExitCode.REFUSED,
            )
        result = measure(
            client,
            micropython,
            seconds=args.seconds,
            rounds=args.rounds,
            progress=_progress(args),
        )
    _show(args, result)


def _show(args: argparse.Namespace, result: Dispatch) -> None:
    if args.json:
        print_json(result.to_json_dict())
    else:
        print_text(_share(result) if args.share else _words(result))


def _is_emulated(args: argparse.Namespace) -> bool:
    from guesthouse.link.ports import ENVIRONMENT, PICO_SIM

    return (args.port or os.environ.get(ENVIRONMENT)) == PICO_SIM


def _emulated(args: argparse.Namespace) -> Dispatch:
    """On boards of the bench's own: the board that the port names is left alone."""
    from guesthouse.bench.emulated import measure
    from guesthouse.board.firmware import find_or_build_firmware

    firmware = find_or_build_firmware(say, path=args.firmware)
    # It takes minutes, so it says where it is whoever reads that.
    return measure(firmware, args.seconds, lambda text: say(f"bench dispatch: {text}"))


def _port(
    args: argparse.Namespace, micropython: MicroPython, stack: contextlib.ExitStack
) -> PortSpec:
    refuse_firmware(args)
    from guesthouse.board.sim import private_board
    from guesthouse.link.ports import ENVIRONMENT, PortSpec

    if not (args.port or os.environ.get(ENVIRONMENT)):
        board = stack.enter_context(private_board("bench", micropython=micropython))
        return PortSpec(board.path, "the bench's board", "sim")
    port = find_port(args)
    if port.kind != "sim":
        raise GuesthouseError(
            f"{port.name} is not a board on the Unix port of MicroPython",
            "the other side runs on this machine, so the board has to as well: leave out the port",
            ExitCode.USAGE,
        )
    return port


def _progress(args: argparse.Namespace) -> Callable[[str], None]:
    if args.json or not sys.stderr.isatty():
        return lambda text: None
    return lambda text: say(f"bench dispatch: {text}")


def _words(result: Dispatch) -> str:
    lines = [
        f"dispatch on {result.board}, {result.firmware}; us of CPU time for one switch",
        "",
        f"  the house, all quotas and telemetry on   {result.ours_us:8.2f}",
        f"  plain asyncio                            {result.asyncio_us:8.2f}",
        f"  a bare generator                         {result.generator_us:8.2f}",
        f"  the house over plain asyncio             {result.ratio:8.2f} x",
        "",
        "  guests  tasks of each  us",
    ]
    lines += [f"  {one.guests:6}  {one.tasks:13}  {one.us:.2f}" for one in result.by_tasks]
    return "\n".join(lines) + "\n"


def _share(result: Dispatch) -> str:
    lines = [
        f"| dispatch, {result.firmware} | us |",
        "|---|---:|",
        f"| the house, all quotas and telemetry on | {result.ours_us:.2f} |",
        f"| plain asyncio | {result.asyncio_us:.2f} |",
        f"| bare generator | {result.generator_us:.2f} |",
        f"| the house over plain asyncio | {result.ratio:.2f} x |",
    ]
    lines += [
        f"| {one.guests} guests of {one.tasks} tasks | {one.us:.2f} |" for one in result.by_tasks
    ]
    return "\n".join(lines) + "\n"
