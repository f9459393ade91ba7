"""new: writes the folder of a new guest."""

from __future__ import annotations

import argparse
from pathlib import Path

from guesthouse.cli.verbs import Verbs, print_json, say


def register(verbs: Verbs) -> None:
    """Add the verb of this module."""
    parser = verbs.add(
        "new",
        new,
        "write a new guest: manifest, program, and the editor's set-up for a board",
        port=False,
        json=True,
        epilog="The folder can be deployed as it is. NAME may be a path; its last part names the\n"
        "guest. What is there already is never overwritten.",
    )
    parser.add_argument("folder", metavar="NAME", type=Path)
    parser.add_argument(
        "--board", metavar="PROFILE", default="unix", help="the kind of board, as rpi_pico (unix)"
    )


def new(args: argparse.Namespace) -> None:
    from guesthouse.board.profiles import load_profile
    from guesthouse.guests.scaffold import scaffold, write_folder

    profile = load_profile(args.board)
    files = scaffold(args.folder.name, profile)
    write_folder(args.folder, files)
    if args.json:
        print_json(
            {
                "name": args.folder.name,
                "folder": str(args.folder),
                "board": profile.name,
                "stubs": profile.stubs,
                "files": sorted(files),
            }
        )
        return
    say(f"{args.folder} is a guest for {profile.title}; put it there with:")
    say(f"  guesthouse deploy {args.folder}")
    say("For an editor that knows the board, in that folder:")
    say("  pip install --upgrade --target typings -r requirements-dev.txt")
