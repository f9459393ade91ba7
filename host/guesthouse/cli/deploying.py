"""Verbs that bring guests to a board and take them away: run, deploy, rm."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guesthouse.cli.connect import open_board
from guesthouse.cli.logs import LogReader
from guesthouse.cli.options import add_quota_options, quota_options
from guesthouse.cli.progress import ProgressLine
from guesthouse.cli.verbs import Verbs, print_json, print_text, say
from guesthouse.core import wire
from guesthouse.core.errors import ExitCode
from guesthouse.core.units import fmt_bytes

if TYPE_CHECKING:
    from guesthouse.guests.image import Image
    from guesthouse.link.client import Client
    from guesthouse.link.deploy import Deployed

# States that a guest leaves only when somebody starts it. Failed and killed are not among them:
# its restart policy may start it again, and then it goes on to backoff at once.
_OVER = ("exited", "stopped", "quarantined")
_DOWN = ("failed", "killed")
_SETTLE_S = 1.0


def register(verbs: Verbs) -> None:
    """Add the verbs of this module."""
    parser = verbs.add(
        "run",
        run,
        "run a program beside the others and follow what it prints",
        json=True,
        epilog="PROGRAM is a .py file, which needs no manifest and becomes a guest with its name,\n"
        "or a guest's folder. It runs once: no restarts, unless --restart or the manifest say so,\n"
        "and not at the next boot. Ctrl-C stops it.",
    )
    parser.add_argument("program", metavar="PROGRAM", type=Path)
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running")
    _add_image_options(parser)
    parser = verbs.add(
        "deploy",
        deploy_,
        "put a guest's folder on the board and start it",
        json=True,
        epilog="The folder holds guest.toml and main.py. It replaces the version on the\n"
        "board once all of it is there and its hash is right.",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, nargs="+")
    parser.add_argument("--no-start", action="store_true", help="put it there, start it later")
    _add_image_options(parser)
    parser = verbs.add("rm", rm, "remove guests and their images from the board", json=True)
    parser.add_argument("guests", metavar="GUEST", nargs="+")


def _add_image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="the guest's name")
    parser.add_argument(
        "--force", action="store_true", help="send it though it does not compile here"
    )
    add_quota_options(parser)


def run(args: argparse.Namespace) -> int | None:
    options = quota_options(args)
    options[("", "autostart")] = False
    if args.program.is_file():
        options.setdefault(("restart", "policy"), "never")
    _load(args, args.program, options)
    with open_board(args) as client:
        image = _load(args, args.program, options, client)
        done = send_image(client, image, start=True, quiet=args.json)
        if args.detach or args.json:
            _tell(args, [done])
            return None
        try:
            say(f"{done.instance} runs; Ctrl-C stops it")
            return _follow(client, done.instance)
        except KeyboardInterrupt:
            client.command(wire.VERB_STOP, {"g": done.instance})
            say(f"\n{done.instance} is stopped")
            raise


def deploy_(args: argparse.Namespace) -> None:
    options = quota_options(args)
    for folder in args.folder:
        _load(args, folder, options)
    done = []
    with open_board(args) as client:
        for folder in args.folder:
            image = _load(args, folder, options, client)
            done.append(send_image(client, image, start=not args.no_start, quiet=args.json))
    _tell(args, done)


def _load(
    args: argparse.Namespace,
    path: Path,
    options: dict[tuple[str, str], str | int | bool],
    client: Client | None = None,
) -> Image:
    """The image; once more when the board is known, beside what that board can give.

    Mistakes in files are so told at once, without waiting for a board.
    """
    from guesthouse.guests.image import load_image
    from guesthouse.guests.manifest import Capacity

    capacity = None
    if client is not None:
        capacity = Capacity(heap=client.heap)
    image = load_image(path, name=args.name, options=options, capacity=capacity, force=args.force)
    if client is None:
        for warning in image.warnings:
            say(f"warning: {warning}")
    return image


def send_image(client: Client, image: Image, *, start: bool, quiet: bool) -> Deployed:
    """Deploy ``image``; in a terminal a line shows how far it is, unless ``quiet``."""
    from guesthouse.link.deploy import deploy

    with ProgressLine(image.name, quiet=quiet) as line:
        return deploy(client, image, start=start, progress=line.show)


def _tell(args: argparse.Namespace, done: list[Deployed]) -> None:
    if args.json:
        data = [
            {"instance": one.instance, "state": one.state, "digest": one.digest, "size": one.size}
            for one in done
        ]
        print_json(data if args.function is deploy_ else data[0])
        return
    for one in done:
        say(f"{one.instance} is {one.state} ({fmt_bytes(one.size)}, {one.digest[:8]})")


def _follow(client: Client, name: str) -> int:
    """Print a guest's lines and faults until it is over; the exit code says how that was."""
    from guesthouse.core.model import Event, LogLine
    from guesthouse.core.sentences import ROUTINE, sentence

    reader = LogReader(client, name)
    state, since, ask = "", time.monotonic(), True
    while True:
        if ask or reader.due:
            print_text("".join(f"{line}\n" for line in reader.read()))
        ask = False
        for update in client.poll(0.05):
            if isinstance(update, LogLine) and update.name == name:
                ask = True
            elif isinstance(update, Event) and update.name == name:
                if update.reason == "removed":
                    continue  # the version before this one
                ask = True
                state, since = update.new, time.monotonic()
                if update.reason not in (*ROUTINE, "deployed", "loaded", "throttled", "retry"):
                    say(sentence(update))
        down = state in _DOWN and time.monotonic() - since > _SETTLE_S * client.patience
        if state in _OVER or down:
            print_text("".join(f"{line}\n" for line in reader.read()))
            return ExitCode.OK if state in ("exited", "stopped") else ExitCode.FAILURE


def rm(args: argparse.Namespace) -> None:
    removed: list[dict[str, Any]] = []
    with open_board(args) as client:
        for guest in args.guests:
            image = guest.partition(".")[0]
            client.command(wire.VERB_REMOVE, {"g": image})
            removed.append({"image": image})
            if not args.json:
                say(f"{image} is removed")
    if args.json:
        print_json(removed)
