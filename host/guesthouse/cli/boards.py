"""Verbs about boards themselves: devs, sim."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from guesthouse.cli.connect import refuse_firmware, sim_candidates, start_pico_sim
from guesthouse.cli.verbs import Verbs, add_firmware_option, print_json, print_text, say
from guesthouse.core.errors import ExitCode, GuesthouseError

if TYPE_CHECKING:
    from guesthouse.board.simstate import SimBoard


def register(verbs: Verbs) -> None:
    """Add the verbs of this module."""
    parser = verbs.add(
        "sim",
        sim,
        "start a simulated board, which stays until it is stopped",
        port=False,
        json=True,
        epilog="It runs the same agent on the Unix port of MicroPython, behind a pseudo-terminal.\n"
        "Use it with -p sim, or with -p sim:NAME where it has a name. The name pico-sim means\n"
        "another kind of board: a Pico's own firmware in an emulator, used with -p pico-sim.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", default="sim")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stop", action="store_true", help="end it")
    what.add_argument("--list", action="store_true", help="list those that run")
    what.add_argument("--foreground", action="store_true", help="run it until Ctrl-C")
    parser.add_argument("--fresh", action="store_true", help="with an empty file system")
    parser.add_argument("--heap", metavar="SIZE", help="its heap (4m)")
    add_firmware_option(parser)
    verbs.add("devs", devs, "list the boards that can be talked to", port=False, json=True)


def devs(args: argparse.Namespace) -> None:
    from guesthouse.link.ports import list_serial_ports

    found = [*sim_candidates(), *list_serial_ports()]
    if args.json:
        print_json(
            [
                {
                    "port": one.port,
                    "path": one.path,
                    "kind": one.kind,
                    "description": one.description,
                    "vid": one.vid,
                    "pid": one.pid,
                    "serial_number": one.serial_number,
                }
                for one in found
            ]
        )
        return
    if not found:
        say("no boards; connect one, or start a simulated one with: guesthouse sim")
        return
    wide = max(len(one.port) for one in found), max(len(one.path) for one in found)
    for one in found:
        usb = f"  {one.vid:04x}:{one.pid or 0:04x}" if one.vid is not None else ""
        description = f"{one.description}{usb} {one.serial_number}".strip()
        print_text(f"{one.port:<{wide[0]}}  {one.path:<{wide[1]}}  {description}".rstrip() + "\n")


def sim(args: argparse.Namespace) -> int | None:
    from guesthouse.board import picosim
    from guesthouse.board import sim as boards

    pico = args.name == picosim.NAME
    if args.list:
        emulated = picosim.find()
        running = [*boards.list_boards(), *([emulated] if emulated else [])]
        if args.json:
            print_json([_board(board) for board in running])
        elif not running:
            say("no simulated board is running; start one with: guesthouse sim")
        for board in running if not args.json else ():
            print_text(
                f"{board.port}  {board.path}  {board.status}, process {board.pid}{_resets(board)}\n"
            )
        return None
    if args.stop:
        if not (picosim.stop() if pico else boards.stop(args.name)):
            raise GuesthouseError(
                f"the board {args.name} is not running",
                "guesthouse sim --list shows those that run",
                ExitCode.NO_BOARD,
            )
        say(f"{args.name} is stopped")
        return None
    board = _start_pico(args) if pico else _start(args)
    if args.json:
        print_json(_board(board))
    else:
        end = "Ctrl-C ends it" if args.foreground else f"end it with: guesthouse sim {_end(args)}"
        say(f"{board.name} runs MicroPython {board.version} on {board.path}")
        say(f"use it with -p {board.port}; {end}")
    if args.foreground:
        try:
            if pico:
                picosim.wait()
            else:
                boards.wait(args.name)
        finally:
            _ = picosim.stop() if pico else boards.stop(args.name)
    return None


def _start(args: argparse.Namespace) -> SimBoard:
    from guesthouse.board import sim

    refuse_firmware(args, args.name)
    heap = args.heap or sim.DEFAULT_HEAP
    return sim.start(
        args.name, fresh=args.fresh, foreground=args.foreground, heap=heap, progress=say
    )


def _start_pico(args: argparse.Namespace) -> SimBoard:
    if args.heap is not None:
        raise GuesthouseError(
            "the heap of the emulated Pico is a Pico's: it cannot be chosen",
            "leave --heap out, or start another kind of board with: guesthouse sim",
            ExitCode.USAGE,
        )
    return start_pico_sim(args.fresh, args.firmware, args.foreground)


def _resets(board: SimBoard) -> str:
    """How often it was started again, and what ended it last: the same words as in its log."""
    if not board.restarts:
        return ""
    times = "once" if board.restarts == 1 else f"{board.restarts} times"
    return f", started again {times}, last after {board.last_end}"


def _end(args: argparse.Namespace) -> str:
    return "--stop" if args.name == "sim" else f"{args.name} --stop"


def _board(board: Any) -> dict[str, Any]:
    return {
        "name": board.name,
        "port": board.port,
        "path": board.path,
        "root": str(board.root),
        "log": str(board.log),
        "pid": board.pid,
        "status": board.status,
        "restarts": board.restarts,
        "version": board.version,
    }
