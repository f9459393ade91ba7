"""Verbs that look at a board: ps, top, why, inspect."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from guesthouse.cli.connect import open_board
from guesthouse.cli.data import board_data, guests_data
from guesthouse.cli.verbs import Verbs, full_name, print_json, print_text
from guesthouse.core import wire

if TYPE_CHECKING:
    from guesthouse.link.client import Client

# The alternative screen of the terminal, without a cursor; and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST, _LINE_REST = "\x1b[H", "\x1b[J", "\x1b[K"


def register(verbs: Verbs) -> None:
    """Add the verbs of this module."""
    verbs.add("ps", ps, "list the guests with their quotas and states", json=True)
    parser = verbs.add("top", top, "show the board and its guests, refreshed", json=True)
    parser.add_argument("--once", action="store_true", help="one screen, as in a pipe")
    parser = verbs.add(
        "why",
        why,
        "why a guest is in its state, with the line; without one, what the board's journal holds",
        json=True,
    )
    parser.add_argument("guest", metavar="GUEST", nargs="?")
    parser = verbs.add(
        "inspect",
        inspect,
        "what a guest's memory is used for",
        json=True,
        epilog="With --collect the board collects garbage before it answers: only what the guest\n"
        "really holds is counted then. Nothing else runs meanwhile.",
    )
    parser.add_argument("guest", metavar="GUEST")
    parser.add_argument("--collect", action="store_true", help="collect garbage before")


def ps(args: argparse.Namespace) -> None:
    from guesthouse.cli.screen import render_ps

    with open_board(args) as client:
        model = client.wait_for_shares()
    if args.json:
        print_json(guests_data(model))
    else:
        print_text(render_ps(model))


def top(args: argparse.Namespace) -> None:
    with open_board(args, reopen=True) as client:
        if args.json:
            print_json(board_data(client.wait_for_shares()))
        elif args.once or not sys.stdout.isatty():
            _top_once(client)
        else:
            _top_live(client)


def _top_once(client: Client) -> None:
    from guesthouse.cli.screen import render_top
    from guesthouse.core.view.history import History

    history = History()
    history.observe(client.model)
    history.observe(client.wait_for_shares())
    # A pipe has no height: every guest is shown, and a page of events.
    size = _terminal_size() if sys.stdout.isatty() else (100, 24 + len(client.model.instances))
    print_text(render_top(client.model, *size, history=history, link=client.port))


def _top_live(client: Client) -> None:
    from guesthouse.cli.screen import render_top
    from guesthouse.core.view.history import History

    history = History()
    drawn = (-1, (0, 0), False)
    sys.stdout.write(_ENTER)
    try:
        while True:
            client.poll(0.1)
            now = (client.model.summaries, _terminal_size(), client.connected)
            if now == drawn:
                continue
            history.observe(client.model)
            drawn = now
            link = client.port if client.connected else f"{client.port}: waiting for it"
            text = render_top(client.model, *now[1], history=history, link=link)
            lines = text.rstrip("\n").split("\n")
            print_text(_HOME + "\n".join(line + _LINE_REST for line in lines) + _REST)
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _terminal_size() -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return 80, 24
    return max(columns, 20), max(rows, 5)


def inspect(args: argparse.Namespace) -> None:
    from guesthouse.cli.inspecting import render_inspect

    with open_board(args) as client:
        body = {"g": full_name(args.guest), "collect": bool(args.collect)}
        reply = client.command(wire.VERB_INSPECT, body)
    if args.json:
        print_json(reply)
    else:
        print_text(render_inspect(reply, collected=bool(args.collect)))


def why(args: argparse.Namespace) -> None:
    if args.guest is None:
        _why_board(args)
        return
    from guesthouse.cli.screen import render_why

    with open_board(args) as client:
        reply = client.command(wire.VERB_WHY, {"g": full_name(args.guest)})
    if args.json:
        print_json(reply)
    else:
        print_text(render_why(reply))


def _why_board(args: argparse.Namespace) -> None:
    from guesthouse.cli.journal import fetch_journal, render_journal

    with open_board(args) as client:
        journal = fetch_journal(client)
        boot = client.model.boot_id
    if args.json:
        print_json(journal)
    else:
        print_text(render_journal(journal, boot))
