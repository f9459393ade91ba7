"""Verbs that change what a guest does: start, stop, kill, restart, set."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from guesthouse.cli.connect import open_board
from guesthouse.cli.data import guest_data
from guesthouse.cli.options import (
    add_oversubscription_option,
    add_quota_options,
    oversubscription,
    quota_options,
)
from guesthouse.cli.verbs import Verbs, full_name, print_json, say
from guesthouse.core import wire
from guesthouse.core.errors import ExitCode, GuesthouseError
from guesthouse.core.view.states import ended

if TYPE_CHECKING:
    from guesthouse.core.model import InstanceModel
    from guesthouse.guests.manifest import Capacity, Options
    from guesthouse.link.client import Client

ENDING_S = 3.0  # for a guest to end: the board gives it a second, and a slow line some more

_VERBS = {
    "start": (wire.VERB_START, "start a guest that is not running"),
    "stop": (wire.VERB_STOP, "stop a guest until it is started again"),
    "kill": (wire.VERB_KILL, "end a guest at once, until it is started again"),
    "restart": (wire.VERB_RESTART, "stop a guest and start it anew"),
}

# What of guest.json each option of `set` changes on the board.
_CHANGES = {
    ("cpu", "max"): ("cpu_max_us", "cpu_period_us"),
    ("cpu", "min"): ("cpu_min_us", "cpu_min_period_us"),
    ("cpu", "period"): ("cpu_max_us", "cpu_period_us"),
    ("cpu", "weight"): ("weight",),
    ("cpu", "slice_max"): ("slice_max_us",),
    ("memory", "max"): ("mem_max",),
    ("memory", "high"): ("mem_high",),
    ("memory", "min"): ("mem_min",),
}


def register(verbs: Verbs) -> None:
    """Add the verbs of this module."""
    for name, (_, help) in _VERBS.items():
        parser = verbs.add(name, _control, help, json=True)
        parser.add_argument("guests", metavar="GUEST", nargs="+")
        parser.set_defaults(verb=name)
    parser = verbs.add(
        "set", _set, "change the quotas of a guest while it runs, or what the board promises",
        json=True,
        epilog="A value of none takes a limit away. The manifest on the board stays as it is.\n"
        "--oversubscription is the board's, needs no GUEST, and holds until it is set again.",
    )  # fmt: skip
    parser.add_argument("guest", metavar="GUEST", nargs="?")
    add_quota_options(parser, _CHANGES)
    add_oversubscription_option(parser)


def _control(args: argparse.Namespace) -> None:
    done: list[dict[str, Any]] = []
    with open_board(args) as client:
        for guest in args.guests:
            name = full_name(guest)
            reply = client.command(_VERBS[args.verb][0], {"g": name})
            state = _settled(client, name, args.verb, str(reply.get("state", "")))
            done.append({"name": name, "state": state})
            if not args.json:
                say(f"{name} is {done[-1]['state']}")
    if args.json:
        print_json(done)


def _settled(client: Client, name: str, verb: str, state: str) -> str:
    """The guest's state once it has ended, where the command was to end it.

    The board answers when it has taken the command; the guest then has a grace to tidy up.
    """
    end = time.monotonic() + ENDING_S * client.patience
    while verb in ("stop", "kill") and not ended(state) and time.monotonic() < end:
        client.poll(0.05)
        state = client.instance(name).state
    return state


def _set(args: argparse.Namespace) -> None:
    options = quota_options(args)
    promises = oversubscription(args)
    if args.guest is None and promises and not options:
        _set_board(args, promises)
        return
    if promises or args.guest is None:
        raise GuesthouseError(
            "--oversubscription is the board's, and other quotas are a guest's",
            "write either --oversubscription cpu=4.0 alone, or a guest and its quotas",
            ExitCode.USAGE,
        )
    if not options:
        raise GuesthouseError(
            "nothing to set", "name a quota, for example --cpu 20% or --mem 32k", ExitCode.USAGE
        )
    from guesthouse.guests.manifest import Capacity

    with open_board(args) as client:
        client.wait_for_summary()
        guest = client.instance(args.guest)
        capacity = Capacity(heap=client.heap)
        changes = quota_changes(guest, options, capacity)
        client.command(wire.VERB_SET, {"g": guest.name, **changes})
        client.wait_for_summary()
        if args.json:
            print_json(guest_data(client.instance(guest.name)))
            return
    said = ", ".join(
        f"{key} {'none' if value is None else value}" for key, value in changes.items()
    )
    say(f"{guest.name} has {said}")


def _set_board(args: argparse.Namespace, promises: dict[str, int]) -> None:
    with open_board(args) as client:
        reply = client.command(wire.VERB_SET, {"g": "board", **promises})
    factors = {
        what: reply[f"oversubscription_{what}_ppm"] / 1e6
        for what in ("cpu", "ram")
        if f"oversubscription_{what}_ppm" in reply
    }
    if args.json:
        print_json({f"oversubscription_{what}": factor for what, factor in factors.items()})
        return
    said = ", ".join(f"{what} {factor:.0%}" for what, factor in factors.items())
    say(f"the limits of all guests may add up to: {said}")


def quota_changes(
    guest: InstanceModel, options: Options, capacity: Capacity | None = None
) -> dict[str, int | None]:
    """What `set` sends: keys of guest.json, checked beside the guest's other quotas.

    Raises ManifestError, for instance where the new limit is below the guest's reservation.
    """
    from guesthouse.guests.manifest import normalize

    cpu: dict[str, Any] = {
        "weight": guest.weight or 100,
        "period": f"{guest.cpu_max_period_us}us",
    }
    options = dict(options)
    if guest.cpu_max_us is not None:
        cpu["max"] = guest.cpu_max  # as a share: a new period keeps it
    if guest.cpu_min_us is not None:
        cpu["min"] = f"{guest.cpu_min_us}us/{guest.cpu_min_period_us}us"
    if guest.slice_max_us is not None:
        cpu["slice_max"] = f"{guest.slice_max_us}us"
    if "/" in str(options.get(("cpu", "max"), "")) and ("cpu", "period") not in options:
        del cpu["period"]  # "1ms/10ms" brings its own
    memory = {
        key: size
        for key, size in (
            ("min", guest.mem_min), ("high", guest.mem_high), ("max", guest.mem_max),
        )
        if size is not None
    }  # fmt: skip
    manifest = normalize(
        {"name": guest.image or "guest", "cpu": cpu, "memory": memory},
        f"{guest.name} on the board",
        overrides=options,
        capacity=capacity,
    )
    values = asdict(manifest)
    return {key: values[key] for option in options for key in _CHANGES[option]}
