"""What the verbs' modules share: adding a verb, and printing data or words."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[[argparse.Namespace], int | None]


class Verbs:
    """The verbs of the command line, in the order in which they are shown."""

    def __init__(self, subparsers: Any) -> None:
        self._subparsers = subparsers

    def add(
        self,
        name: str,
        command: Command,
        help: str,
        *,
        port: bool = True,
        json: bool = False,
        epilog: str = "",
        firmware: str = "",
    ) -> argparse.ArgumentParser:
        """A verb that ``command`` carries out. With ``json`` it prints data and takes --json;
        ``firmware`` is what --firmware is for besides the emulated Pico."""
        parser: argparse.ArgumentParser = self._subparsers.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if port:
            # After the verb as well. Without the default being suppressed it would undo the
            # -p before the verb.
            parser.add_argument(
                "-p", "--port", metavar="PORT", default=argparse.SUPPRESS, help="the board"
            )
            add_firmware_option(parser, firmware)
        if json:
            parser.add_argument("--json", action="store_true", help="print data, not words")
        parser.set_defaults(function=command)
        return parser


def add_firmware_option(parser: argparse.ArgumentParser, more: str = "") -> None:
    """--firmware, of a verb that may start the emulated Pico; ``more`` is what else it is for."""
    parser.add_argument(
        "--firmware",
        metavar="PATH",
        type=Path,
        help=f"{more}the UF2 that pico-sim is started with",
    )


def full_name(guest: str) -> str:
    """An instance's name: ``sampler`` means ``sampler.0``."""
    return guest if "." in guest else f"{guest}.0"


def print_json(value: Any) -> None:
    """``value`` on stdout as one JSON document."""
    print(json.dumps(value, indent=2, default=str))


def print_json_line(value: Any) -> None:
    """``value`` on stdout as one line of JSON, at once: for what follows a board."""
    print(json.dumps(value, default=str), flush=True)


def print_text(text: str) -> None:
    """Text that ends with its own newline, in ASCII where the output can show no more."""
    from guesthouse.cli.screen import to_ascii

    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        text = "".join(to_ascii(line) for line in text.splitlines(keepends=True))
    sys.stdout.write(text)
    sys.stdout.flush()


def say(text: str) -> None:
    """Words beside the data: on stderr."""
    print(text, file=sys.stderr, flush=True)
