"""The verb bench: figures beside those of what the house replaces, from one run."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from guesthouse.cli.connect import find_port, refuse_firmware
from guesthouse.cli.verbs import Verbs, print_json, print_text, say
from guesthouse.core.errors import ExitCode, GuesthouseError

if TYPE_CHECKING:
    from guesthouse.board.firmware import Firmware
    from guesthouse.board.micropython import MicroPython
    from guesthouse.link.client import Client
    from guesthouse.link.ports import PortSpec


def register(verbs: Verbs) -> None:
    """Add the verb of this module."""
    parser = verbs.add(
        "bench",
        bench,
        "measure the house beside what it replaces, and whether its quotas hold",
        json=True,
        epilog="dispatch: what one slice costs, with all quotas and telemetry, beside a switch of\n"
        "plain asyncio and a bare generator.\n"
        "quotas: CPU time requested and delivered, how fast guests that hang are stopped, and how\n"
        "late a control loop wakes beside hogs, in the house and in plain asyncio; worst first.\n"
        "memory: what guests are charged beside what they take alone, how far they get beyond\n"
        "their limit, and what many kills lose.\n"
        "Without a port they run on a simulated board of their own, which ends with them; with\n"
        "-p pico-sim on emulated Picos of their own, in their time.",
    )
    benches = ("dispatch", "quotas", "memory")
    parser.add_argument("what", choices=benches, metavar=f"{{{','.join(benches)}}}")
    parser.add_argument(
        "--seconds", metavar="N", type=_seconds, help="dispatch: for each measurement (1)"
    )
    parser.add_argument("--rounds", metavar="N", type=_rounds, help="dispatch: how often (5)")
    parser.add_argument("--quick", action="store_true", help="quotas: a look, of fewer of each")
    parser.add_argument("--share", action="store_true", help="print tables to paste")


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
    from guesthouse.board.pty import require_supported

    _refuse_options(args)
    require_supported()
    {"dispatch": _dispatch, "quotas": _quotas, "memory": _memory}[args.what](args)


def _refuse_options(args: argparse.Namespace) -> None:
    others = {
        "dispatch": {"--quick": args.quick},
        "quotas": {"--seconds": args.seconds, "--rounds": args.rounds},
        "memory": {
            "--quick": args.quick, "--seconds": args.seconds, "--rounds": args.rounds,
        },
    }  # fmt: skip
    for option, given in others[args.what].items():
        if given:
            raise GuesthouseError(
                f"bench {args.what} has no {option}", "see guesthouse bench --help", ExitCode.USAGE
            )


def _dispatch(args: argparse.Namespace) -> None:
    from guesthouse.bench import dispatch, emulated
    from guesthouse.cli.bench_tables import dispatch_words

    seconds = args.seconds or 1.0
    if _is_emulated(args):
        result = emulated.measure(_firmware(args), seconds, _telling(args))
    else:
        with _board(args) as (client, micropython):
            result = dispatch.measure(
                client,
                micropython,
                seconds=seconds,
                rounds=args.rounds or 5,
                progress=_progress(args),
            )
    if args.json:
        print_json(result.to_json_dict())
    else:
        print_text(dispatch_words(result, share=args.share))


def _quotas(args: argparse.Namespace) -> None:
    from guesthouse.bench import quotas, quotas_emulated
    from guesthouse.cli.bench_tables import quotas_words

    if _is_emulated(args):
        scale = quotas_emulated.QUICK if args.quick else quotas_emulated.FULL
        result = quotas_emulated.measure(_firmware(args), scale, _telling(args))
    else:
        scale = quotas.QUICK if args.quick else quotas.FULL
        with _board(args) as (client, micropython):
            result = quotas.measure(client, micropython, scale, _progress(args), _telling(args))
    if args.json:
        print_json(result.to_json_dict())
    else:
        print_text(quotas_words(result, share=args.share))


def _memory(args: argparse.Namespace) -> None:
    from guesthouse.bench import memory, memory_emulated
    from guesthouse.cli.bench_tables import memory_words

    if _is_emulated(args):
        result = memory_emulated.measure(_firmware(args), _telling(args))
    else:
        with _board(args) as (client, micropython):
            result = memory.measure(client, micropython, progress=_progress(args))
    if args.json:
        print_json(result.to_json_dict())
    else:
        print_text(memory_words(result, share=args.share))


@contextlib.contextmanager
def _board(args: argparse.Namespace) -> Iterator[tuple[Client, MicroPython]]:
    """A board on the Unix port without guests, and the MicroPython that the other side runs on."""
    from guesthouse.board.micropython import find_or_provide
    from guesthouse.link.client import Client
    from guesthouse.link.serial import open_serial

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
        yield client, micropython


def _is_emulated(args: argparse.Namespace) -> bool:
    from guesthouse.link.ports import ENVIRONMENT, PICO_SIM

    return (args.port or os.environ.get(ENVIRONMENT)) == PICO_SIM


def _firmware(args: argparse.Namespace) -> Firmware:
    """For boards of the bench's own: the board that the port names is left alone."""
    from guesthouse.board.firmware import find_or_build_firmware

    return find_or_build_firmware(say, path=args.firmware)


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
    return _telling(args)


def _telling(args: argparse.Namespace) -> Callable[[str], None]:
    """Said whoever reads it: on an emulated board it takes minutes."""
    return lambda text: say(f"bench {args.what}: {text}")
