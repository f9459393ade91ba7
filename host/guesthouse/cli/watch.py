"""The verbs monitor and replay: the board on a full screen."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from guesthouse.cli.connect import find_port, open_board
from guesthouse.cli.verbs import Verbs, say
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.units import fmt_bytes


def register(verbs: Verbs) -> None:
    """Add the verbs of this module."""
    parser = verbs.add("monitor", monitor, "watch and control the board on a full screen")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--record", metavar="FILE", type=Path, help="record what is shown")
    what.add_argument("--replay", metavar="FILE", type=Path, help="show a recording instead")
    _add_screen_options(parser)
    parser = verbs.add("replay", monitor, "show a recording on a full screen", port=False)
    parser.add_argument("replay", metavar="FILE", type=Path)
    parser.set_defaults(record=None)
    _add_screen_options(parser)


def _add_screen_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--speed", metavar="N", type=float, default=1.0, help="of a replay; 0 is all at once"
    )
    parser.add_argument("--light", action="store_true", help="dark text on a light ground")


def monitor(args: argparse.Namespace) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise GuesthouseError(
            "the monitor needs a terminal",
            "use guesthouse top, which prints one screen of text, or logs -f",
            ExitCode.USAGE,
        )
    if args.replay is not None:
        _replay(args)
    else:
        _live(args)


def _live(args: argparse.Namespace) -> None:
    from guesthouse.cli.live import LiveBoard
    from guesthouse.core.recording import RecordingWriter, metadata

    with contextlib.ExitStack() as stack:
        recording = None
        if args.record is not None:
            port = find_port(args).name
            recording = stack.enter_context(RecordingWriter(args.record, metadata(port)))
        board = LiveBoard(recording)
        client = stack.enter_context(open_board(args, tap=board.tap, reopen=True))
        board.start(client)
        stack.callback(board.close)
        _show(board.source, args)
        board.close()
        if recording is not None:
            say(f"recorded {fmt_bytes(recording.size)} in {recording.path}")
    if board.error is not None:
        raise board.error


def _replay(args: argparse.Namespace) -> None:
    from guesthouse.cli.live import Replay

    replay = Replay(args.replay, args.speed)
    replay.start()
    try:
        _show(replay.source, args)
    finally:
        replay.close()


def _show(source: object, args: argparse.Namespace) -> None:
    from typing import cast

    from guesthouse.tui.app import MonitorApp
    from guesthouse.tui.source import Source

    MonitorApp(cast(Source, source), dark=not args.light).run()
