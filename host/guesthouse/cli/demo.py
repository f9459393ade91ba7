"""The verb demo: nine guests on one board, four of them bad, and a control loop that must hold."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from guesthouse.cli.connect import find_port, refuse_firmware
from guesthouse.cli.flashing import put_agent
from guesthouse.cli.progress import ProgressLine
from guesthouse.cli.verbs import Verbs, print_json, print_text, say
from guesthouse.core.errors import ExitCode, GuesthouseError

if TYPE_CHECKING:
    from guesthouse.board.micropython import MicroPython
    from guesthouse.core.recording import RecordingWriter
    from guesthouse.demo.plain import PlainRun
    from guesthouse.guests.image import Image
    from guesthouse.link.client import Client
    from guesthouse.link.ports import PortSpec
    from guesthouse.measure.account import Account
    from guesthouse.measure.installed import Installed

HEADLESS_S = 10.0


def register(verbs: Verbs) -> None:
    """Add the verb of this module."""
    parser = verbs.add(
        "demo",
        demo,
        "run nine guests beside each other, some of them bad, and watch a control loop hold",
        json=True,
        epilog="Without a port it runs on a simulated board of its own, which ends with it. With\n"
        "a terminal it shows the monitor (q ends it); without, or with --headless, it tells what\n"
        "happens line by line. On a port it removes its guests at the end. The seconds are the\n"
        "board's own: an emulated Pico (-p pico-sim) takes up to half a minute for one.",
    )
    parser.add_argument("--headless", action="store_true", help="in words, without the monitor")
    parser.add_argument(
        "--seconds", metavar="N", type=_seconds, help="how long (headless: 10; else until q)"
    )
    parser.add_argument(
        "--compare", action="store_true", help="first run the same guests under plain asyncio"
    )
    parser.add_argument("--record", metavar="FILE", type=Path, help="keep a recording")
    parser.add_argument("--keep", action="store_true", help="leave the guests on the port's board")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1")
    return seconds


def demo(args: argparse.Namespace) -> None:
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    headless = args.headless or args.json or not terminal
    if args.keep and not _named(args):
        raise GuesthouseError(
            "--keep is for a board that stays", "name its port with -p", ExitCode.USAGE
        )
    with contextlib.ExitStack() as stack:
        micropython = _micropython() if args.compare or not _named(args) else None
        plain = _compare(args, micropython) if args.compare and micropython else None
        port = _port(args, micropython, stack)
        recording = _recording(args, port, stack)
        run = _headless if headless else _on_screen
        account, interrupted = run(args, port, recording, stack)
        _close(args, account, plain)
        if recording is not None and not args.json:
            say(f"the recording is {recording.path}; guesthouse analyze {recording.path} reads it")
    if interrupted:
        raise KeyboardInterrupt


# --- Before: the board, and plain asyncio ---


def _named(args: argparse.Namespace) -> bool:
    from guesthouse.link.ports import ENVIRONMENT

    return bool(args.port or os.environ.get(ENVIRONMENT))


def _micropython() -> MicroPython:
    from guesthouse.board.micropython import find_or_provide
    from guesthouse.board.pty import require_supported

    require_supported()  # before anything is fetched
    return find_or_provide(say)


def _port(
    args: argparse.Namespace, micropython: MicroPython | None, stack: contextlib.ExitStack
) -> PortSpec:
    """The port that was named, or that of a board that ends with the command."""
    if _named(args):
        port = find_port(args)
        _give_agent(args, port)
        return port
    refuse_firmware(args)
    from guesthouse.board.sim import private_board
    from guesthouse.link.ports import PortSpec

    board = stack.enter_context(private_board("demo", micropython=micropython))
    return PortSpec(board.path, "the demo's board", "sim")


def _give_agent(args: argparse.Namespace, port: PortSpec) -> None:
    """Flash an emulated Pico that is blank, or has another agent. A board of yours is asked for."""
    from guesthouse.link.ports import PICO_SIM

    if port.kind != PICO_SIM:
        return
    from guesthouse.board import picosim, uf2
    from guesthouse.install.filesystem import read_file
    from guesthouse.install.package import MANIFEST, build_package, parse_manifest
    from guesthouse.install.target import target_of_family

    target = target_of_family(uf2.RP2040)
    assert target is not None
    # The file of its flash tells at once; a board that is busy might be slow to.
    text = read_file((picosim.require().root / picosim.FLASH_FILE).read_bytes(), MANIFEST) or b""
    if build_package(target).is_on(parse_manifest(text.decode(errors="replace"))):
        return
    say(f"{port.name} gets the agent first: in the emulator that takes a minute or two")
    put_agent(port, quiet=args.json)


def _recording(
    args: argparse.Namespace, port: PortSpec, stack: contextlib.ExitStack
) -> RecordingWriter | None:
    if args.record is None:
        return None
    from guesthouse.core.recording import RecordingWriter, metadata

    return stack.enter_context(RecordingWriter(args.record, metadata(port.name)))


def _compare(args: argparse.Namespace, micropython: MicroPython) -> PlainRun:
    from guesthouse.demo.folders import folders
    from guesthouse.demo.plain import run_plain
    from guesthouse.demo.words import freeze

    out = _out(args)
    out(f"First, {len(folders())} programs in one loop of plain asyncio:")
    plain = run_plain(micropython, folders(), out)
    out(freeze(plain))
    out("")
    return plain


# --- The run ---


def _bring(args: argparse.Namespace, port: PortSpec, client: Client, stack: contextlib.ExitStack,
           told: Callable[[Image], None], remark: Callable[[str], None]) -> Installed:
    """The guests on the board, as it takes them, stopped; gone again when the stack ends."""
    from guesthouse.core.admission import board_figures
    from guesthouse.demo.fit import fit
    from guesthouse.demo.folders import images
    from guesthouse.measure.installed import Installed

    model = client.model
    figures = board_figures("unix" if port.kind == "sim" else model.board, 0)
    if client.heap is not None:
        figures["heap"] = client.heap
    for what, ratio in (("cpu", model.oversubscription_cpu), ("ram", model.oversubscription_ram)):
        if ratio is not None:
            figures[f"oversubscription_{what}_ppm"] = round(ratio * 1e6)
    fitted = fit(images(), figures)
    installed = Installed(client)
    if _named(args) and not args.keep:
        stack.callback(_remove, args, port, installed)
    installed.install(fitted.images, told)
    for line in fitted.remarks:
        remark(line)
    return installed


def _remove(args: argparse.Namespace, port: PortSpec, installed: Installed) -> None:
    with ProgressLine("demo", quiet=args.json) as line:
        line.say(f"taking its guests off {port.name}")
        installed.remove()


def _headless(
    args: argparse.Namespace,
    port: PortSpec,
    recording: RecordingWriter | None,
    stack: contextlib.ExitStack,
) -> tuple[Account, bool]:
    """The account, and whether Ctrl-C ended it early."""
    from guesthouse.core.tracker import Update
    from guesthouse.demo.folders import FOLDER, description
    from guesthouse.demo.words import Teller
    from guesthouse.link.client import Client
    from guesthouse.link.serial import open_serial
    from guesthouse.measure.watch import Watch

    out = _out(args)
    tap = None if recording is None else _tap(recording)
    client = stack.enter_context(Client(open_serial(port), tap=tap))
    _greet(args, port, client)
    out(f"The guests, brought to {port.name} ({client.model.firmware}):")
    installed = _bring(
        *(args, port, client, stack),
        told=lambda image: out(f"  {image.name:<10} {description(FOLDER / image.name)}"),
        remark=lambda line: out(f"\n{line}"),
    )
    out("")
    teller: Teller | None = None
    watch: Watch | None = None
    seconds = args.seconds or HEADLESS_S
    with ProgressLine("demo", quiet=args.json or client.patience == 1) as line:

        def tell(updates: list[Update]) -> None:
            lines = teller.lines(updates) if teller else []
            if lines:
                line.clear()
            for text in lines:
                out(text)
            if watch is not None:
                line.say(f"{watch.seconds:.1f} s of {seconds:g} s of the board's own time")

        watch = Watch(client, tell)
        teller = Teller(watch.began_us)
        interrupted = False
        try:
            installed.start()
            watch.run(seconds)
        except KeyboardInterrupt:
            interrupted = True
        watch.ask()
    return watch.account(), interrupted


def _on_screen(
    args: argparse.Namespace,
    port: PortSpec,
    recording: RecordingWriter | None,
    stack: contextlib.ExitStack,
) -> tuple[Account, bool]:
    from guesthouse.cli.live import LiveBoard
    from guesthouse.link.client import Client
    from guesthouse.link.serial import open_serial
    from guesthouse.measure.watch import Watch
    from guesthouse.tui.app import MonitorApp

    board = LiveBoard(recording)
    client = stack.enter_context(Client(open_serial(port), tap=board.tap))
    _greet(args, port, client)
    with ProgressLine("demo") as line:
        installed = _bring(
            *(args, port, client, stack),
            told=lambda image: line.say(f"bringing {image.name} to {port.name}"),
            remark=say,
        )
        line.say("starting the guests")
        watch = Watch(client)
        installed.start()
    board.start(client)
    app = MonitorApp(board.source)
    over = threading.Event()
    if args.seconds is not None:

        def end() -> None:
            while watch.seconds < args.seconds and not over.wait(0.1):
                pass
            if not over.is_set():
                app.call_from_thread(app.exit)

        threading.Thread(target=end, name="seconds", daemon=True).start()
    try:
        app.run()
    finally:
        over.set()
        board.close()
    if board.error is not None:
        raise board.error
    watch.ask()
    return watch.account(), False


def _greet(args: argparse.Namespace, port: PortSpec, client: Client) -> None:
    with ProgressLine("demo", quiet=args.json) as line:
        line.say(f"waiting for the agent on {port.name}")
        client.wait_for_agent(starting=True)
        client.hello()
        client.wait_for_summary()


def _tap(recording: RecordingWriter) -> Callable[[bytes, int], None]:
    return lambda data, wall_ns: recording.write(data, wall_ns)


# --- After ---


def _close(args: argparse.Namespace, account: Account, plain: PlainRun | None) -> None:
    from guesthouse.demo.words import closing, side_by_side, table

    if args.json:
        data = account.to_json_dict()
        if plain is not None:
            data["plain_asyncio"] = plain.to_json_dict()
        print_json(data)
        return
    print_text(f"\n{table(account)}\n\n{closing(account)}\n")
    if plain is not None:
        print_text(f"\n{side_by_side(plain, account)}\n")


def _out(args: argparse.Namespace) -> Callable[[str], None]:
    """Where the story goes: to stdout, nowhere beside JSON."""
    if args.json:
        return lambda line: None
    return lambda line: print_text(f"{line}\n")
