"""The verb logs, and the reader of a guest's log that run uses as well."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from guesthouse.cli.connect import open_board
from guesthouse.cli.data import line_data
from guesthouse.cli.verbs import Verbs, full_name, print_json, print_json_line, print_text, say
from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError

if TYPE_CHECKING:
    from guesthouse.link.client import Client

ASK_EVERY_S = 2.0  # where no line came over the telemetry: it may have been dropped there


def register(verbs: Verbs) -> None:
    """Add the verb of this module."""
    parser = verbs.add(
        "logs",
        logs,
        "print what a guest printed",
        json=True,
        epilog="Without GUEST, and with -f, the lines of all guests as they come.",
    )
    parser.add_argument("guest", metavar="GUEST", nargs="?")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")


class LogReader:
    """Reads a guest's log from the board, whole lines by number: none twice, none unnoticed.

    The board keeps the last lines of each guest; what was overwritten before it was read is
    counted in ``lost``. The telemetry carries the same lines, but cuts and limits them, so it
    only says here when to ask.
    """

    def __init__(self, client: Client, name: str) -> None:
        self.name = name
        self.lost = 0
        self._client = client
        self._next = 0
        self._boot = client.model.boot_id
        self._asked = 0.0

    def read(self) -> list[str]:
        """Every line that is new. Raises GuesthouseError, also where the guest is gone."""
        self._asked = time.monotonic()
        lines: list[str] = []
        if self._client.model.boot_id != self._boot:
            self._boot = self._client.model.boot_id
            self._next = 0  # a board that started anew numbers anew
        while True:
            reply = self._client.command(wire.VERB_LOGS, {"g": self.name, "from": self._next})
            first, after = int(reply["first"]), int(reply["next"])
            self.lost += max(0, first - self._next)
            self._next = after
            if not reply["lines"]:
                return lines
            lines += map(str, reply["lines"])

    @property
    def due(self) -> bool:
        """Whether it is time to ask though nothing said that there is more."""
        return time.monotonic() - self._asked >= ASK_EVERY_S * self._client.patience


def logs(args: argparse.Namespace) -> None:
    if args.guest is None:
        if not args.follow:
            raise GuesthouseError(
                "whose log?", "name a guest, or follow all of them with -f", ExitCode.USAGE
            )
        _follow_all(args)
    elif args.follow:
        _follow_one(args)
    else:
        with open_board(args) as client:
            reader = LogReader(client, full_name(args.guest))
            lines = reader.read()
        if args.json:
            print_json({"name": reader.name, "lost": reader.lost, "lines": lines})
            return
        _tell_lost(reader.lost)
        print_text("".join(f"{line}\n" for line in lines))


def _tell_lost(lost: int) -> None:
    if lost:
        say(f"({lost} older lines are no longer on the board)")


def _follow_one(args: argparse.Namespace) -> None:
    from guesthouse.core.model import LogLine
    from guesthouse.link.commands import CommandError

    with open_board(args, reopen=True) as client:
        reader = LogReader(client, full_name(args.guest))
        lost = 0
        new = True
        while True:
            if new or reader.due:
                try:
                    lines = reader.read()
                except CommandError:
                    raise
                except GuesthouseError:
                    if client.connected:
                        raise
                    lines = []  # the port went away: it will come back
                if reader.lost > lost:
                    _tell_lost(reader.lost - lost)
                    lost = reader.lost
                for line in lines:
                    if args.json:
                        print_json_line({"name": reader.name, "text": line})
                    else:
                        print_text(f"{line}\n")
            new = any(
                isinstance(update, LogLine) and update.name == reader.name
                for update in client.poll(0.1)
            )


def _follow_all(args: argparse.Namespace) -> None:
    from guesthouse.core.model import LogLine

    with open_board(args, reopen=True) as client:
        while True:
            for update in client.poll(0.2):
                if isinstance(update, LogLine):
                    if args.json:
                        print_json_line(line_data(update))
                    else:
                        print_text(f"{update.name}  {update.text}\n")
