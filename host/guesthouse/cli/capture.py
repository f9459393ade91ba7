"""The verbs record and analyze."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from guesthouse.cli.connect import find_port, open_board
from guesthouse.cli.verbs import Verbs, print_json, print_text, say
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.units import fmt_bytes

if TYPE_CHECKING:
    from guesthouse.core.recording import RecordingWriter
    from guesthouse.link.client import Client
    from guesthouse.measure.clock import BoardClock


def register(verbs: Verbs) -> None:
    """Add the verbs of this module."""
    parser = verbs.add(
        "record",
        record,
        "record the telemetry until Ctrl-C",
        json=True,
        epilog="A recording is what came over the line, byte by byte, with the host's times. It\n"
        "can be read while it grows. A board that goes away is waited for.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="default: by the time")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="the same")
    parser.add_argument(
        "--seconds", metavar="N", type=_seconds, help="end after N seconds of the board's time"
    )
    parser.add_argument("--trace", action="store_true", help="record every slice")
    parser = verbs.add(
        "analyze",
        analyze,
        "ask a recording: shares against quotas, slices, faults, losses",
        port=False,
        json=True,
    )
    parser.add_argument("file", metavar="FILE", type=Path)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def analyze(args: argparse.Namespace) -> None:
    from guesthouse.analysis.report import analyze as report

    answers = report(args.file)
    print_text(answers.to_json() + "\n" if args.json else answers.to_text())


def record(args: argparse.Namespace) -> None:
    from guesthouse.core.recording import RecordingWriter, metadata

    if args.file and args.output:
        raise GuesthouseError("two files to record to", "name one", ExitCode.USAGE)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path: Path = args.output or args.file or Path(f"guesthouse-{stamp}.ghr")
    with RecordingWriter(path, metadata(find_port(args).name)) as writer:
        try:
            _record(args, writer)
        finally:
            if not writer.chunks and path.is_file():
                path.unlink()  # nothing answered: nothing was recorded


def _record(args: argparse.Namespace, writer: RecordingWriter) -> None:
    from guesthouse.measure.clock import BoardClock

    def tap(data: bytes, wall_ns: int) -> None:
        writer.write(data, wall_ns)

    client: Client | None = None
    clock: BoardClock | None = None
    try:
        with open_board(args, tap=tap, reopen=True) as client:
            clock = BoardClock(client)
            # Ctrl-C is the usual way to end it.
            with contextlib.suppress(KeyboardInterrupt):
                if args.trace:
                    client.set_trace(True)
                if not args.json:
                    end = f"for {args.seconds:g} s" if args.seconds else "until Ctrl-C"
                    say(f"recording {client.port} to {writer.path} {end}")
                while args.seconds is None or clock.seconds() < args.seconds:
                    client.poll(0.1)
                    _show_progress(args, client, writer, clock.seconds())
            if args.trace and client.connected:
                with contextlib.suppress(GuesthouseError):
                    client.set_trace(False)
    finally:
        if client is not None and clock is not None and writer.chunks:
            _tell(args, client, writer, clock.seconds())


def _show_progress(
    args: argparse.Namespace, client: Client, writer: RecordingWriter, seconds: float
) -> None:
    if sys.stderr.isatty() and not args.json:
        state = "" if client.connected else f", waiting for {client.port}"
        text = (
            f"{seconds:.0f} s, {client.records} records, {client.tracker.session.missed} missed, "
            f"{fmt_bytes(writer.size)}{state}"
        )  # overwritten by the next one, and by the last words
        print(f"\r{text[:78]:<78}\r", end="", file=sys.stderr, flush=True)


def _tell(
    args: argparse.Namespace, client: Client, writer: RecordingWriter, seconds: float
) -> None:
    missed = client.tracker.session.missed
    dropped = sum(client.model.dropped.values())
    if args.json:
        print_json(
            {
                "file": str(writer.path),
                "seconds": round(seconds, 3),
                "records": client.records,
                "missed": missed,
                "dropped": dict(client.model.dropped),
                "bytes": writer.size,
                "reconnects": client.reconnects,
            }
        )
        return
    losses = f"{missed} missed on the line, {dropped} dropped on the board since its boot"
    if sys.stderr.isatty():
        print(f"\r{'':<78}\r", end="", file=sys.stderr)
    say(
        f"{client.records} records in {seconds:.1f} s, {losses}; "
        f"{fmt_bytes(writer.size)} in {writer.path}"
    )
