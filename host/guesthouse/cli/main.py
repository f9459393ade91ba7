"""``guesthouse [-p PORT] VERB ...``: the parser, and the one place where errors become words.

Verbs live in modules of their own, which import what is heavy (polars, Textual, pyserial) only
inside their commands: ``guesthouse --help`` stays quick.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from guesthouse.cli import (
    boards,
    capture,
    control,
    deploying,
    doctor,
    flashing,
    logs,
    new,
    plan,
    show,
    watch,
)
from guesthouse.cli.verbs import Verbs
from guesthouse.core.errors import ExitCode, GuesthouseError

DESCRIPTION = "Several MicroPython programs on one board, each with quotas that hold."
EPILOG = """\
PORT is a0, u0 or c3 (/dev/ttyACM0, /dev/ttyUSB0, COM3), a path, a pyserial URL, sim (a
simulated board on this machine; sim:NAME where there are several), or pico-sim (an emulated
Raspberry Pi Pico, started where it does not run; pico-sim:fresh starts it blank). Without -p it is
$GUESTHOUSE_PORT, or else the only board there is.

first steps:  guesthouse sim            a simulated board that stays
              guesthouse run main.py --cpu 20% --mem 32k
              guesthouse top
"""

# Verbs whose modules need not be there; each has the same register(verbs) as the others.
OPTIONAL = ("guesthouse.cli.demo", "guesthouse.cli.bench")

SIGPIPE_CODE = 141  # what a shell reports for a program that its reader left: 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code (core.errors.ExitCode)."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # a guest's text may hold what the terminal cannot show
    if argv is None:
        # A terminal that closes, or `timeout`, ends a command as Ctrl-C does: ports are given
        # back, recordings closed.
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), _interrupt)
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except GuesthouseError as error:
        tell_error(error.message, error.hint)
        return error.code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _leave_stdout()
        return SIGPIPE_CODE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        tell_error(
            f"the disk is full: {error.filename or 'the output'} is not complete",
            "make room, then run the command again",
        )
        return ExitCode.DISK_FULL
    return code


def _run(argv: Sequence[str]) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "function"):
        parser.print_help(sys.stderr)
        return ExitCode.USAGE
    code = args.function(args)
    return ExitCode.OK if code is None else int(code)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, without importing anything heavy."""
    parser = _Parser(
        prog="guesthouse",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-p", "--port", metavar="PORT", help="the board to talk to (see below)")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = Verbs(parser.add_subparsers(title="verbs", metavar="VERB", parser_class=_Parser))
    for module in (
        boards, doctor, flashing, new, plan, deploying, show, watch, logs, control, capture,
    ):  # fmt: skip
        module.register(verbs)
    for name in OPTIONAL:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).register(verbs)
    return parser


def tell_error(message: str, hint: str) -> None:
    """An error on stderr: what went wrong, and below it what to do."""
    print(f"guesthouse: {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and where to read on, in place of the whole usage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # "--cpu -5%" is a wrong quota, not an option -5% that nobody knows; argparse itself
        # sees that only in plain numbers.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        hint = f"see {self.prog} --help"
        unknown = re.match(r"argument VERB: invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if unknown:
            verbs = re.findall(r"[a-z]+", unknown[2])
            close = difflib.get_close_matches(unknown[1], verbs, 1, 0.5)
            message = f"there is no verb {unknown[1]!r}"
            hint = f"did you mean {close[0]}?" if close else hint
        raise GuesthouseError(message, hint, ExitCode.USAGE)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: metadata takes its time."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object, **kwargs: object) -> None:
        from importlib import metadata

        try:
            print(f"guesthouse {metadata.version('guesthouse')}")
        except metadata.PackageNotFoundError:
            print("guesthouse (not installed: run from its source)")
        parser.exit()


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _leave_stdout() -> None:
    # The interpreter flushes stdout at its end and would complain about the pipe once more.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
