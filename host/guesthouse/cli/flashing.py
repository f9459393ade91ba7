"""Verbs that put the agent on boards, and take it away: flash, unflash."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from guesthouse.cli.connect import find_port, usb_of
from guesthouse.cli.deploying import send_image
from guesthouse.cli.progress import ProgressLine
from guesthouse.cli.verbs import Verbs, print_json, say
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.units import fmt_bytes

if TYPE_CHECKING:
    from guesthouse.board.firmware import Firmware
    from guesthouse.guests.image import Image
    from guesthouse.install.flash import Flashed
    from guesthouse.link.deploy import Deployed
    from guesthouse.link.ports import PortSpec



def register(verbs: Verbs) -> None:
    """Add the verbs of this module."""
    parser = verbs.add(
        "flash",
        flash,
        "put the agent on a board that runs MicroPython",
        json=True,
        epilog="Only what differs from what the board has is sent; an interrupted flash is run\n"
        "again and goes on. A main.py of yours is kept beside, and unflash gives it back.\n"
        "--uf2 and --bootsel make one image of firmware, agent and guests: it replaces all\n"
        "files on a board, and takes the firmware that --firmware names.",
        firmware="the firmware of the image; without one ",
    )
    parser.add_argument(
        "--guest", metavar="FOLDER", type=Path, action="append", default=[], help="a guest as well"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--uf2", metavar="OUT", type=Path, help="write one image, for drag and drop")
    what.add_argument(
        "--bootsel", action="store_true", help="copy that image to a board in BOOTSEL mode"
    )
    parser.add_argument("--drive", metavar="FOLDER", type=Path, help="of several in BOOTSEL mode")
    parser.add_argument("--yes", action="store_true", help="do not ask before files are replaced")
    parser = verbs.add(
        "unflash",
        unflash,
        "take the agent off a board, and give it back as it was",
        json=True,
        epilog="Guests and what they have written go as well, unless --keep-guests.",
    )
    parser.add_argument("--keep-guests", action="store_true", help="leave guests and their data")
    parser.add_argument("--yes", action="store_true", help="do not ask before guests are removed")


def flash(args: argparse.Namespace) -> None:
    from guesthouse.guests.image import load_image

    images = [load_image(folder) for folder in args.guest]
    for image in images:
        for warning in image.warnings:
            say(f"warning: {warning}")
    if args.drive is not None and not args.bootsel:
        raise GuesthouseError(
            "--drive names a board in BOOTSEL mode", "add --bootsel", ExitCode.USAGE
        )
    if args.uf2 is not None:
        _write_uf2(args, images)
    elif args.bootsel:
        _copy_to_bootsel(args, images)
    else:
        _flash_port(args, images)


# --- A board on a port ---


def _flash_port(args: argparse.Namespace, images: list[Image]) -> None:
    spec = _board_port(args)
    began = time.monotonic()
    done = put_agent(spec, quiet=args.json)
    with ProgressLine("flash", quiet=args.json) as line:
        line.say("starting the agent")
        deployed = _start(args, spec, images)
    seconds = time.monotonic() - began
    if args.json:
        print_json(_data(spec, done, deployed, seconds))
    else:
        _tell(spec, done, deployed, seconds)


def put_agent(spec: PortSpec, *, quiet: bool) -> Flashed:
    """Bring the agent to the board on ``spec``, and restart it; it has not started yet."""
    from guesthouse.install.board import ReplBoard
    from guesthouse.install.flash import flash_board
    from guesthouse.install.repl import Repl

    try:
        with ProgressLine("flash", quiet=quiet) as line, Repl(spec) as repl:
            line.say("looking at the board")
            done = flash_board(ReplBoard(repl), line.show)
            repl.restart()
    except KeyboardInterrupt:
        say(f"\n{spec.name} is as it was before; guesthouse flash, run again, goes on from here")
        raise
    return done


def _board_port(args: argparse.Namespace) -> PortSpec:
    spec = find_port(args)
    if spec.kind == "sim":
        raise GuesthouseError(
            f"{spec.name} has the agent already: a simulated board starts with it",
            "guesthouse deploy FOLDER brings guests to it",
            ExitCode.USAGE,
        )
    return spec


def _start(args: argparse.Namespace, spec: PortSpec, images: list[Image]) -> list[Deployed]:
    """Wait for the agent, and give it its guests."""
    from guesthouse.link.client import Client
    from guesthouse.link.serial import open_serial

    with Client(open_serial(spec), usb=lambda: usb_of(spec)) as client:
        client.wait_for_agent(starting=True)
        if images:
            client.hello()
        return [send_image(client, image, start=True, quiet=args.json) for image in images]


def _data(
    spec: PortSpec, done: Flashed, deployed: list[Deployed], seconds: float
) -> dict[str, object]:
    return {
        "port": spec.name,
        "board": done.identity.machine,
        "firmware": done.identity.firmware,
        "agent": done.agent,
        "arch": done.identity.target.arch,
        "mpy": done.identity.target.mpy,
        "sent": list(done.sent),
        "sent_bytes": done.size,
        "unchanged": done.unchanged,
        "removed": list(done.removed),
        "kept": list(done.kept),
        "guests": [{"instance": one.instance, "state": one.state} for one in deployed],
        "seconds": round(seconds, 1),
    }


def _tell(spec: PortSpec, done: Flashed, deployed: list[Deployed], seconds: float) -> None:
    board = done.identity.machine or spec.name
    say(f"{board}, MicroPython {done.identity.version}, on {spec.name}")
    if done.sent:
        others = f", {done.unchanged} unchanged" if done.unchanged else ""
        sent = f"{_files(len(done.sent))} sent ({fmt_bytes(done.size)}){others}"
        say(f"agent {done.agent}: {sent}, {seconds:.1f} s")
    else:
        say(f"agent {done.agent} was there already: all {_files(done.unchanged)} are right")
    for name in done.kept:
        say(f"your {name.partition('.before-')[0]} is kept as {name}; unflash gives it back")
    if done.boot_py:
        say("its boot.py stays, and runs before the agent")
    for one in deployed:
        say(f"{one.instance} is {one.state}")
    command = f"guesthouse -p {spec.name}"
    more = "" if deployed else f"; bring it a guest with: {command} deploy FOLDER"
    say(f"see it with: {command} monitor{more}")


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"


# --- An image for drag and drop ---


def _write_uf2(args: argparse.Namespace, images: list[Image]) -> None:
    if args.firmware is None:
        raise GuesthouseError(
            "--uf2 needs the board's firmware",
            "download it from https://micropython.org/download and name it with --firmware",
            ExitCode.USAGE,
        )
    firmware, content = _image(args, images)
    try:
        args.uf2.write_bytes(content)
    except OSError as error:
        raise GuesthouseError(f"{args.uf2} cannot be written: {error.strerror}") from error
    if args.json:
        print_json(_image_data(firmware, images, content) | {"file": str(args.uf2)})
        return
    say(f"{args.uf2}: {firmware.machine or 'firmware'}, MicroPython {firmware.version}, with the "
        f"agent and {_guests(images)} ({fmt_bytes(len(content))})")
    say("drag it to a board in BOOTSEL mode; it replaces all files on the board")


def _copy_to_bootsel(args: argparse.Namespace, images: list[Image]) -> None:
    from guesthouse.install import drag

    folders = None if args.drive is None else [args.drive]
    drive = drag.choose_drive(drag.find_drives(folders))
    firmware, content = _image(args, images)
    _confirm(args, f"All files on the {drive.board} at {drive.path} are replaced.")
    with ProgressLine("flash", quiet=args.json) as line:
        line.say(f"copying {fmt_bytes(len(content))} to {drive.path}")
        restarted = drag.copy_to(drive, content, firmware.family)
    if args.json:
        print_json(
            _image_data(firmware, images, content)
            | {"drive": str(drive.path), "restarted": restarted}
        )
        return
    say(f"{drive.path} has MicroPython {firmware.version} with the agent and {_guests(images)}")
    say(
        "the board has restarted; guesthouse devs shows its port, guesthouse monitor what it does"
        if restarted
        else "its drive is still there: unplug the board and plug it in again"
    )


def _image(args: argparse.Namespace, images: list[Image]) -> tuple[Firmware, bytes]:
    from guesthouse.board.firmware import find_or_build_firmware
    from guesthouse.install.drag import make_uf2

    firmware = find_or_build_firmware(say, path=args.firmware)
    return firmware, make_uf2(firmware, images)


def _image_data(firmware: Firmware, images: list[Image], content: bytes) -> dict[str, object]:
    return {
        "firmware": firmware.version,
        "board": firmware.machine,
        "guests": [image.name for image in images],
        "size": len(content),
    }


def _guests(images: list[Image]) -> str:
    return ", ".join(image.name for image in images) or "no guests"


# --- The way back ---


def unflash(args: argparse.Namespace) -> None:
    from guesthouse.install.board import ReplBoard
    from guesthouse.install.flash import unflash_board
    from guesthouse.install.repl import Repl

    spec = _board_port(args)
    try:
        with Repl(spec) as repl:
            done = unflash_board(
                ReplBoard(repl),
                keep_guests=args.keep_guests,
                may_remove=lambda: _confirm(
                    args, "Guests and what they have written are removed.", "--keep-guests or --yes"
                ),
            )
            repl.restart()
    except KeyboardInterrupt:
        say(f"\n{spec.name} is not done: run guesthouse unflash again to go on")
        raise
    if args.json:
        print_json(
            {
                "port": spec.name,
                "removed": done.removed,
                "restored": list(done.restored),
                "guests": list(done.guests),
            }
        )
        return
    guests = f", and with their data {', '.join(done.guests)}" if done.guests else ""
    say(f"the agent is off {spec.name}: {_files(done.removed)} removed{guests}")
    for path in done.restored:
        say(f"your {path} is back")


def _confirm(args: argparse.Namespace, what: str, options: str = "--yes") -> None:
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise GuesthouseError(what, f"say so with {options}", ExitCode.USAGE)
    print(f"{what} Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise GuesthouseError("nothing was done", code=ExitCode.USAGE)
